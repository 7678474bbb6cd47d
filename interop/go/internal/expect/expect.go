// Package expect checks responses without keeping values: a value is represented
// by its length and its SHA-256.
package expect

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"

	"connectrpc.com/connect"

	"github.com/keyway-secrets/keyway/interop/go/internal/provider"
	"github.com/keyway-secrets/keyway/interop/go/internal/wire/resolverv1"
)

// Envelope is the part of an envelope that the tests check.
type Envelope = resolverv1.GetSecretsResponse_Envelope

// Digest is a flag value `ID=LENGTH:SHA256` for a secret of a foreign plugin.
type Digest struct {
	ID     string
	length int
	sum    string
}

// Set reads the flag.
func (d *Digest) Set(text string) error {
	id, rest, found := strings.Cut(text, "=")
	length, sum, alsoFound := strings.Cut(rest, ":")
	if !found || !alsoFound {
		return fmt.Errorf("%q is not ID=LENGTH:SHA256", text)
	}
	n, err := strconv.Atoi(length)
	if err != nil {
		return err
	}
	*d = Digest{ID: id, length: n, sum: sum}
	return nil
}

// String is the other half of a flag value.
func (d *Digest) String() string {
	if d.ID == "" {
		return ""
	}
	return fmt.Sprintf("%s=%d:%s", d.ID, d.length, d.sum)
}

// Holds compares one response with the digest.
func (d *Digest) Holds(envelopes []*Envelope) error {
	if len(envelopes) != 1 {
		return fmt.Errorf("%s gave %d envelopes", d.ID, len(envelopes))
	}
	value := envelopes[0].GetValue()
	sum := sha256.Sum256(value)
	if envelopes[0].GetId() != d.ID || len(value) != d.length || hex.EncodeToString(sum[:]) != d.sum {
		return fmt.Errorf("%s gave id %s and another value (of %d bytes)", d.ID, envelopes[0].GetId(), len(value))
	}
	return nil
}

// Dummy checks that a response is exactly the demo provider's one secret id.
func Dummy(id string, envelopes []*Envelope, err error) error {
	if err != nil {
		return fmt.Errorf("%s: %w", id, err)
	}
	if len(envelopes) != 1 {
		return fmt.Errorf("%s gave %d envelopes", id, len(envelopes))
	}
	return envelope(id, envelopes[0])
}

// Dummies checks that a response holds count of the demo provider's secrets,
// each in the pattern and none twice.
func Dummies(pattern string, count int, envelopes []*Envelope, err error) error {
	if err != nil {
		return fmt.Errorf("%s: %w", pattern, err)
	}
	if len(envelopes) != count {
		return fmt.Errorf("%s gave %d envelopes, want %d", pattern, len(envelopes), count)
	}
	seen := map[string]bool{}
	for _, e := range envelopes {
		if seen[e.GetId()] || !provider.Matches(pattern, e.GetId()) {
			return fmt.Errorf("%s gave %s twice or wrongly", pattern, e.GetId())
		}
		seen[e.GetId()] = true
		if err := envelope(e.GetId(), e); err != nil {
			return err
		}
	}
	return nil
}

func envelope(id string, e *Envelope) error {
	if e.GetId() != id {
		return fmt.Errorf("%s gave the id %s", id, e.GetId())
	}
	if !bytes.Equal(e.GetValue(), provider.Value(id)) {
		return fmt.Errorf("%s gave another value (of %d bytes)", id, len(e.GetValue()))
	}
	if e.GetVersion() != "v7" {
		return fmt.Errorf("%s gave version %q", id, e.GetVersion())
	}
	if strings.HasSuffix(id, "/"+provider.NoTime) {
		return unset(id, e)
	}
	if created := e.GetCreatedAt().AsTime().Unix(); created != 1735787045 {
		return fmt.Errorf("%s was created at %d", id, created)
	}
	if expires := e.GetExpiresAt().AsTime().Unix(); expires != 4891460645 {
		return fmt.Errorf("%s expires at %d", id, expires)
	}
	if len(e.GetMetadata()) != 1 || e.GetMetadata()["owner"] != "nobody" {
		return fmt.Errorf("%s gave metadata %v", id, e.GetMetadata())
	}
	return nil
}

// unset checks that a Go reader reads both timestamps as not set: an absent one
// would be 1970, that is expired.
func unset(id string, e *Envelope) error {
	if e.CreatedAt == nil || !e.GetCreatedAt().AsTime().IsZero() {
		return fmt.Errorf("%s: created_at is not the year 1: %v", id, e.CreatedAt)
	}
	if e.ExpiresAt == nil || !e.GetExpiresAt().AsTime().IsZero() {
		return fmt.Errorf("%s: expires_at is not the year 1: %v", id, e.ExpiresAt)
	}
	return nil
}

// Code checks that a call failed with one of the codes.
func Code(what string, err error, codes ...connect.Code) error {
	for _, code := range codes {
		if err != nil && connect.CodeOf(err) == code {
			return nil
		}
	}
	return fmt.Errorf("%s gave %v, want %v", what, err, codes)
}
