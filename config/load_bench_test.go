package config

import (
	"fmt"
	"strings"
	"testing"
)

// BenchmarkLoad reads a thousand VirtualServices, as a store does at start.
func BenchmarkLoad(b *testing.B) {
	var docs strings.Builder
	for i := range 1000 {
		fmt.Fprintf(&docs, `---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: vs-%d, namespace: shop}
spec:
  hosts: [svc-%d]
  http:
  - match:
    - headers:
        x-istio-cohort: {exact: internal}
    route:
    - destination: {host: svc-%d, subset: v2}
  - route:
    - destination: {host: svc-%d, subset: v1}
      weight: 90
    - destination: {host: svc-%d, subset: v2}
      weight: 10
    timeout: 5s
    retries: {attempts: 3, retryOn: 5xx, perTryTimeout: 2s}
`, i, i, i, i, i)
	}
	data := []byte(docs.String())
	b.SetBytes(int64(len(data)))
	b.ReportAllocs()
	for b.Loop() {
		set, err := Load([]File{{Name: "f", Data: data}}, LoadOptions{})
		if err != nil || set.Len() != 1000 {
			b.Fatal(err)
		}
	}
}
