// Package provider is a secrets provider with every behaviour that a runtime must
// handle. The values are dummies that both ends can compute.
package provider

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/keyway-secrets/keyway/interop/go/internal/report"
	"github.com/keyway-secrets/keyway/interop/go/internal/wire/resolverv1"
)

// The last components of the ids with a behaviour; all are in the provider's
// realm.
const (
	Hit     = "hit"     // a value with all fields
	NoTime  = "notime"  // a value whose timestamps are not set
	Other   = "other"   // a second value, for patterns
	Missing = "missing" // not found
	Broken  = "broken"  // the backend fails
	Slow    = "slow"    // a value after SlowFor
	Big     = "big"     // a value of BigSize bytes
	Panic   = "panic"   // the handler panics
	Outside = "outside" // returns an id of another realm
	ManyOf  = "many"    // `many/*` are ManyCount values
)

// Sizes of large values.
const (
	BigSize   = 8 << 20
	ManyCount = 1000
)

// Provider serves GetSecrets. Realm is the first component of its ids.
type Provider struct {
	Realm   string
	SlowFor time.Duration
	Report  *report.Report

	cancelled atomic.Int64
}

// CancelledEarly counts the handlers whose context ended before they did.
func (p *Provider) CancelledEarly() int64 { return p.cancelled.Load() }

// GetSecrets is the handler of ResolverService/GetSecrets.
func (p *Provider) GetSecrets(ctx context.Context, request *resolverv1.GetSecretsRequest) (*resolverv1.GetSecretsResponse, error) {
	p.Report.Request()
	if strings.HasSuffix(request.GetPattern(), "/"+Slow) {
		p.Report.Event("called", report.Fields{"pattern": request.GetPattern()})
	}
	start := time.Now()
	envelopes, err := p.resolve(ctx, request.GetPattern())
	if ctx.Err() != nil {
		p.cancelled.Add(1)
		p.Report.Event("cancelled", report.Fields{
			"pattern": request.GetPattern(), "after_ms": time.Since(start).Milliseconds(), "cause": context.Cause(ctx).Error(),
		})
	}
	if err != nil {
		return nil, err
	}
	return &resolverv1.GetSecretsResponse{Envelopes: envelopes}, nil
}

// GetSecret is the handler of the oldest generation, which knows one id at a
// time.
func (p *Provider) GetSecret(ctx context.Context, request *resolverv1.LegacyGetSecretRequest) (*resolverv1.LegacyGetSecretResponse, error) {
	p.Report.Request()
	envelopes, err := p.resolve(ctx, request.GetId())
	if err != nil {
		return nil, err
	}
	return &resolverv1.LegacyGetSecretResponse{
		Id: envelopes[0].Id, Value: envelopes[0].Value, Version: envelopes[0].Version,
	}, nil
}

func (p *Provider) resolve(ctx context.Context, pattern string) ([]*resolverv1.GetSecretsResponse_Envelope, error) {
	switch strings.TrimPrefix(pattern, p.Realm+"/") {
	case Broken:
		return nil, connect.NewError(connect.CodeInternal, fmt.Errorf("failed to get secret %q: backend exploded", pattern))
	case Panic:
		panic("the id demo/panic")
	case Slow:
		return p.slow(ctx, pattern)
	case Outside:
		return []*resolverv1.GetSecretsResponse_Envelope{p.envelope("elsewhere/" + Outside)}, nil
	case Big:
		return []*resolverv1.GetSecretsResponse_Envelope{p.envelope(pattern)}, nil
	}
	return p.matching(pattern)
}

func (p *Provider) slow(ctx context.Context, id string) ([]*resolverv1.GetSecretsResponse_Envelope, error) {
	select {
	case <-ctx.Done():
		return nil, connect.NewError(connect.CodeCanceled, ctx.Err())
	case <-time.After(p.SlowFor):
		return []*resolverv1.GetSecretsResponse_Envelope{p.envelope(id)}, nil
	}
}

func (p *Provider) matching(pattern string) ([]*resolverv1.GetSecretsResponse_Envelope, error) {
	if p.holds(pattern) {
		// Benchmarks query one id, and must not measure the search in the list.
		return []*resolverv1.GetSecretsResponse_Envelope{p.envelope(pattern)}, nil
	}
	var found []*resolverv1.GetSecretsResponse_Envelope
	for _, id := range p.listed() {
		if Matches(pattern, id) {
			found = append(found, p.envelope(id))
		}
	}
	if len(found) == 0 {
		return nil, connect.NewError(connect.CodeNotFound, errors.New("secret not found"))
	}
	return found, nil
}

// holds reports whether pattern is one of the ids that are not numbered.
func (p *Provider) holds(pattern string) bool {
	name, found := strings.CutPrefix(pattern, p.Realm+"/")
	return found && (name == Hit || name == NoTime || name == Other)
}

// listed are the ids that a pattern can find.
func (p *Provider) listed() []string {
	ids := []string{p.Realm + "/" + Hit, p.Realm + "/" + NoTime, p.Realm + "/" + Other}
	for i := range ManyCount {
		ids = append(ids, fmt.Sprintf("%s/%s/%04d", p.Realm, ManyOf, i))
	}
	return ids
}

func (p *Provider) envelope(id string) *resolverv1.GetSecretsResponse_Envelope {
	envelope := &resolverv1.GetSecretsResponse_Envelope{
		Id:    proto.String(id),
		Value: Value(id),
		// Go encodes an unset time as the year 1.
		Provider:   proto.String(""),
		Version:    proto.String("v7"),
		CreatedAt:  timestamppb.New(time.Time{}),
		ResolvedAt: timestamppb.New(time.Time{}),
		ExpiresAt:  timestamppb.New(time.Time{}),
	}
	if !strings.HasSuffix(id, "/"+NoTime) {
		envelope.CreatedAt = timestamppb.New(time.Date(2025, 1, 2, 3, 4, 5, 0, time.UTC))
		envelope.ExpiresAt = timestamppb.New(time.Date(2125, 1, 2, 3, 4, 5, 0, time.UTC))
		envelope.Metadata = map[string]string{"owner": "nobody"}
	}
	return envelope
}

// Value computes the dummy value of an id.
func Value(id string) []byte {
	if !strings.HasSuffix(id, "/"+Big) {
		return []byte("s3cr3t-value of " + id)
	}
	value := make([]byte, BigSize)
	state := uint32(1)
	for i := range value {
		state = state*1664525 + 1013904223
		value[i] = byte(state >> 24)
	}
	return value
}
