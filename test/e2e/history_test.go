package e2e

import (
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"

	"github.com/lateen-mesh/lateen/config"
	"github.com/lateen-mesh/lateen/pkg/runfile"
)

// history is a life of a mesh's configuration as its operators write it: one object after the other, each of which leaves a valid whole.
// Only what any client may notice is left out: policies that refuse the load's requests, and times shorter than an answer takes.
type history struct {
	rng    *rand.Rand
	dir    string // of the state folder's configuration
	step   int
	canary bool            // the rule of catalog has the subset canary
	live   map[string]bool // files that this history has written and not deleted
}

func newHistory(seed uint64, dir string) *history {
	return &history{rng: rand.New(rand.NewPCG(seed, 0)), dir: dir, live: map[string]bool{}}
}

const loadHost = "load.istioinaction.io"

// begin writes what the load needs.
func (h *history) begin() error {
	for _, write := range []func() error{h.rule, h.route, h.door} {
		if err := write(); err != nil {
			return err
		}
	}
	return nil
}

// change writes or deletes one object.
func (h *history) change() error {
	h.step++
	switch h.rng.IntN(14) {
	case 0, 1:
		return h.rule()
	case 2, 3:
		return h.route()
	case 4:
		return h.door()
	case 5:
		return h.webappRule()
	case 6, 7:
		return h.external()
	case 8:
		return h.service()
	case 9:
		return h.secondDoor()
	case 10:
		return h.scope()
	case 11:
		return h.policy()
	case 12:
		return h.patch()
	default:
		return h.telemetry()
	}
}

// write puts an object, or several, into a file of their own. They must be right: of one that is refused the last form would stay in force, and what
// came after would not fit it.
func (h *history) write(name, text string) error {
	if _, err := config.Load([]config.File{{Name: name + ".yaml", Data: []byte(text)}}, config.LoadOptions{}); err != nil {
		return fmt.Errorf("step %d: %w\n%s", h.step, err, text)
	}
	return h.put(name, text)
}

// put writes a file, be it right or wrong.
func (h *history) put(name, text string) error {
	path := filepath.Join(h.dir, "istioinaction", "under-load", name+".yaml")
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	h.live[path] = true
	return runfile.WriteFile(path, []byte(text), 0o644)
}

// sometimes deletes the object of a file where there is one, and says that it has.
func (h *history) sometimes(name string) (deleted bool, err error) {
	path := filepath.Join(h.dir, "istioinaction", "under-load", name+".yaml")
	if !h.live[path] || h.rng.IntN(3) > 0 {
		return false, nil
	}
	delete(h.live, path)
	return true, os.Remove(path)
}

// end takes all of it away.
func (h *history) end() error {
	return os.RemoveAll(filepath.Join(h.dir, "istioinaction", "under-load"))
}

func (h *history) pick(of ...string) string { return of[h.rng.IntN(len(of))] }

// head is an object's beginning; the annotation makes each writing another.
func (h *history) head(api, kind, name string) string {
	return fmt.Sprintf("apiVersion: %s\nkind: %s\nmetadata: {name: %s, namespace: istioinaction, annotations: {step: \"%d\"}}\n", api, kind, name, h.step)
}

func (h *history) balancer() string {
	return h.pick("simple: ROUND_ROBIN", "simple: LEAST_REQUEST", "simple: RANDOM", "consistentHash: {httpHeaderName: user-agent}", "simple: ROUND_ROBIN, warmup: {duration: 10s}")
}

func (h *history) trafficPolicy() string {
	return fmt.Sprintf("{loadBalancer: {%s}, connectionPool: {tcp: {maxConnections: %d}, http: {maxRequestsPerConnection: %d, idleTimeout: %ds, h2UpgradePolicy: %s}}%s}",
		h.balancer(), 1000+h.rng.IntN(1000), h.rng.IntN(3)*(1+h.rng.IntN(50)), 5+h.rng.IntN(60), h.pick("UPGRADE", "DO_NOT_UPGRADE", "DEFAULT"),
		h.pick("", ", outlierDetection: {consecutive5xxErrors: 5, interval: 1s}"))
}

