package router

import (
	"bytes"
	"net/http"
	"slices"
	"strings"

	"github.com/lateen-mesh/lateen/proxy/internal/cluster"
	"github.com/lateen-mesh/lateen/proxy/internal/header"
	"github.com/lateen-mesh/lateen/proxy/internal/iobuf"
	"github.com/lateen-mesh/lateen/proxy/internal/route"
	"github.com/lateen-mesh/lateen/proxy/internal/streaminfo"
	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

var originalURLKey = header.KeyOf("x-envoy-original-url")

// follow answers a redirect of the host's in the client's stead, if the route's policy says so: the
// request begins anew with the location that the host named. False: the redirect is the client's.
func (r *router) follow(response *header.Map, code int) bool {
	p := r.forward.InternalRedirect
	if p == nil || !slices.Contains(p.Codes, code) {
		return false
	}
	// A body that is still coming, or was too large to be kept, cannot be sent again.
	if !r.ended || r.sentBody || !r.redirect3xx(p, response, code) {
		r.local.Inc(cluster.InternalRedirectFailed)
		return false
	}
	r.local.Inc(cluster.InternalRedirectSucceeded)
	var body iobuf.Buffer
	body.Init(r.loop.Buffers())
	body.Move(&r.body)
	r.state = done
	r.s.Restart(response, body.Bytes())
	body.Reset()
	return true
}

// redirect3xx turns the request into that for the location, and leaves it as it was where the policy
// does not want that.
func (r *router) redirect3xx(p *xdsresource.InternalRedirect, response *header.Map, code int) bool {
	to, ok := parseLocation(response.Value(header.Location))
	if !ok {
		if response.Has(header.Location) {
			r.inc(redirectBadLocation)
		}
		return false
	}
	info := r.s.Info()
	plain := bytes.EqualFold(r.h.Value(header.Scheme), []byte("http")) || info.Downstream != nil && info.Downstream.TLS == nil
	if plain == to.secure && !p.CrossScheme {
		r.inc(redirectUnsafeScheme)
		return false
	}
	if info.Redirects == nil {
		info.Redirects = &streaminfo.Redirects{}
	}
	if info.Redirects.Made >= p.Max {
		r.inc(redirectTooMany)
		return false
	}
	var before header.Map
	r.h.CopyTo(&before)
	r.applyLocation(p, &to, response)
	target, cluster := r.s.Peek()
	switch {
	case target == nil:
		r.inc(redirectNoRoute)
	case !r.allows(p, target.Name, plain, to.secure):
		r.inc(redirectPredicate)
	default:
		r.becomeGet(code)
		info.Redirects.Made++
		r.nameTarget(info, target, cluster)
		r.h.SetBuilt(originalURLKey, originalURL(r.h.Build(), &before, plain))
		return true
	}
	before.CopyTo(r.h)
	info.RequestID = r.h.Value(header.XRequestID) // it lay in what has just been written over
	return false
}

// nameTarget has the log of the redirect name where it leads, as Envoy's does.
func (r *router) nameTarget(info *streaminfo.Info, e *route.Entry, t *route.Target) {
	info.RouteName, info.VirtualHost, info.RouteMetadata = e.Name, e.VirtualHost.Name, e.Metadata
	info.UpstreamCluster, info.Cluster = "", nil
	if t != nil {
		info.UpstreamCluster = t.ClusterName(r.h)
		if l := r.clusters.Get(info.UpstreamCluster); l != nil {
			info.Cluster = l.Config()
		}
	}
}

// applyLocation sets where the request goes now, and what the redirect gives it.
func (r *router) applyLocation(p *xdsresource.InternalRedirect, to *location, response *header.Map) {
	for _, name := range p.CopyHeaders {
		k := header.KeyOf(name)
		r.h.RemoveKey(k)
		for i := response.Find(k, 0); i >= 0; i = response.Find(k, i+1) {
			_, _, v := response.At(i)
			r.h.AddKey(k, v)
		}
	}
	r.h.SetString(header.Scheme, strings.ToLower(to.scheme))
	r.h.SetString(header.Authority, to.host)
	r.h.SetString(header.Path, to.path)
}

// allows asks the policy's predicates about a route that the request is led to.
func (r *router) allows(p *xdsresource.InternalRedirect, target string, plain, secure bool) bool {
	if p.SafeCrossScheme && plain && secure {
		return false
	}
	if p.OnlyRoutes != nil && !slices.Contains(p.OnlyRoutes, target) {
		return false
	}
	info := r.s.Info()
	for _, st := range p.State {
		o := info.FilterState(st.Key)
		if o == nil && !st.IfAbsent || o != nil && o.String() != "true" {
			return false
		}
	}
	return !p.NotPreviousRoute || info.Redirects.First(r.entry.Name, target)
}

// becomeGet makes a request without body of any that a 303 answers (RFC 9110, 15.4.4).
func (r *router) becomeGet(code int) {
	if m := string(r.h.Value(header.Method)); code != http.StatusSeeOther || m == "GET" || m == "HEAD" {
		return
	}
	r.h.SetString(header.Method, "GET")
	r.h.Remove(header.ContentLength)
	r.body.Reset()
}

func originalURL(dst []byte, h *header.Map, plain bool) []byte {
	if plain {
		dst = append(dst, "http://"...)
	} else {
		dst = append(dst, "https://"...)
	}
	dst = append(dst, h.Value(header.Authority)...)
	return append(dst, h.Value(header.Path)...)
}

// location is where a redirect leads.
type location struct {
	scheme, host, path string
	secure             bool // not plain HTTP
}

// parseLocation reads an absolute URL of HTTP. A relative one is the client's to resolve, as in Envoy;
// a fragment never leaves a client.
func parseLocation(v []byte) (to location, ok bool) {
	s := string(v)
	scheme, rest, ok := strings.Cut(s, "://")
	if !ok {
		return to, false
	}
	to.scheme = scheme
	switch {
	case strings.EqualFold(scheme, "http"):
	case strings.EqualFold(scheme, "https"):
		to.secure = true
	default:
		return to, false
	}
	end := strings.IndexAny(rest, "/?#")
	if end < 0 {
		end = len(rest)
	}
	to.host, rest = rest[:end], rest[end:]
	if to.host == "" || strings.ContainsAny(to.host, "@\\ \t") {
		return to, false
	}
	if to.path, _, _ = strings.Cut(rest, "#"); to.path == "" || to.path[0] != '/' {
		to.path = "/" + to.path
	}
	return to, true
}
