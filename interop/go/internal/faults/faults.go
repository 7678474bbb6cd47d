// Package faults responds with faults: unusual, broken or hostile HTTP, invalid
// messages, or the exit of the process.
package faults

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/keyway-secrets/keyway/interop/go/internal/wire/resolverv1"
)

const protoType = "Content-Type: application/proto\r\n"

// fault responds to one request for an id.
type fault func(w http.ResponseWriter, id string)

// table names the faults by the last component of the id that selects each.
var table = map[string]fault{
	// Accepted by a lenient reader.
	"http10":  raw(func(id string) string { return "HTTP/1.0 200 OK\r\n" + protoType + "\r\n" + good(id) }),
	"unsized": raw(func(id string) string { return "HTTP/1.1 200 OK\r\n" + protoType + "\r\n" + good(id) }),
	"early": raw(func(id string) string {
		return "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\n\r\n" + sized(good(id))
	}),
	"drip":     drip,
	"gzip":     func(w http.ResponseWriter, id string) { zipped(w, []byte(good(id)), 1) },
	"unknown":  unknownFields,
	"twice":    message(func(id string) []*envelope { return []*envelope{secret(id, "first"), secret(id, "second")} }),
	"timeless": message(func(id string) []*envelope { return []*envelope{impossibleTimes(id)} }),
	"invalid": message(func(id string) []*envelope {
		return []*envelope{secret("", "x"), secret("demo//x", "x"), {}, secret(id, "valid")}
	}),
	"valueless": message(func(id string) []*envelope { return []*envelope{{Id: &id}} }),

	// Not a response of the protocol.
	"html":        func(w http.ResponseWriter, _ string) { page(w, http.StatusOK) },
	"unavailable": func(w http.ResponseWriter, _ string) { page(w, http.StatusServiceUnavailable) },
	"empty204":    func(w http.ResponseWriter, _ string) { w.WriteHeader(http.StatusNoContent) },
	"json":        func(w http.ResponseWriter, _ string) { written(w, "application/json", "", []byte("{}")) },
	"brotli":      func(w http.ResponseWriter, id string) { written(w, "application/proto", "br", []byte(good(id))) },
	"notgzip":     func(w http.ResponseWriter, _ string) { written(w, "application/proto", "gzip", []byte("plain")) },
	"bomb":        func(w http.ResponseWriter, _ string) { zipped(w, make([]byte, 1<<20), 80) },
	"notproto":    func(w http.ResponseWriter, _ string) { written(w, "application/proto", "", []byte{0xff, 0xff, 1, 2}) },
	"cut":         raw(func(string) string { return "HTTP/1.1 200 OK\r\n" + protoType + "Content-Length: 1000\r\n\r\nabc" }),
	"cutchunk": raw(func(string) string {
		return "HTTP/1.1 200 OK\r\n" + protoType + "Transfer-Encoding: chunked\r\n\r\n5\r\nab"
	}),
	"nothing": raw(func(string) string { return "" }),
	"nothttp": raw(func(string) string { return "SSH-2.0-peer\r\n\r\n" }),
	"longhead": raw(func(string) string {
		return "HTTP/1.1 200 OK\r\n" + strings.Repeat("X: "+strings.Repeat("y", 1000)+"\r\n", 2000) + "\r\n"
	}),
	"deadline":  failing(connect.CodeDeadlineExceeded, "the backend slept"),
	"forbidden": failing(connect.CodePermissionDenied, "\x1b[31mred\x1b[0m tape"),
	"crash":     func(http.ResponseWriter, string) { os.Exit(3) },
}

type envelope = resolverv1.GetSecretsResponse_Envelope

// Wrap responds to the ids of the table, and passes the others to next.
func Wrap(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		var request resolverv1.GetSecretsRequest
		id := ""
		if proto.Unmarshal(body, &request) == nil {
			id = request.GetPattern()
		}
		if fault, found := table[id[strings.LastIndex(id, "/")+1:]]; found {
			fault(w, id)
			return
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
		next.ServeHTTP(w, r)
	})
}