// rule has the subset canary as long as the route names it: the rule gains it first, and loses it after.
func (h *history) rule() error {
	extra := ""
	if h.canary {
		extra = "  - {name: canary, labels: {version: v2}, trafficPolicy: " + h.trafficPolicy() + "}\n"
	}
	return h.write("rule", h.head("networking.istio.io/v1", "DestinationRule", "catalog")+
		"spec:\n  host: catalog\n  trafficPolicy: "+h.trafficPolicy()+"\n  subsets:\n  - {name: version-v1, labels: {version: v1}}\n  - {name: version-v2, labels: {version: v2}}\n"+extra)
}

func (h *history) route() error {
	if h.rng.IntN(4) == 0 {
		h.canary = !h.canary
		if h.canary {
			if err := h.rule(); err != nil {
				return err
			}
		} else {
			defer h.rule() //nolint:errcheck // the next change of the rule says it
		}
	}
	second := "version-v2"
	if h.canary {
		second = "canary"
	}
	weight := h.rng.IntN(101)
	extra := ""
	for _, more := range []string{
		fmt.Sprintf("    timeout: %ds\n", 10+h.rng.IntN(20)),
		h.retries(),
		"    mirror: {host: catalog, subset: version-v2}\n    mirrorPercentage: {value: 2}\n",
		fmt.Sprintf("    headers: {response: {set: {x-step: \"%d\"}}}\n", h.step),
		"    fault: {delay: {fixedDelay: 0.002s, percentage: {value: 5}}}\n",
		"    corsPolicy: {allowOrigins: [{prefix: \"https://\"}], maxAge: 1h}\n",
	} {
		if h.rng.IntN(3) == 0 {
			extra += more
		}
	}
	matches := ""
	for i := range h.rng.IntN(4) {
		matches += fmt.Sprintf("  - match: [{headers: {x-cohort: {%s: \"c%d-%d\"}}, uri: {prefix: /items}}]\n    route: [{destination: {host: catalog, subset: %s}}]\n",
			h.pick("exact", "prefix", "regex"), h.step, i, second)
	}
	return h.write("route", h.head("networking.istio.io/v1", "VirtualService", "catalog")+"spec:\n  hosts: [catalog]\n  http:\n"+matches+
		fmt.Sprintf("  - name: default\n    route:\n    - {destination: {host: catalog, subset: version-v1}, weight: %d}\n    - {destination: {host: catalog, subset: %s}, weight: %d}\n", 100-weight, second, weight)+extra)
}

func (h *history) retries() string {
	if n := h.rng.IntN(4); n > 0 {
		return fmt.Sprintf("    retries: {attempts: %d, perTryTimeout: 9s, retryOn: \"5xx,connect-failure\"}\n", n)
	}
	return "    retries: {attempts: 0}\n"
}

// door is the load's way in; its answers tell by which step of the history they were routed.
func (h *history) door() error { return h.doorOf(h.step) }

func (h *history) doorOf(step int) error {
	return h.write("door", h.head("networking.istio.io/v1", "Gateway", "load")+`spec:
  selector: {istio: ingressgateway}
  servers:
  - {port: {number: 80, name: http, protocol: HTTP}, hosts: [`+loadHost+`]}
---
`+h.head("networking.istio.io/v1", "VirtualService", "load")+`spec:
  hosts: [`+loadHost+`]
  gateways: [load]
  http:
  - route:
    - destination: {host: webapp, port: {number: 80}}
      headers: {response: {set: {`+stepHeader+`: "`+fmt.Sprint(step)+`"}}}
`)
}

const stepHeader = "x-door-step"

func (h *history) webappRule() error {
	if deleted, err := h.sometimes("webapp-rule"); deleted {
		return err
	}
	return h.write("webapp-rule", h.head("networking.istio.io/v1", "DestinationRule", "webapp")+"spec: {host: webapp, trafficPolicy: "+h.trafficPolicy()+"}\n")
}

