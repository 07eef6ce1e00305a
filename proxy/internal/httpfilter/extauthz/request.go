package extauthz

import (
	"strconv"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/lateen-mesh/lateen/proxy/internal/extauthz"
	"github.com/lateen-mesh/lateen/proxy/internal/header"
)

// partialBody tells the service whether it sees all of a body.
const partialBody = "x-envoy-auth-partial-body"

// checkRequest is what the service is told.
func (f *filter) checkRequest(h *header.Map) *authv3.CheckRequest {
	info, c := f.s.Info(), f.cfg
	source := extauthz.Source(info.Downstream, c.certificate)
	if v := h.Value(header.XEnvoyDownstreamServiceCluster); len(v) > 0 {
		source.Service = extauthz.UTF8(string(v))
	}
	attr := &authv3.AttributeContext{
		Source: source, Destination: extauthz.Destination(info.Downstream, f.labels),
		Request:              &authv3.AttributeContext_Request{Time: timestamppb.New(info.StartWall), Http: f.httpRequest(h)},
		ContextExtensions:    extensions(f.s),
		MetadataContext:      extauthz.MetadataContext(c.metadata, info.Downstream.Metadata, info.Metadata),
		RouteMetadataContext: &corev3.Metadata{},
	}
	if e := f.s.Route(); e != nil {
		attr.RouteMetadataContext = extauthz.MetadataContext(c.routeMetadata, e.Metadata, nil)
	}
	if c.tlsSession {
		attr.TlsSession = extauthz.TLSSession(info.Downstream)
	}
	return &authv3.CheckRequest{Attributes: attr}
}

func (f *filter) httpRequest(h *header.Map) *authv3.AttributeContext_HttpRequest {
	info := f.s.Info()
	text := func(id header.ID) string { return extauthz.UTF8(string(h.Value(id))) }
	out := &authv3.AttributeContext_HttpRequest{
		Id: strconv.FormatUint(f.s.Random(), 10), Method: text(header.Method), Path: text(header.Path), Host: text(header.Authority),
		Scheme: text(header.Scheme), Size: int64(info.BytesReceived), Protocol: info.Protocol.String(),
	}
	if f.cfg.rawHeaders {
		list := &corev3.HeaderMap{}
		f.eachTold(h, func(name, value []byte) {
			list.Headers = append(list.Headers, &corev3.HeaderValue{Key: string(name), RawValue: append([]byte(nil), value...)})
		})
		out.HeaderMap = list
	} else {
		out.Headers = make(map[string]string, h.Len()+1)
		f.eachTold(h, func(name, value []byte) {
			v := extauthz.UTF8(string(value))
			if old, ok := out.Headers[string(name)]; ok {
				v = old + "," + v
			}
			out.Headers[extauthz.UTF8(string(name))] = v
		})
	}
	if !f.hasBody {
		return out
	}
	part := "false"
	body := f.body
	if len(body) > f.rules.max {
		part, body = "true", body[:f.rules.max]
	}
	if f.rules.bytes {
		out.RawBody = append([]byte(nil), body...)
	} else {
		out.Body = extauthz.UTF8(string(body))
	}
	if f.cfg.rawHeaders {
		out.HeaderMap.Headers = append(out.HeaderMap.Headers, &corev3.HeaderValue{Key: partialBody, RawValue: []byte(part)})
	} else {
		out.Headers[partialBody] = part
	}
	return out
}

// eachTold calls fn with the headers that the service is told of.
func (f *filter) eachTold(h *header.Map, fn func(name, value []byte)) {
	for i := range h.Len() {
		id, name, value := h.At(i)
		if id == header.Authority {
			name = authorityName
		}
		if string(name) == partialBody || f.cfg.disallowed.has(name) || f.cfg.allowed != nil && !f.cfg.allowed.has(name) {
			continue
		}
		fn(name, value)
	}
}

var authorityName = []byte(":authority")
