package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// port is the number that every service has, so that all routes are in one route configuration.
const port = 80

// mesh is a folder of objects: services of a number of endpoints each, half of them with a virtual service and a destination rule.
type mesh struct {
	dir                 string
	services, endpoints int
}

func host(i int) string { return fmt.Sprintf("svc-%d.default.svc.cluster.local", i) }

func (m *mesh) file(kind string, i int) string {
	return filepath.Join(m.dir, fmt.Sprintf("%s-%d.yaml", kind, i))
}

// write makes the folder.
func (m *mesh) write() error {
	for i := range m.services {
		if err := m.setService(i, 0); err != nil {
			return err
		}
		if i%2 == 1 {
			continue
		}
		if err := m.setWeight(i, 90); err != nil {
			return err
		}
		if err := m.put(m.file("rule", i), rule(i)); err != nil {
			return err
		}
	}
	return nil
}

// put replaces a file at once, so that nobody reads half of it.
func (m *mesh) put(file, text string) error {
	tmp := filepath.Join(m.dir, ".new")
	if err := os.WriteFile(tmp, []byte(text), 0o644); err != nil {
		return err
	}
	return os.Rename(tmp, file)
}

// setService writes a service; shift moves the address of its first endpoint.
func (m *mesh) setService(i, shift int) error {
	var b strings.Builder
	fmt.Fprintf(&b, `apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: svc-%d, namespace: default}
spec:
  hosts: [%s]
  addresses: [10.%d.%d.%d]
  location: MESH_INTERNAL
  resolution: STATIC
  ports: [{number: %d, name: http, protocol: HTTP, targetPort: 8080}]
  endpoints:
`, i, host(i), 96+i/62500, i/250%250, 1+i%250, port)
	for e := range m.endpoints {
		n := i*m.endpoints + e
		a := 1 + n%250
		if e == 0 && shift > 0 {
			a = 250 + shift%5
		}
		fmt.Fprintf(&b, "  - {address: 10.%d.%d.%d, labels: {app: svc-%d, version: v%d}}\n", 16+n/62500, n/250%250, a, i, 1+e%2)
	}
	return m.put(m.file("service", i), b.String())
}

// setWeight writes a service's virtual service.
func (m *mesh) setWeight(i, weight int) error {
	return m.put(m.file("route", i), fmt.Sprintf(`apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: svc-%d, namespace: default}
spec:
  hosts: [%[2]s]
  http:
  - match: [{headers: {x-cohort: {exact: canary}}}]
    route: [{destination: {host: %[2]s, subset: v2}}]
  - route:
    - {destination: {host: %[2]s, subset: v1}, weight: %d}
    - {destination: {host: %[2]s, subset: v2}, weight: %d}
    timeout: 5s
    retries: {attempts: 3, perTryTimeout: 2s}
`, i, host(i), weight, 100-weight))
}

// setPatch writes the mesh's EnvoyFilter: it changes the cluster of one service, or with -1 of all that sidecars call.
func (m *mesh) setPatch(i, round int) error {
	which := "{}"
	if i >= 0 {
		which = fmt.Sprintf("{service: %s}", host(i))
	}
	return m.put(filepath.Join(m.dir, "patch.yaml"), fmt.Sprintf(`apiVersion: networking.istio.io/v1alpha3
kind: EnvoyFilter
metadata: {name: patch, namespace: istio-system}
spec:
  configPatches:
  - applyTo: CLUSTER
    match: {context: SIDECAR_OUTBOUND, cluster: %s}
    patch: {operation: MERGE, value: {per_connection_buffer_limit_bytes: %d}}
`, which, 32768+round))
}

// setFilter writes the mesh's EnvoyFilter so that it changes every listener for requests that sidecars call others by.
func (m *mesh) setFilter(round int) error {
	return m.put(filepath.Join(m.dir, "patch.yaml"), fmt.Sprintf(`apiVersion: networking.istio.io/v1alpha3
kind: EnvoyFilter
metadata: {name: patch, namespace: istio-system}
spec:
  configPatches:
  - applyTo: NETWORK_FILTER
    match: {context: SIDECAR_OUTBOUND, listener: {filterChain: {filter: {name: envoy.filters.network.http_connection_manager}}}}
    patch:
      operation: MERGE
      value:
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          max_request_headers_kb: %d
`, 60+round))
}

// setWildcard writes a virtual service for all hosts below a domain, which counts for the services that have none of their own.
func (m *mesh) setWildcard(round int) error {
	return m.put(filepath.Join(m.dir, "wildcard.yaml"), fmt.Sprintf(`apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: wildcard, namespace: default}
spec:
  hosts: ["*.default.svc.cluster.local"]
  http:
  - route: [{destination: {host: %s}}]
    timeout: %ds
`, host(1), round))
}

// setWildcardRule writes a destination rule for the same hosts.
func (m *mesh) setWildcardRule(round int) error {
	return m.put(filepath.Join(m.dir, "wildcard-rule.yaml"), fmt.Sprintf(`apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: wildcard, namespace: default}
spec:
  host: "*.default.svc.cluster.local"
  trafficPolicy: {connectionPool: {tcp: {connectTimeout: %ds}}}
`, round))
}

func rule(i int) string {
	return fmt.Sprintf(`apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: svc-%d, namespace: default}
spec:
  host: %s
  trafficPolicy: {outlierDetection: {consecutive5xxErrors: 5, interval: 5s}}
  subsets:
  - {name: v1, labels: {version: v1}}
  - {name: v2, labels: {version: v2}}
`, i, host(i))
}

// removeService takes a service away, with its rules.
func (m *mesh) removeService(i int) error {
	for _, kind := range []string{"route", "rule", "service"} {
		if err := os.Remove(m.file(kind, i)); err != nil && !os.IsNotExist(err) {
			return err
		}
	}
	return nil
}