// external is a service elsewhere, on ports that the shop's services have too and on others.
func (h *history) external() error {
	name := fmt.Sprintf("external-%d", h.rng.IntN(12))
	if deleted, err := h.sometimes(name); deleted {
		return err
	}
	port := h.pick("{number: 80, name: http, protocol: HTTP}", "{number: 9080, name: http, protocol: HTTP}", "{number: 9443, name: tls, protocol: TLS}", "{number: 9306, name: tcp, protocol: TCP}")
	resolution := h.pick("resolution: NONE", "resolution: STATIC, endpoints: [{address: 192.0.2.1}, {address: 192.0.2.2}]", "resolution: DNS, endpoints: [{address: localhost}]")
	return h.write(name, h.head("networking.istio.io/v1", "ServiceEntry", name)+
		fmt.Sprintf("spec: {hosts: [%s.example], addresses: [198.51.100.%d], location: MESH_EXTERNAL, ports: [%s], %s}\n", name, 1+h.rng.IntN(200), port, resolution))
}

func (h *history) service() error {
	name := fmt.Sprintf("service-%d", h.rng.IntN(8))
	if deleted, err := h.sometimes(name); deleted {
		return err
	}
	return h.write(name, h.head("v1", "Service", name)+fmt.Sprintf("spec: {selector: {app: %s}, ports: [{name: %s, port: %d, targetPort: 3000}]}\n",
		h.pick("catalog", "forum", "nobody"), h.pick("http", "http2", "tcp", "grpc"), 7000+h.rng.IntN(3)))
}

func (h *history) secondDoor() error {
	name := fmt.Sprintf("door-%d", h.rng.IntN(6))
	if deleted, err := h.sometimes(name); deleted {
		return err
	}
	return h.write(name, h.head("networking.istio.io/v1", "Gateway", name)+fmt.Sprintf("spec: {selector: {istio: ingressgateway}, servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: [%s.example]}]}\n---\n", name)+
		h.head("networking.istio.io/v1", "VirtualService", name)+fmt.Sprintf("spec: {hosts: [%s.example], gateways: [%s], http: [{route: [{destination: {host: %s, port: {number: 80}}}]}]}\n", name, name, h.pick("catalog", "forum", "webapp")))
}

// scope is what webapp may reach; catalog is always in it.
func (h *history) scope() error {
	if deleted, err := h.sometimes("scope"); deleted {
		return err
	}
	return h.write("scope", h.head("networking.istio.io/v1", "Sidecar", "webapp")+
		"spec: {workloadSelector: {labels: {app: webapp}}, egress: [{hosts: ["+h.pick(`"*/*"`, `"./*"`, `"./*", "istio-system/*"`, `"./catalog.istioinaction.svc.cluster.local"`)+"]}]}\n")
}

func (h *history) policy() error {
	name := h.pick("mutual", "allow", "deny")
	if deleted, err := h.sometimes(name); deleted {
		return err
	}
	switch name {
	case "mutual":
		return h.write(name, h.head("security.istio.io/v1", "PeerAuthentication", name)+"spec: {selector: {matchLabels: {app: catalog}}, mtls: {mode: "+h.pick("STRICT", "PERMISSIVE")+"}}\n")
	case "allow":
		return h.write(name, h.head("security.istio.io/v1", "AuthorizationPolicy", name)+
			fmt.Sprintf("spec: {selector: {matchLabels: {app: %s}}, rules: [{to: [{operation: {methods: [GET]}}]}, {to: [{operation: {paths: [/never-%d]}}]}]}\n", h.pick("catalog", "webapp"), h.step))
	default:
		return h.write(name, h.head("security.istio.io/v1", "AuthorizationPolicy", name)+
			fmt.Sprintf("spec: {action: DENY, rules: [{to: [{operation: {paths: [/never-%d]}}]}]}\n", h.step))
	}
}

