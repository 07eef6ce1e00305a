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
	if !s.known(key) {
		t.Error("the secret went with its first subscriber")
	}
	cancel2()
	if s.known(key) {
		t.Error("the secret stayed without subscribers")
	}
	if want := []string{"+default", "-default"}; !slices.Equal(calls, want) {
		t.Errorf("source was told %v, want %v", calls, want)
	}
}
