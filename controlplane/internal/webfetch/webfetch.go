// Package webfetch asks servers outside of the mesh for small documents: keys of issuers, their discovery documents, roots of other trust domains.
//
// It trusts the system's authorities, which SSL_CERT_FILE and SSL_CERT_DIR replace, and bounds what a server may do: how long it takes, how much it says, where it leads.
// It keeps nothing, neither connections nor answers: a server is asked a few times an hour, and follow knows when. What documents mean, its callers know: ca,
// oidc and spiffebundle.
package webfetch

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"time"
)

const maxHeaderSize = 64 << 10 // bytes

// Bounds are those of one kind of document.
type Bounds struct {
	Timeout time.Duration // for all of it, redirects included
	Size    int           // bytes of a document
	// Redirects are how many are followed, none of them from TLS to plaintext, where anybody on the way could answer. 0: a redirect is no document.
	Redirects int
}

// Client trusts the system's authorities, from TLS 1.2 on, and goes through the proxy that the environment names.
func (b Bounds) Client() *http.Client {
	return &http.Client{
		Timeout: b.Timeout,
		Transport: &http.Transport{
			Proxy: http.ProxyFromEnvironment, DisableKeepAlives: true, ForceAttemptHTTP2: true, MaxResponseHeaderBytes: maxHeaderSize,
			DialContext: (&net.Dialer{Timeout: b.Timeout}).DialContext, TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS12},
		},
		CheckRedirect: func(to *http.Request, via []*http.Request) error {
			switch {
			case b.Redirects == 0:
				return http.ErrUseLastResponse
			case len(via) > b.Redirects:
				return fmt.Errorf("more than %d redirects", b.Redirects)
			case via[0].URL.Scheme == "https" && to.URL.Scheme != "https":
				return errors.New("a redirect leads from https to plaintext")
			}
			return nil
		},
	}
}

// Get asks for a document of JSON through a client, which need not be Client's. What the error says names the URL, and nothing of what was answered but numbers.
func (b Bounds) Get(ctx context.Context, c *http.Client, at string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, b.Timeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, at, nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("accept", "application/json")
	resp, err := c.Do(req)
	if err != nil {
		if e, ok := errors.AsType[*url.Error](err); !ok || e.URL != at {
			err = fmt.Errorf("%s: %w", at, err) // of a redirect it names where that leads
		}
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s: the answer's status is %d", at, resp.StatusCode)
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, int64(b.Size)+1))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", at, err)
	}
	if len(body) > b.Size {
		return nil, fmt.Errorf("%s: the document is larger than %d bytes", at, b.Size)
	}
	return body, nil
}
