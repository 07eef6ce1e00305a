package demo

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"time"

	"github.com/lateen-mesh/lateen/config"
	"github.com/lateen-mesh/lateen/config/statedir"
	"github.com/lateen-mesh/lateen/samples/shop"
)

// seed fills config/ with the shop's objects when nobody has put anything there yet. The gateway's Service is always written anew: its
// target ports are --gateway-port and its like.
func (p *plan) seed() error {
	empty, err := holdsNoFile(statedir.ConfigDir(p.stateDir))
	if err != nil {
		return err
	}
	p.fresh = empty
	files := []config.File{{Name: "gateway service", Data: fmt.Appendf(nil, gatewayService, p.http(), p.tls(), p.tcp())}}
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
			files = append(files, config.File{Name: path, Data: text})
		}
	}
	set, err := config.Load(files, config.LoadOptions{Namespace: shopNamespace, KeepText: true})
	if err != nil {
		return fmt.Errorf("BUG: the shop's manifests: %w", err)
	}
	unlock, err := statedir.Lock(p.stateDir)
	if err != nil {
		return fmt.Errorf("seed the configuration: %w", err)
	}
	defer unlock()
	current, err := statedir.Read(p.stateDir)
	if err != nil && config.AsProblems(err) == nil {
		return fmt.Errorf("seed the configuration: %w", err)
	} // mistakes in users' files are for the control plane to report; what is right stays
	if err := statedir.Apply(p.stateDir, current, statedir.Plan(current, set.All(), time.Now())); err != nil {
		return fmt.Errorf("seed the configuration: %w", err)
	}
	return nil
}

const gatewayService = `# Written by lateen demo at each start: for ports 80, 443 and 31400 of the mesh the gateway listens on --gateway-port, --gateway-tls-port and
# --gateway-tcp-port of this machine.
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
  - name: https
    port: 443
    targetPort: %d
  - name: tcp
    port: 31400
    targetPort: %d
`

// holdsNoFile ignores hidden files, such as the lock of the folder's writers.
func holdsNoFile(dir string) (bool, error) {
	empty := true
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() && filepath.Base(path)[0] != '.' {
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
