package oidc

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// Bounds of what an issuer may do to us.
const (
	fetchTimeout  = 5 * time.Second // for all of it, as in Istio
	maxDocument   = 256 << 10       // bytes
	maxURI        = 2048            // bytes
	maxRedirects  = 3
	maxHeaderSize = 64 << 10 // bytes
)

// wellKnown is where an issuer has its document, below its own URL.
const wellKnown = "/.well-known/openid-configuration"

// newClient trusts the system's authorities. It keeps no connections: an issuer is asked a few times an hour.
func newClient() *http.Client {
	return &http.Client{
		Timeout: fetchTimeout,
		Transport: &http.Transport{
			Proxy: http.ProxyFromEnvironment, DisableKeepAlives: true, ForceAttemptHTTP2: true, MaxResponseHeaderBytes: maxHeaderSize,
			DialContext: (&net.Dialer{Timeout: fetchTimeout}).DialContext, TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS12},
		},
		CheckRedirect: func(to *http.Request, via []*http.Request) error {
			switch {
			case len(via) > maxRedirects:
				return fmt.Errorf("more than %d redirects", maxRedirects)
			case via[0].URL.Scheme == "https" && to.URL.Scheme != "https":
				return errors.New("a redirect leads from https to plaintext")
			}
			return nil
		},
	}
}

// documentURL is where an issuer's document is: the issuer must be an http or https URL without query and fragment. A slash at its end does not count
// (section 4.1).
func documentURL(issuer string) (*url.URL, error) {
	u, err := url.Parse(issuer)
	if err != nil || !web(u) || u.RawQuery != "" || u.Fragment != "" || u.User != nil {
		return nil, fmt.Errorf("the issuer %q is no http or https URL below which it could have a discovery document", issuer)
	}
	return url.Parse(strings.TrimSuffix(issuer, "/") + wellKnown)
}

func web(u *url.URL) bool { return (u.Scheme == "http" || u.Scheme == "https") && u.Hostname() != "" }

// fetch asks an issuer where its keys are. What the error says holds nothing of what was answered but numbers.
func fetch(ctx context.Context, c *http.Client, issuer string) (string, error) {
	at, err := documentURL(issuer)
	if err != nil {
		return "", err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, at.String(), nil)
	if err != nil {
		return "", err
	}
	req.Header.Set("accept", "application/json")
	resp, err := c.Do(req)
	if err != nil {
		return "", err // it names the URL
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return "", fmt.Errorf("%s: the answer's status is %d", at, resp.StatusCode)
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxDocument+1))
	if err != nil {
		return "", fmt.Errorf("%s: %w", at, err)
	}
	if len(body) > maxDocument {
		return "", fmt.Errorf("%s: the document is larger than %d bytes", at, maxDocument)
	}
	keys, err := keysURI(body, at.Scheme == "https")
	if err != nil {
		return "", fmt.Errorf("%s: %w", at, err)
	}
	return keys, nil
}

// keysURI reads jwks_uri out of a document (section 3). Of a document that came over TLS it must be https, which the standard asks of all.
func keysURI(document []byte, secure bool) (string, error) {
	var d struct {
		KeysURI string `json:"jwks_uri"`
	}
	if err := json.Unmarshal(document, &d); err != nil {
		return "", errors.New("the document is not a JSON object whose jwks_uri is a string")
	}
	u, err := url.Parse(d.KeysURI)
	switch {
	case d.KeysURI == "":
		return "", errors.New("the document has no jwks_uri")
	case err != nil || !web(u) || len(d.KeysURI) > maxURI:
		return "", errors.New("the document's jwks_uri is no http or https URL")
	case secure && u.Scheme != "https":
		return "", errors.New("the document came over TLS, and its jwks_uri is in plaintext")
	}
	return d.KeysURI, nil
}
