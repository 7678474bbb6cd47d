package main

import (
	"bytes"
	"fmt"
	"io"

	"github.com/hashicorp/yamux"
)

// echo sends everything back and ends when the caller does.
func echo(stream *yamux.Stream) {
	// The caller may have disconnected.
	_, _ = io.Copy(stream, stream)
	_ = stream.Close()
}

// request opens one stream after the other, each with a request that must be
// echoed completely.
func (e *end) request(count, size int) reply {
	sent := make([]byte, size)
	received := make([]byte, size)
	for number := range count {
		fill(sent, uint32(number), e.isClient, 0)
		if err := e.requestOnce(sent, received); err != nil {
			return reply{Saw: "other", Bytes: number, Text: err.Error()}
		}
	}
	return reply{Saw: "done", Bytes: count}
}

func (e *end) requestOnce(sent, received []byte) error {
	stream, err := e.session.OpenStream()
	if err != nil {
		return err
	}
	wrote := make(chan error, 1)
	go func() {
		_, err := stream.Write(sent)
		if err == nil {
			err = stream.Close()
		}
		wrote <- err
	}()
	if _, err := io.ReadFull(stream, received); err != nil {
		return fmt.Errorf("the response: %w", err)
	}
	if err := <-wrote; err != nil {
		return fmt.Errorf("the request: %w", err)
	}
	if !bytes.Equal(sent, received) {
		return fmt.Errorf("the response differs from the request")
	}
	if n, err := stream.Read(make([]byte, 1)); err != io.EOF {
		return fmt.Errorf("the response continues: %d bytes, %v", n, err)
	}
	return nil
}
