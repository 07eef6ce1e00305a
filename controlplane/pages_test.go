package controlplane

import (
	"context"
	"flag"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/credentials/insecure"

	"github.com/lateen-mesh/lateen/controlplane/internal/xdstest"
)

var updatePages = flag.Bool("update", false, "write the debug pages of testdata/pages anew")

// varies is what of a page is another in each run: times, ports, versions, nonces and folders.
var varies = []struct {
	re *regexp.Regexp
	by string
}{
	{regexp.MustCompile(`"\d{4}-\d\d-\d\dT[0-9:.]+Z"`), `"TIME"`},
	{regexp.MustCompile(`127\.0\.0\.1:\d+`), "127.0.0.1:PORT"},
	{regexp.MustCompile(`("versionInfo": *)"[^"]*"`), `$1"VERSION"`},
	{regexp.MustCompile(`("(?:\w+_(?:sent|acked)|sent|acked)": *)"[^"]+"`), `$1"NONCE"`},
	{regexp.MustCompile(`("(?:served|current)": *)\d+`), `${1}0`},
	{regexp.MustCompile(`("resourceVersion": *)"[^"]*"`), `$1"VERSION"`},
	{regexp.MustCompile(`("connectionId": *)"[^"]*"`), `$1"ID"`},
}

// TestPages holds the pages against files, which are in the shapes of Istio's (pilot/pkg/xds/debug.go): what is in them beside Istio's keys, and what
// of those has no meaning here, is seen there.
func TestPages(t *testing.T) {
	r := start(t, nil)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	r.write("mesh.yaml", "accessLogFile: /dev/stdout\nenableAutoMtls: false\n")
	rule := r.changed(ctx, "config/rule.yaml", "apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {name: web, namespace: shop}\n"+
		"spec: {host: web, subsets: [{name: v1, labels: {app: web}}]}\n", "destinationrule/shop/web")
	r.changed(ctx, "config/raw.yaml", "apiVersion: v1\nkind: Service\nmetadata: {name: raw, namespace: shop, creationTimestamp: \"2026-01-02T03:04:05Z\"}\n"+
		"spec: {clusterIP: 10.0.0.9, selector: {app: web}, ports: [{name: tcp, port: 81, targetPort: 80}]}\n", "service/shop/raw")
	c, err := xdstest.Start(ctx, connect(t, r.addrs.GRPC, insecure.NewCredentials()), xdstest.Options{Node: webNode(t)})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := waitFor(ctx, func() bool { d := r.distribution(rule); return len(d.Proxies) == 1 && len(d.Behind) == 0 }); err != nil {
		t.Fatal("the proxy is not served")
	}
	for name, path := range map[string]string{
		"adsz": "adsz?proxyID=web-1.shop", "config_distribution": "config_distribution?resource=DestinationRule/shop/web", "config_dump.eds": "config_dump?proxyID=web-1.shop&types=eds",
		"configz": "configz?kind=DestinationRule", "connections": "connections", "endpointShardz": "endpointShardz", "instancesz": "instancesz", "list": "list",
		"mesh": "mesh", "push_status": "push_status", "registryz": "registryz", "syncz": "syncz?namespace=shop",
	} {
		code, page := r.page("/debug/" + path)
		if code != http.StatusOK {
			t.Errorf("%s: %d %s", path, code, page)
			continue
		}
		page = strings.ReplaceAll(page, r.dir, "DIR")
		for _, v := range varies {
			page = v.re.ReplaceAllString(page, v.by)
		}
		file := filepath.Join("testdata", "pages", name+".json")
		if *updatePages {
			if err := os.WriteFile(file, []byte(page), 0o644); err != nil {
				t.Fatal(err)
			}
			continue
		}
		want, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if string(want) != page {
			t.Errorf("%s is not as in %s:\n%s", path, file, page)
		}
	}
	// The same as Istio answers, for other questions.
	_, shards := r.page("/debug/endpointShardz")
	if _, page := r.page("/debug/endpointz"); page != shards {
		t.Error("endpointz is another page than endpointShardz")
	}
	if _, page := r.page("/debug/config_dump?proxyID=web-1.shop"); strings.Contains(page, "EndpointsConfigDump") || !strings.Contains(page, "SecretsConfigDump") {
		t.Errorf("without include_eds: %.300s", page)
	}
	if _, page := r.page("/debug/config_dump?proxyID=web-1.shop&include_eds"); !strings.Contains(page, "EndpointsConfigDump") {
		t.Errorf("with include_eds: %.300s", page)
	}
	if _, page := r.page("/debug/syncz?namespace=other"); page != "[]\n" {
		t.Errorf("another namespace: %s", page)
	}
	for path, want := range map[string]int{
		"adsz?proxyID=no.shop": http.StatusNotFound, "adsz?push=true": http.StatusBadRequest, "config_distribution": http.StatusUnprocessableEntity,
		"config_distribution?resource=service/shop/no": http.StatusNotFound, "config_distribution?resource=no/shop/no": http.StatusBadRequest,
		"config_dump": http.StatusBadRequest, "config_dump?proxyID=web-1.shop&types=zds": http.StatusBadRequest, "edsz?proxyID=no": http.StatusNotFound,
	} {
		if code, page := r.page("/debug/" + path); code != want {
			t.Errorf("%s: %d %s, want %d", path, code, page, want)
		}
	}
}
