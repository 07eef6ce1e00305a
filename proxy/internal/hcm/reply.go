package hcm

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/lateen-mesh/lateen/proxy/internal/accesslog"
	"github.com/lateen-mesh/lateen/proxy/internal/format"
	"github.com/lateen-mesh/lateen/proxy/internal/grpcstatus"
	"github.com/lateen-mesh/lateen/proxy/internal/header"
	"github.com/lateen-mesh/lateen/proxy/internal/httpfilter"
	"github.com/lateen-mesh/lateen/proxy/internal/route"
	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

// replyConfig is a compiled local_reply_config.
type replyConfig struct {
	format  *format.Body // nil: the body as it is
	mappers []replyMapper
}

type replyMapper struct {
	filter accesslog.Filter
	code   int
	body   *string
	format *format.Body // nil: that of all replies
	add    route.Ops
}

func newReplyConfig(cfg *xdsresource.HTTPConnectionManager) (*replyConfig, error) {
	if cfg.LocalReplyBody == nil && len(cfg.LocalReplies) == 0 {
		return nil, nil
	}
	r := &replyConfig{}
	var err error
	if r.format, err = format.CompileBody(cfg.LocalReplyBody); err != nil {
		return nil, fmt.Errorf("local_reply_config: body_format: %w", err)
	}
	for i := range cfg.LocalReplies {
		src := &cfg.LocalReplies[i]
		m := replyMapper{code: int(src.StatusCode), body: src.Body}
		if m.filter, err = accesslog.NewFilter(src.Filter); err != nil {
			return nil, fmt.Errorf("local_reply_config: mappers[%d]: filter: %w", i, err)
		}
		if m.format, err = format.CompileBody(src.Format); err != nil {
			return nil, fmt.Errorf("local_reply_config: mappers[%d]: body_format_override: %w", i, err)
		}
		if m.add, err = route.CompileOps(&xdsresource.HeaderOps{Add: src.HeadersToAdd}); err != nil {
			return nil, fmt.Errorf("local_reply_config: mappers[%d]: headers_to_add: %w", i, err)
		}
		r.mappers = append(r.mappers, m)
	}
	return r, nil
}

// Reply implements httpfilter.Stream.
func (s *stream) Reply(r httpfilter.Reply) {
	if s.over {
		return
	}
	if s.started || s.replied {
		s.ResetResponse(r.Details, r.Flags)
		return
	}
	s.replied = true
	s.nameCluster()
	if r.Code == 400 {
		s.keepAlive = false // as in Envoy: who sends bad requests is not heard further
	}
	// Filters that have been shown a response would take this one for a part of it.
	past := s.resp != nil
	s.info.Set(r.Flags)
	s.info.Details = r.Details
	// The request goes no further, and a response that was on its way is dropped.
	s.reqDir.kill()
	s.respDir.reset()
	s.respT, s.logCtx.Trailers = nil, nil
	s.local.Reset()
	h := &s.local
	h.AddBuilt(header.Key{ID: header.Status}, strconv.AppendInt(h.Build(), int64(r.Code), 10))
	s.info.ResponseCode = r.Code
	body, kind := r.Body, "text/plain"
	if s.target != nil && !r.Bare { // as in Envoy: what the route adds to responses, to this one as well
		s.logCtx.Response = h
		s.target.ResponseOps.Apply(h, &s.logCtx)
	}
	if r.Headers != nil {
		r.Headers(h)
	}
	if s.w.m.replies != nil {
		body, kind = s.mapReply(h, body, kind)
	}
	if s.grpc {
		s.grpcReply(h, r.GRPC, body)
		body = ""
	}
	if body != "" {
		if !h.Has(header.ContentType) {
			h.AddString(header.ContentType, kind)
		}
		h.SetBuilt(header.Key{ID: header.ContentLength, Name: "content-length"}, strconv.AppendInt(h.Build(), int64(len(body)), 10))
	}
	s.resp = h
	s.logCtx.Response = h
	empty := body == "" || s.msg.Head
	if past {
		s.respDir.skip()
	}
	s.respDir.start(h, empty)
	if !empty && !s.over {
		s.respDir.body([]byte(body), true)
	}
}

// grpcReply makes a local reply one that a gRPC client understands: 200, with status and message
// in the headers (https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md, Trailers-Only).
func (s *stream) grpcReply(h *header.Map, status int, message string) {
	if status == 0 {
		status = int(grpcstatus.FromHTTP(s.info.ResponseCode))
	}
	s.info.ResponseCode = 200
	h.SetString(header.Status, "200")
	h.SetString(header.ContentType, "application/grpc")
	h.SetBuilt(header.Key{ID: header.GRPCStatus, Name: header.GRPCStatus.String()}, strconv.AppendInt(h.Build(), int64(status), 10))
	message = strings.TrimSuffix(message, "\n") // JSON is a line
	if message != "" && !s.msg.Head {
		h.SetBuilt(header.Key{ID: header.GRPCMessage, Name: header.GRPCMessage.String()}, grpcstatus.AppendMessage(h.Build(), message))
	}
}

// mapReply applies local_reply_config and returns the body and what it is. The content type of an
// answer that is formatted anew is the format's, unless a mapper has set one.
func (s *stream) mapReply(h *header.Map, body, kind string) (newBody, newKind string) {
	s.logCtx.Response = h
	rc := s.w.m.replies
	f := rc.format
	before := string(h.Value(header.ContentType))
	original := body
	for i := range rc.mappers {
		m := &rc.mappers[i]
		if !m.filter.Pass(&s.logCtx) {
			continue
		}
		if m.code != 0 {
			s.info.ResponseCode = m.code
			h.SetBuilt(header.Key{ID: header.Status}, strconv.AppendInt(h.Build(), int64(m.code), 10))
		}
		if m.body != nil {
			body = *m.body
		}
		m.add.Apply(h, &s.logCtx)
		if m.format != nil {
			f = m.format
		}
		break
	}
	if f != nil {
		s.logCtx.LocalReply = []byte(body)
		body, kind = string(f.Append(nil, &s.logCtx)), f.ContentType
	}
	if body != original && string(h.Value(header.ContentType)) == before {
		h.Remove(header.ContentType) // it was the other body's
	}
	return body, kind
}