// patch changes listeners, virtual hosts and clusters of the sidecars.
func (h *history) patch() error {
	if deleted, err := h.sometimes("patch"); deleted {
		return err
	}
	patch := h.pick(
		fmt.Sprintf("{applyTo: LISTENER, patch: {operation: MERGE, value: {per_connection_buffer_limit_bytes: %d}}}", 100_000+h.step),
		fmt.Sprintf("{applyTo: VIRTUAL_HOST, patch: {operation: MERGE, value: {response_headers_to_add: [{header: {key: x-patch, value: \"%d\"}}]}}}", h.step),
		fmt.Sprintf("{applyTo: CLUSTER, match: {context: SIDECAR_OUTBOUND}, patch: {operation: MERGE, value: {connect_timeout: %ds}}}", 5+h.step%10),
		"{applyTo: HTTP_FILTER, match: {context: SIDECAR_INBOUND, listener: {filterChain: {filter: {name: envoy.filters.network.http_connection_manager, subFilter: {name: envoy.filters.http.router}}}}}, "+
			"patch: {operation: INSERT_BEFORE, value: {name: envoy.filters.http.buffer, typed_config: {\"@type\": type.googleapis.com/envoy.extensions.filters.http.buffer.v3.Buffer, max_request_bytes: 1000000}}}}",
	)
	return h.write("patch", h.head("networking.istio.io/v1alpha3", "EnvoyFilter", "patch")+"spec: {configPatches: ["+patch+"]}\n")
}

func (h *history) telemetry() error {
	if deleted, err := h.sometimes("telemetry"); deleted {
		return err
	}
	return h.write("telemetry", h.head("telemetry.istio.io/v1", "Telemetry", "telemetry")+
		fmt.Sprintf("spec: {accessLogging: [{providers: [{name: envoy}], disabled: %v}]}\n", h.rng.IntN(2) == 0))
}

// wrong is an object that no mesh can take: it is for the store, for the snapshot, or for the proxies to refuse.
func (h *history) wrong() error {
	for name, text := range map[string]string{
		"wrong-field":  h.head("networking.istio.io/v1", "VirtualService", "wrong-field") + "spec: {hosts: [wrong.example], htp: []}\n",
		"wrong-value":  h.head("networking.istio.io/v1", "DestinationRule", "wrong-value") + "spec: {host: wrong.example, trafficPolicy: {loadBalancer: {simple: FASTEST}}}\n",
		"wrong-yaml":   "apiVersion: [\n",
		"wrong-patch":  h.head("networking.istio.io/v1alpha3", "EnvoyFilter", "wrong-patch") + wrongPatch,
		"wrong-target": h.head("networking.istio.io/v1", "VirtualService", "wrong-target") + "spec: {hosts: [wrong.example], http: [{route: [{destination: {host: nowhere.example, subset: none}}]}]}\n",
	} {
		if err := h.put(name, text); err != nil {
			return err
		}
	}
	return nil
}

// wrongPatch is one that only a proxy can refuse: a filter's configuration with a value that it may not have.
const wrongPatch = `spec:
  configPatches:
  - applyTo: HTTP_FILTER
    match: {listener: {filterChain: {filter: {name: envoy.filters.network.http_connection_manager, subFilter: {name: envoy.filters.http.router}}}}}
    patch:
      operation: INSERT_BEFORE
      value: {name: envoy.filters.http.buffer, typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.buffer.v3.Buffer, max_request_bytes: 0}}
`

func (h *history) right() error {
	for path := range h.live {
		if strings.HasPrefix(filepath.Base(path), "wrong-") {
			delete(h.live, path)
			if err := os.Remove(path); err != nil && !os.IsNotExist(err) {
				return err
			}
		}
	}
	return nil
}

// replacement moves the entry of a workload away, and back at the next call: for those who call it, one endpoint takes the place of another.
type replacement struct {
	files [2]string
	texts [2][]byte
	n     int
}

func (r *replacement) next() error {
	r.n++
	comes, goes := r.n%2, 1-r.n%2
	if err := runfile.WriteFile(r.files[comes], r.texts[comes], 0o644); err != nil {
		return err
	}
	if err := os.Remove(r.files[goes]); err != nil && !os.IsNotExist(err) {
		return err
	}
	return nil
}

// both puts both back.
func (r *replacement) both() error {
	for i, path := range r.files {
		if _, err := os.Stat(filepath.Dir(path)); err != nil {
			return err
		}
		if err := runfile.WriteFile(path, r.texts[i], fs.FileMode(0o644)); err != nil {
			return err
		}
	}
	return nil
}
