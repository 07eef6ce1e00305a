package demo

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"time"

	"github.com/lateen-mesh/lateen/localmesh"
	"github.com/lateen-mesh/lateen/workload"
)

// shopNamespace is the posts'.
const shopNamespace = "istioinaction"

// Shop is the content of a demo's mesh.
type Shop struct {
	fresh     bool // the configuration is the one that seed wrote in this run
	workloads []workload.Workload
}

// Prepare implements localmesh.Content.
func (s *Shop) Prepare(p localmesh.Place) ([]workload.Workload, error) {
	s.workloads = workloads(p)
	return s.workloads, s.seed(p)
}

// usersAddress is where the service outside the mesh listens.
func usersAddress(p localmesh.Place) string { return net.JoinHostPort(p.Outside(1), "8000") }

func workloads(p localmesh.Place) []workload.Workload {
	var out []workload.Workload
	for i, app := range []struct {
		kind, version string
		port          uint16
		env           []string
	}{
		{"webapp", "", 8080, nil},
		{"catalog", "v1", 3000, nil},
		{"catalog", "v2", 3000, []string{"SHOW_IMAGE=true"}},
		{"forum", "", 8080, []string{"USERS_URL=http://" + usersAddress(p) + "/users"}},
	} {
		deployment, labels := app.kind, map[string]string{"app": app.kind}
		if app.version != "" {
			deployment += "-" + app.version
			labels["version"] = app.version
		}
		ip, appIP := p.Addresses(i + 1)
		port := workload.Port{Number: app.port, App: netip.AddrPortFrom(netip.MustParseAddr(appIP), app.port)}
		out = append(out, workload.Workload{
			Name: deployment + "-1", Deployment: deployment, Namespace: shopNamespace, ServiceAccount: app.kind, Labels: labels,
			Type: workload.Sidecar, IP: ip, AppIP: appIP, Ports: []workload.Port{port}, App: app.kind, Env: app.env,
			Command: []string{p.Executable, "sample", "serve", app.kind, "--address", port.App.String()},
		})
	}
	users := netip.MustParseAddrPort(usersAddress(p))
	return append(out, workload.Workload{
		Name: "users-1", Deployment: "users", Namespace: shopNamespace, Type: workload.Outside, IP: p.Outside(1), App: "users",
		Ports:   []workload.Port{{Number: users.Port(), App: users}},
		Command: []string{p.Executable, "sample", "serve", "users", "--address", users.String()},
	})
}

// Serves implements localmesh.Content: every app answers, and one request goes from the gateway to webapp to catalog.
func (s *Shop) Serves(ctx context.Context, p localmesh.Place) error {
	for _, w := range s.workloads {
		if w.Type == workload.Outside {
			continue
		}
		if err := localmesh.Answers(ctx, "http://"+w.AppAddress()+"/shop/fault", ""); err != nil {
			return fmt.Errorf("the app %s: %w", w.Name, err)
		}
	}
	err := localmesh.Answers(ctx, "http://"+p.Gateway()+"/api/catalog", "localhost")
	var code localmesh.StatusError
	if !s.fresh && errors.As(err, &code) && time.Since(p.Begun) > ownConfigPatience {
		return nil
	}
	if err != nil {
		return fmt.Errorf("no request gets through the gateway: %w", err)
	}
	return nil
}

// ownConfigPatience is how long a start waits for a 200 when the configuration is one that the user has changed in a former run: it may
// be meant to answer something else.
const ownConfigPatience = 8 * time.Second

// Keep implements localmesh.Content: the shop stays as it is.
func (s *Shop) Keep(ctx context.Context, _ *localmesh.Members) error {
	<-ctx.Done()
	return nil
}

func where(w workload.Workload) string {
	return net.JoinHostPort(w.IP, strconv.Itoa(int(w.Ports[0].Number)))
}
