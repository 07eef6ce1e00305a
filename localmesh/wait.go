package localmesh

import (
	"context"
	"errors"
	"net"
	"net/http"
	"time"
)

// Until repeats check until it succeeds; when ctx ends first, the error is the check's last.
func Until(ctx context.Context, check func(context.Context) error) error {
	ticker := time.NewTicker(pollInterval)
	defer ticker.Stop()
	for {
		attempt, cancel := context.WithTimeout(ctx, 2*time.Second)
		err := check(attempt)
		cancel()
		if err == nil || errors.Is(err, errHopeless) {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-ticker.C:
		}
	}
}

// Answers is nil when the URL answers 200 to a request for the host ("": the URL's). Another status is a StatusError.
func Answers(ctx context.Context, url, host string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	req.Host = host // "": the URL's
	// Neither the user's HTTP_PROXY nor a kept connection has a place here.
	resp, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return StatusError{url, resp.Status}
	}
	return nil
}

// StatusError is an answer other than 200.
type StatusError struct{ url, status string }

func (e StatusError) Error() string { return e.url + " answers " + e.status }

func answers(ctx context.Context, url, host string) error { return Answers(ctx, url, host) }

// Accepts is nil when somebody takes connections at the address.
func Accepts(ctx context.Context, address string) error {
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", address)
	if err != nil {
		return err
	}
	return conn.Close()
}
