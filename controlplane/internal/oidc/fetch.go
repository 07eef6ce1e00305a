package oidc

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/lateen-mesh/lateen/controlplane/internal/webfetch"
)

const maxURI = 2048 // bytes

// bounds are those of what an issuer may do to us; the time is Istio's.
func bounds() webfetch.Bounds {
	return webfetch.Bounds{Timeout: 5 * time.Second, Size: 256 << 10, Redirects: 3}
}

// wellKnown is where an issuer has its document, below its own URL.
const wellKnown = "/.well-known/openid-configuration"

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
	body, err := bounds().Get(ctx, c, at.String())
	if err != nil {
		return "", err
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
