package demo

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"

	"github.com/lateen-mesh/lateen/config"
	"github.com/lateen-mesh/lateen/pkg/runfile"
	"github.com/lateen-mesh/lateen/samples/shop"
)

// seed fills config/ with the shop's objects when nobody has put anything there yet. The gateway's Service is always written anew: its
// target port is --gateway-port.
func (p *plan) seed() error {
	empty, err := holdsNoFile(p.path("config"))
	if err != nil {
		return err
	}
	p.fresh = empty
	if empty {
		paths, err := fs.Glob(shop.FS, "base/*.yaml")
		if err != nil {
			return fmt.Errorf("the shop's manifests: %w", err)
		}
		for _, path := range paths {
			text, err := shop.ForBlock(path, p.block)
			if err != nil {
				return fmt.Errorf("the shop's manifests: %w", err)
			}
			if err := p.writeObjects(path, text); err != nil {
				return err
			}
		}
	}
	return p.writeObjects("gateway service", []byte(fmt.Sprintf(gatewayService, p.gatewayPort)))
}

const gatewayService = `# Written by lateen demo at each start: the gateway listens on --gateway-port of this machine for port 80 of the mesh.
apiVersion: v1
kind: Service
metadata:
  name: istio-ingressgateway
  namespace: istio-system
  labels:
    app: istio-ingressgateway
    istio: ingressgateway
spec:
  selector:
    app: istio-ingressgateway
    istio: ingressgateway
  ports:
  - name: http2
    port: 80
    targetPort: %d
`

func holdsNoFile(dir string) (bool, error) {
	empty := true
	err := filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			empty = false
			return fs.SkipAll
		}
		return err
	})
	if errors.Is(err, fs.ErrNotExist) {
		return true, nil
	}
	if err != nil {
		return false, fmt.Errorf("look for configuration: %w", err)
	}
	return empty, nil
}

var documentEnd = regexp.MustCompile(`(?m)^---[ \t]*\n`)

// writeObjects writes each document of a file to its own, config/NAMESPACE/KIND/NAME.yaml, where `lateen apply` would put it.
func (p *plan) writeObjects(source string, text []byte) error {
	for _, doc := range documentEnd.Split(string(text), -1) {
		set, err := config.Load([]config.File{{Name: source, Data: []byte(doc)}}, config.LoadOptions{Namespace: shopNamespace})
		if err != nil {
			return fmt.Errorf("BUG: %w", err)
		}
		for _, o := range set.All() {
			path := p.path("config", o.Namespace, o.Kind.Singular, o.Name+".yaml")
			if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
				return fmt.Errorf("seed the configuration: %w", err)
			}
			if old, err := os.ReadFile(path); err == nil && bytes.Equal(old, []byte(doc)) {
				continue
			}
			if err := runfile.WriteFile(path, []byte(doc), 0o644); err != nil {
				return fmt.Errorf("seed the configuration: %w", err)
			}
		}
	}
	return nil
}
