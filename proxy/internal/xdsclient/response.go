package xdsclient

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	statuspb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

// rawResource is a resource as it came. name may be empty in state of the world.
type rawResource struct {
	name, version string
	aliases       []string
	body          *anypb.Any
}

// maxDetail bounds the text of a NACK; control planes put it into logs and status fields.
const maxDetail = 4096

// respond judges a response, hands it over and answers it, or returns what to wait for before acknowledge.
func (c *Client) respond(tr transport, r *response) (warm <-chan struct{}, err error) {
	c.mu.Lock()
	t, known := c.types[r.typeURL]
	c.mu.Unlock()
	if !known {
		c.cfg.Log.Warn("the control plane sent a type that was not asked for", "type", r.typeURL)
		return nil, nil
	}
	b := c.judge(t, r)
	refused, warm := c.cfg.Handler.Update(b)

	c.mu.Lock()
	defer c.mu.Unlock()
	var problems []string
	bad := func(name string) {
		if _, held := t.versions[name]; !held && t.wildcard {
			t.refused[name] = true
		}
	}
	for _, f := range b.Failed {
		problems = append(problems, f.Err.Error())
		bad(f.Name)
	}
	for _, u := range b.Changed {
		if err := refused[u.Name]; err != nil {
			problems = append(problems, fmt.Sprintf("%s: %v", u.Name, err))
			bad(u.Name)
			continue
		}
		delete(t.refused, u.Name)
		// A name that was given back while the response was on its way is not held.
		if t.wildcard || t.wanted[u.Name] || slices.ContainsFunc(u.Aliases, func(n string) bool { return t.wanted[n] }) {
			t.versions[u.Name] = u.Version
		}
	}
	for _, name := range slices.Concat(b.Removed, b.Absent) {
		delete(t.versions, name)
		delete(t.refused, name)
	}
	if len(problems) == 0 {
		t.version = r.version
		t.held = append(t.held, r)
		if warm != nil {
			return warm, nil
		}
		return nil, c.acknowledge(tr, t, r)
	}
	t.nonce = r.nonce
	text := strings.Join(problems, "\n")
	if len(text) > maxDetail {
		text = text[:maxDetail] + "..."
	}
	c.cfg.Log.Warn("refused resources of the control plane", "type", shortType(r.typeURL), "version", r.version, "error", text)
	return nil, tr.ack(t, r, &statuspb.Status{Code: int32(codes.InvalidArgument), Message: text})
}

// acknowledge accepts a response and those before it that are held. The caller holds mu.
func (c *Client) acknowledge(tr transport, t *typeState, r *response) error {
	n := slices.Index(t.held, r) + 1 // 0: a later one was warm first
	for _, h := range t.held[:n] {
		t.nonce = h.nonce
		if err := tr.ack(t, h, nil); err != nil {
			return err
		}
	}
	t.held = slices.Delete(t.held, 0, n)
	return nil
}

// judge decodes every resource on its own and finds out what is gone.
func (c *Client) judge(t *typeState, r *response) Batch {
	b := judge(c.cfg.Decoder, r)
	if !r.sotw || !t.wildcard {
		return b
	}
	present := map[string]bool{}
	for _, u := range b.Changed {
		present[u.Name] = true
	}
	for _, f := range b.Failed {
		present[f.Name] = true
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	// What is not in the full set is gone, be it held or only known as refused.
	for name := range t.versions {
		if !present[name] {
			b.Removed = append(b.Removed, name)
		}
	}
	for name := range t.refused {
		if !present[name] {
			b.Removed = append(b.Removed, name)
		}
	}
	return b
}

func judge(dec *xdsresource.Decoder, r *response) Batch {
	b := Batch{Type: r.typeURL, Version: r.version, Removed: r.removed}
	present := map[string]bool{}
	for _, raw := range r.resources {
		body := raw.body
		if body.GetTypeUrl() == resourceWrapper { // state of the world may wrap to add a name
			var w discoveryv3.Resource
			if err := body.UnmarshalTo(&w); err != nil {
				b.Failed = append(b.Failed, Failure{Name: raw.name, Version: raw.version, Err: err})
				continue
			}
			raw.name, body = w.GetName(), w.GetResource()
		}
		// The names of virtual hosts are their route configuration's and a host; one without content says that
		// there is none of these names
		// (https://www.envoyproxy.io/docs/envoy/latest/configuration/http/http_conn_man/vhds).
		apart := r.typeURL == xdsresource.TypeVirtualHost
		if apart && body == nil {
			b.Absent = append(append(b.Absent, raw.name), raw.aliases...)
			continue
		}
		res, err := decode(dec, r.typeURL, body)
		name := res.Name
		if raw.name != "" {
			name = raw.name
		}
		if apart {
			res.Name = name
		}
		if err == nil && res.Name != name {
			err = fmt.Errorf("resource %q calls itself %q", raw.name, res.Name)
		}
		if err == nil && present[name] {
			err = fmt.Errorf("resource %q stands twice in one response", name)
		}
		present[name] = true
		if err != nil {
			b.Failed = append(b.Failed, Failure{Name: name, Version: raw.version, Aliases: raw.aliases, Err: err, Raw: res})
			continue
		}
		b.Changed = append(b.Changed, Update{Resource: res, Version: raw.version, Aliases: raw.aliases})
	}
	return b
}

const resourceWrapper = "type.googleapis.com/envoy.service.discovery.v3.Resource"

// decode refuses what stands in the wrong response.
func decode(dec *xdsresource.Decoder, typeURL string, body *anypb.Any) (res xdsresource.Resource, err error) {
	if body == nil {
		return res, errors.New("a resource without content")
	}
	if body.GetTypeUrl() != typeURL {
		return res, fmt.Errorf("a resource of type %s in a response for %s", body.GetTypeUrl(), typeURL)
	}
	return dec.Decode(body)
}

func shortType(url string) string { return url[strings.LastIndexByte(url, '.')+1:] }
