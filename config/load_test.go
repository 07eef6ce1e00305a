package config

import (
	"testing"

	"github.com/lateen-mesh/lateen/config/schema"
	networking "istio.io/api/networking/v1alpha3"
)

func TestLoadKeepsLines(t *testing.T) {
	const doc = `# 카탈로그
apiVersion: v1
kind: Service
metadata: {name: catalog, namespace: istioinaction}
spec:
  ports:
  - port: 80 # 포트
    targetPort: 3000
---
apiVersion: networking.istio.io/v1alpha3
kind: VirtualService
metadata:
  name: catalog
spec:
  hosts: [catalog]
  http:
  - timeout: 500ms
    route:
    - destination:
        host: catalog
        subset: version-v1
`
	set, err := Load([]File{{Name: "a.yaml", Data: []byte(doc)}}, LoadOptions{Namespace: "shop"})
	if err != nil {
		t.Fatal(err)
	}
	vs := set.Get(schema.VirtualService, "shop", "catalog")
	if vs == nil {
		t.Fatal("no VirtualService shop/catalog")
	}
	if got := vs.Spec.(*networking.VirtualService).Http[0].Timeout.AsDuration().String(); got != "500ms" {
		t.Errorf("timeout %s", got)
	}
	for path, want := range map[string]int{
		"":               10,
		"spec.hosts":     15,
		"spec.hosts[0]":  15,
		"spec.http[0]":   17,
		"metadata.name":  13,
		"spec.nosuch[3]": 14,
		"spec.http[0].route[0].destination.subset":       21,
		"spec.http[0].route[0].destination.port.number":  19,
		"spec.http[0].route[0].destination.subset.hello": 21,
	} {
		if got := vs.Position(path); got != want {
			t.Errorf("Position(%q) = %d, want %d", path, got, want)
		}
	}
	if !vs.Has("spec.http[0].timeout") || vs.Has("spec.http[0].retries") {
		t.Error("Has is wrong")
	}
	if vs.Source.String() != "a.yaml:10" {
		t.Errorf("Source %s", vs.Source)
	}
}
