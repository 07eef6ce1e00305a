package localmesh

import (
	"fmt"
	"time"

	"github.com/lateen-mesh/lateen/config"
	"github.com/lateen-mesh/lateen/config/statedir"
)

// GatewayService is the gateway's Service. It is written anew at each start: its target ports are --gateway-port and its like.
func (p Place) GatewayService() config.File {
	return config.File{Name: "gateway service", Data: fmt.Appendf(nil, gatewayService, p.HTTP(), p.TLS(), p.TCP())}
}

// WriteConfig puts objects that are known to be right into the state folder. Those without a namespace get the given one.
func (p Place) WriteConfig(files []config.File, namespace string) error {
	set, err := config.Load(files, config.LoadOptions{Namespace: namespace, KeepText: true})
	if err != nil {
		return fmt.Errorf("BUG: the first manifests: %w", err)
	}
	unlock, err := statedir.Lock(p.StateDir)
	if err != nil {
		return fmt.Errorf("write the configuration: %w", err)
	}
	defer unlock()
	current, err := statedir.Read(p.StateDir)
	if err != nil && config.AsProblems(err) == nil {
		return fmt.Errorf("write the configuration: %w", err)
	} // mistakes in users' files are for the control plane to report; what is right stays
	if err := statedir.Apply(p.StateDir, current, statedir.Plan(current, set.All(), time.Now())); err != nil {
		return fmt.Errorf("write the configuration: %w", err)
	}
	return nil
}

const gatewayService = `# Written at each start of the mesh: for ports 80, 443 and 31400 of the mesh the gateway listens on --gateway-port, --gateway-tls-port and
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
