package controlplane

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc/metadata"
	securityapi "istio.io/api/security/v1alpha1"

	"github.com/lateen-mesh/lateen/controlplane/internal/xdstest"
	"github.com/lateen-mesh/lateen/pkg/certtest"
	"github.com/lateen-mesh/lateen/pkg/jointoken"
)

// lines is a log that may be read while it is written.
type lines struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

// traces are the texts by which a secret would be found: lines of PEM as they stand, and what they stand for in the encodings in which bytes are shown.
func traces(secret []byte) []string {
	var out []string
	raw := secret
	if block, _ := pem.Decode(secret); block != nil {
		for line := range strings.Lines(string(secret)) {
			if line = strings.TrimSpace(line); len(line) > 32 && !strings.HasPrefix(line, "-----") {
				out = append(out, line)
			}
		}
		raw = block.Bytes
	}
	middle := raw[len(raw)/3 : len(raw)/3+16]
	out = append(out, fmt.Sprintf("%x", middle))
	// Of base64 it depends on where the bytes begin.
	for _, text := range [][]byte{raw, secret} {
		for shift := range 3 {
			enc := base64.StdEncoding.EncodeToString(text[shift:])
			out = append(out, enc[len(enc)/2-12:len(enc)/2+12])
		}
	}
	return out
}

// No private key, join key or token shows up in a line of the log, at the level debug, in an error that a caller is sent, or on any page.
func TestNoSecretIsShown(t *testing.T) {
	log := &lines{}
	authority := certtest.New(t)
	gateway, bad := authority.Issue(t, certtest.Names("front.example.com")), authority.Issue(t, certtest.Names("bad.example.com"))
	r := start(t, func(c *Config) {
		c.Logger = slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	})
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	joinKey, err := jointoken.ReadKey(filepath.Join(r.dir, "ca"))
	if err != nil {
		t.Fatal(err)
	}
	caKey, err := os.ReadFile(filepath.Join(r.dir, "ca", "ca-key.pem"))
	if err != nil {
		t.Fatal(err)
	}
	var shown strings.Builder // what callers are told
	secrets := map[string][]byte{"the authority's key": caKey, "the gateway's key": gateway.Key, "a key that does not fit": bad.Key, "the join key": joinKey}

	// Tokens, good and bad, by callers who get a certificate and who do not.
	client := securityapi.NewIstioCertificateServiceClient(connect(t, r.addrs.SecureGRPC, r.tls(nil)))
	for name, mint := range map[string]struct {
		key []byte
		at  time.Time
		csr string
	}{
		"a token": {joinKey, time.Now(), "no request"}, "an expired token": {joinKey, time.Now().Add(-time.Hour), ""}, "a foreign token": {[]byte(strings.Repeat("0123456789abcdef", 4)), time.Now(), ""},
	} {
		token, err := jointoken.Mint(mint.key, "shop", "web", mint.at, time.Minute)
		if err != nil {
			t.Fatal(err)
		}
		secrets[name] = []byte(token[strings.LastIndex(token, ".")+1:])
		_, err = client.CreateCertificate(metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+token), &securityapi.IstioCertificateRequest{Csr: mint.csr})
		if err == nil {
			t.Errorf("%s: a certificate without a request", name)
		}
		fmt.Fprintln(&shown, err)
	}
	// A gateway with its credential, a Secret that is not good, and a second form of it.
	r.write("config/shop/gateway/front.yaml", fmt.Sprintf(tlsGateway, "front", "front", "MUTUAL", "front-credential"))
	r.write("config/shop/secret/front.yaml", certtest.Secret("shop", "front-credential", "kubernetes.io/tls",
		map[string][]byte{"tls.crt": gateway.Chain, "tls.key": gateway.Key, "ca.crt": authority.PEM}))
	r.write("config/shop/secret/bad.yaml", certtest.Secret("shop", "bad", "Opaque", map[string][]byte{"cert": gateway.Chain, "key": bad.Key}))
	r.write("config/shop/secret/worse.yaml", "apiVersion: v1\nkind: Secret\nmetadata: {name: worse, namespace: shop}\nstringData: {tls.key: |\n"+string(bad.Key)+"}\n")
	n := node(t, "router", "front-1", "shop", "10.1.0.9", map[string]any{"istio": "front"})
	delete(n.Metadata.Fields, "SERVICE_ACCOUNT")
	c, err := xdstest.Start(ctx, connect(t, r.addrs.SecureGRPC, r.tls(r.enrol("shop", "front"))), xdstest.Options{Node: n})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.Until(ctx, func(s xdstest.State) bool { return certificateIn(t, s, "kubernetes://front-credential") != nil }); err != nil {
		t.Fatal(err)
	}
	if err := waitFor(ctx, func() bool {
		_, page := r.page("/debug/errors")
		return strings.Contains(page, "private key does not match") && strings.Contains(page, "worse.yaml")
	}); err != nil {
		t.Fatal("the mistakes are not shown")
	}
	// A root is replaced, so that its new key is one more.
	if _, err := ReplaceRoot(filepath.Join(r.dir, "ca")); err != nil {
		t.Fatal(err)
	}
	if secrets["the authority's next key"], err = os.ReadFile(filepath.Join(r.dir, "ca", "ca-key.pem")); err != nil {
		t.Fatal(err)
	}
	if err := waitFor(ctx, func() bool { return strings.Contains(log.String(), "trusted roots have changed") }); err != nil {
		t.Fatal(err)
	}

	places := map[string]string{"what callers are told": shown.String()}
	_, list := r.page("/debug/list")
	var names []string
	if err := json.Unmarshal([]byte(list), &names); err != nil {
		t.Fatal(err)
	}
	pages := []string{"/metrics", "/ready", "/version", "/debug", "/debug/config_dump?proxyID=front-1.shop&include_eds", "/debug/config_dump?proxyID=front-1.shop&types=sds",
		"/debug/edsz?proxyID=front-1.shop", "/debug/ecdsz?proxyID=front-1.shop", "/debug/configz?kind=Secret", "/debug/config_distribution?resource=Secret/shop/front-credential"}
	for _, name := range names {
		if !strings.HasPrefix(name, "pprof/") || name == "pprof/cmdline" {
			pages = append(pages, "/debug/"+name)
		}
	}
	if !slices.Contains(pages, "/debug/ca") {
		t.Errorf("the pages are %q", pages)
	}
	for _, path := range pages {
		_, places[path] = r.page(path)
	}
	places["the log"] = log.String()
	for place, text := range places {
		for name, secret := range secrets {
			for _, trace := range traces(secret) {
				if strings.Contains(text, trace) {
					t.Errorf("%s: shows %s (%s)", place, name, trace)
				}
			}
		}
	}
	// The search does find what is there.
	if !strings.Contains(string(caKey), traces(caKey)[0]) || !strings.Contains(base64.StdEncoding.EncodeToString(gateway.Key), traces(gateway.Key)[len(traces(gateway.Key))-3]) {
		t.Error("BUG: secrets would not be found")
	}
}
