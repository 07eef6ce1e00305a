package server

import (
	"io"
	"log/slog"
	"slices"
	"testing"

	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

func TestSecretsTellSubscribers(t *testing.T) {
	var calls []string
	s := newSecrets(slog.New(slog.NewTextHandler(io.Discard, nil)))
	s.subscribe = func(k secretKey) { calls = append(calls, "+"+k.name) }
	s.unsubscribe = func(k secretKey) { calls = append(calls, "-"+k.name) }

	var got []string
	cert := func(c xdsresource.TLSCertificate) { got = append(got, string(c.Chain)) }
	key := secretKey{"", "default"}
	cancel1 := s.Certificate("ads", "default", cert)
	s.set(key, &xdsresource.Secret{Certificate: &xdsresource.TLSCertificate{Chain: []byte("one")}}, "1", nil)
	cancel2 := s.Certificate("", "default", cert) // told at once
	s.set(key, &xdsresource.Secret{Certificate: &xdsresource.TLSCertificate{Chain: []byte("two")}}, "2", nil)
	if want := []string{"one", "one", "two", "two"}; !slices.Equal(got, want) {
		t.Errorf("told %v, want %v", got, want)
	}
	cancel1()
	cancel1() // twice must not count twice
	if !s.answered(key) {
		t.Error("the secret went with its first subscriber")
	}
	cancel2()
	if s.answered(key) {
		t.Error("the secret stayed without subscribers")
	}
	if want := []string{"+default", "-default"}; !slices.Equal(calls, want) {
		t.Errorf("source was told %v, want %v", calls, want)
	}
}

// TestAbsentSecrets: a source that has no such secret is an answer; one that takes away what it gave is not listened to.
func TestAbsentSecrets(t *testing.T) {
	s := newSecrets(slog.New(slog.DiscardHandler))
	s.subscribe, s.unsubscribe = func(secretKey) {}, func(secretKey) {}
	key := secretKey{"", "kubernetes://shop"}
	s.setAbsent(key) // nobody asked
	if s.answered(key) {
		t.Error("answered before it was asked for")
	}
	told := 0
	defer s.watch(key, func() { told++ })()
	s.setAbsent(key)
	if told != 1 || !s.answered(key) {
		t.Errorf("told %d times, answered %v", told, s.answered(key))
	}
	s.set(key, &xdsresource.Secret{Certificate: &xdsresource.TLSCertificate{Chain: []byte("one")}}, "1", nil)
	s.setAbsent(key)
	if told != 2 || !s.answered(key) {
		t.Errorf("told %d times, answered %v", told, s.answered(key))
	}
	var got string
	defer s.Certificate("ads", key.name, func(c xdsresource.TLSCertificate) { got = string(c.Chain) })()
	if got != "one" {
		t.Errorf("after the removal the value is %q", got)
	}
}
