package nomad

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/lateen-mesh/lateen/controlplane/internal/serviceregistry/transport"
	"github.com/lateen-mesh/lateen/controlplane/internal/serviceregistry/watch"
)

const (
	tokenHeader = "X-Nomad-Token"
	indexHeader = "X-Nomad-Index"
)

// client asks one Nomad; it implements watch.Catalog. A service's name is "namespace/name" in it.
type client struct {
	http      *http.Client
	base      *url.URL // ending in /v1
	token     string   // "" when there is none or it comes from a file
	region    string
	namespace string
	scope     scope
	checks    *checks // nil for no checks
}

// namespaceServices is an item of GET /v1/services.
// https://developer.hashicorp.com/nomad/api-docs/services#list-services
type namespaceServices struct {
	Namespace string
	Services  []struct{ ServiceName string }
}

// registration is an item of GET /v1/service/NAME.
// https://developer.hashicorp.com/nomad/api-docs/services#read-service
type registration struct {
	ID          string
	ServiceName string
	Namespace   string
	NodeID      string
	Datacenter  string
	JobID       string
	AllocID     string
	Tags        []string
	Address     string
	Port        int
}

// checkResult is an entry of GET /v1/client/allocation/ID/checks.
// https://developer.hashicorp.com/nomad/api-docs/allocations#list-allocation-checks
type checkResult struct {
	Service string
	Status  string // "success", "failure", "pending"
}

// List reads the names of all services.
func (c *client) List(ctx context.Context, q watch.Query) (watch.List, error) {
	var items []namespaceServices
	index, err := c.get(ctx, []string{"services"}, c.namespace, q, &items)
	if err != nil {
		return watch.List{}, err
	}
	out := watch.List{Index: index, Problems: map[string]string{}}
	hosts := map[string]bool{}
	for _, ns := range items {
		for _, s := range ns.Services {
			name := ns.Namespace + "/" + s.ServiceName
			host, ok := c.scope.host(ns.Namespace, s.ServiceName)
			switch {
			case !ok:
				out.Problems[name] = fmt.Sprintf("%q makes no host name; the service is left out", name)
			case hosts[host]:
				out.Problems[name] = fmt.Sprintf("another service has its host, %s; it is left out", host)
			default:
				hosts[host] = true
				out.Names = append(out.Names, name)
			}
		}
	}
	slices.Sort(out.Names)
	return out, nil
}

// Service reads the instances of a service and, when it is their turn, the results of their checks. With checks it waits no longer than
// they may stay unread: a check that fails is no news to the servers.
func (c *client) Service(ctx context.Context, name string, q watch.Query) (watch.Service, error) {
	ns, service, _ := strings.Cut(name, "/")
	if c.checks != nil {
		q.Wait = min(q.Wait, c.checks.interval)
	}
	var list []registration
	index, err := c.get(ctx, []string{"service", service}, ns, q, &list)
	if err != nil {
		return watch.Service{}, err
	}
	var unhealthy map[string]bool
	var problems []string
	if c.checks != nil {
		unhealthy, problems = c.checks.unhealthy(ctx, ns, service, list)
	}
	r, more := c.scope.registration(ns, service, list, unhealthy)
	return watch.Service{Index: index, Registration: r, Problems: append(problems, more...)}, nil
}

// allocationChecks reads the results of one allocation's checks.
func (c *client) allocationChecks(ctx context.Context, namespace, alloc string) ([]checkResult, error) {
	var byID map[string]checkResult
	if _, err := c.get(ctx, []string{"client", "allocation", alloc, "checks"}, namespace, watch.Query{}, &byID); err != nil {
		return nil, err
	}
	out := make([]checkResult, 0, len(byID))
	for _, r := range byID {
		out = append(out, r)
	}
	return out, nil
}

// get asks for a path and returns the index of the answer.
func (c *client) get(ctx context.Context, path []string, namespace string, q watch.Query, to any) (uint64, error) {
	u := *c.base
	escaped := make([]string, len(path))
	for i, p := range path {
		escaped[i] = url.PathEscape(p)
	}
	target := u.JoinPath(escaped...)
	params := url.Values{}
	params.Set("namespace", namespace)
	if c.region != "" {
		params.Set("region", c.region)
	}
	if q.Index > 0 {
		params.Set("index", strconv.FormatUint(q.Index, 10))
		params.Set("wait", strconv.FormatInt(q.Wait.Milliseconds(), 10)+"ms")
	}
	target.RawQuery = params.Encode()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, target.String(), nil)
	if err != nil {
		return 0, err
	}
	if c.token != "" {
		req.Header.Set(tokenHeader, c.token)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return 0, transport.Plain(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return 0, refused(resp)
	}
	if err := json.NewDecoder(resp.Body).Decode(to); err != nil {
		return 0, fmt.Errorf("the answer to %s: %w", target.Path, err)
	}
	if _, err := io.Copy(io.Discard, resp.Body); err != nil { // so that the connection is used again
		return 0, err
	}
	text := resp.Header.Get(indexHeader)
	if text == "" {
		return 0, nil // not every answer has one
	}
	index, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		return 0, fmt.Errorf("the answer to %s: %s %q is no number", target.Path, indexHeader, text)
	}
	return index, nil
}

// refused makes an error of an answer that is none, and says what to do about those that a client causes itself.
func refused(resp *http.Response) error {
	text, _ := io.ReadAll(io.LimitReader(resp.Body, 512))
	err := fmt.Errorf("%s: %s", resp.Status, strings.TrimSpace(string(text)))
	switch resp.StatusCode {
	case http.StatusForbidden, http.StatusUnauthorized:
		return fmt.Errorf("%w; the token in $NOMAD_TOKEN or --nomad-token-file needs read-job in the namespace", err)
	case http.StatusTooManyRequests:
		return fmt.Errorf("%w; the agent takes fewer connections than --nomad-max-watches: raise its limits.http_max_conns_per_client", err)
	}
	return err
}