func secret(id, value string) *envelope {
	return &envelope{Id: proto.String(id), Value: []byte(value)}
}

func impossibleTimes(id string) *envelope {
	each := secret(id, "timeless")
	each.CreatedAt = &timestamppb.Timestamp{Seconds: 5, Nanos: -1}
	each.ResolvedAt = &timestamppb.Timestamp{Seconds: -1 << 60}
	each.ExpiresAt = &timestamppb.Timestamp{Seconds: 1 << 60}
	return each
}

func encoded(envelopes ...*envelope) []byte {
	message, err := proto.Marshal(&resolverv1.GetSecretsResponse{Envelopes: envelopes})
	if err != nil {
		panic(err)
	}
	return message
}

func good(id string) string { return string(encoded(secret(id, "odd"))) }

func sized(body string) string {
	return fmt.Sprintf("HTTP/1.1 200 OK\r\n%sContent-Length: %d\r\n\r\n%s", protoType, len(body), body)
}

func message(envelopes func(id string) []*envelope) fault {
	return func(w http.ResponseWriter, id string) {
		written(w, "application/proto", "", encoded(envelopes(id)...))
	}
}

func unknownFields(w http.ResponseWriter, id string) {
	var extra []byte
	extra = protowire.AppendTag(extra, 99, protowire.BytesType)
	extra = protowire.AppendString(extra, "of a later version")
	each := secret(id, "known")
	each.ProtoReflect().SetUnknown(extra)
	written(w, "application/proto", "", append(encoded(each), extra...))
}

func written(w http.ResponseWriter, contentType, encoding string, body []byte) {
	w.Header().Set("Content-Type", contentType)
	if encoding != "" {
		w.Header().Set("Content-Encoding", encoding)
	}
	// A reader that stops early has closed the stream.
	_, _ = w.Write(body)
}

func page(w http.ResponseWriter, status int) {
	w.Header().Set("Content-Type", "text/html")
	w.WriteHeader(status)
	_, _ = io.WriteString(w, "<html>s3cr3t-page</html>")
}

// zipped compresses this number of copies of the block.
func zipped(w http.ResponseWriter, block []byte, times int) {
	var compressed bytes.Buffer
	writer := gzip.NewWriter(&compressed)
	for range times {
		_, _ = writer.Write(block)
	}
	_ = writer.Close()
	written(w, "application/proto", "gzip", compressed.Bytes())
}

// raw writes bytes in place of net/http, and ends the stream.
func raw(bytes func(id string) string) fault {
	return func(w http.ResponseWriter, id string) {
		conn, _, err := w.(http.Hijacker).Hijack()
		if err != nil {
			panic(err)
		}
		_, _ = io.WriteString(conn, bytes(id))
		_ = conn.Close()
	}
}

// drip writes a response one byte at a time.
func drip(w http.ResponseWriter, id string) {
	conn, _, err := w.(http.Hijacker).Hijack()
	if err != nil {
		panic(err)
	}
	for _, each := range []byte(sized(good(id))) {
		_, _ = conn.Write([]byte{each})
		time.Sleep(time.Millisecond)
	}
	_ = conn.Close()
}

func failing(code connect.Code, message string) fault {
	handler := connect.NewUnaryHandler("/fault", func(context.Context, *connect.Request[resolverv1.GetSecretsRequest]) (*connect.Response[resolverv1.GetSecretsResponse], error) {
		return nil, connect.NewError(code, errors.New(message))
	})
	return func(w http.ResponseWriter, _ string) {
		request, err := http.NewRequest(http.MethodPost, "/fault", http.NoBody)
		if err != nil {
			panic(err)
		}
		request.Header.Set("Content-Type", "application/proto")
		handler.ServeHTTP(w, request)
	}
}
