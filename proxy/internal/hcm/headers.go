package hcm

import (
	"bytes"
	"net/netip"
	"slices"
	"strconv"
	"unsafe"

	"github.com/lateen-mesh/lateen/proxy/internal/header"
	"github.com/lateen-mesh/lateen/proxy/internal/http1"
	"github.com/lateen-mesh/lateen/proxy/internal/httpfilter"
	"github.com/lateen-mesh/lateen/proxy/internal/overload"
	"github.com/lateen-mesh/lateen/proxy/internal/route"
	"github.com/lateen-mesh/lateen/proxy/internal/stats"
	"github.com/lateen-mesh/lateen/proxy/internal/streaminfo"
	"github.com/lateen-mesh/lateen/proxy/internal/tracing"
	"github.com/lateen-mesh/lateen/proxy/internal/uuid"
	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

// prepare makes the request one that filters and routes may rely on. It returns false when
// the request was answered here.
func (s *stream) prepare() bool {
	cfg := s.w.m.cfg
	s.limitRequests()
	if s.shed() {
		return false
	}
	if !s.req.Has(header.Authority) {
		if cfg.DefaultHostForHTTP10 == "" || s.msg.Minor != 0 {
			s.Reply(httpfilter.Reply{Code: 400, Details: "missing_host_header"})
			return false
		}
		s.req.SetString(header.Authority, cfg.DefaultHostForHTTP10)
	}
	if !s.msg.Connect && !s.normalizePath() {
		return false
	}
	if cfg.Underscores != xdsresource.UnderscoresAllow && !s.underscores() {
		return false
	}
	s.normalizeHost()
	s.w.m.early.Apply(&s.req, &s.logCtx)
	if !s.forwarded() {
		return false
	}
	s.xfcc()
	s.requestID()
	s.trace()
	if !s.upgrade() {
		return false
	}
	if s.msg.Minor == 0 {
		s.req.Remove(header.Expect) // RFC 9110, 10.1.1: to be ignored
	}
	if s.msg.Expect100 && !cfg.Proxy100Continue {
		s.req.Remove(header.Expect)
		if !s.requestDone {
			if s.http2 != nil {
				s.interimHTTP2(continueHead)
			} else {
				s.c.out().AppendString(http1.Continue)
				s.info.DownstreamMeter.Put(len(http1.Continue))
				s.c.c.FlushLater()
			}
			s.countInterim()
		}
	}
	return true
}

// shed answers a request that is one too many for the process.
func (s *stream) shed() bool {
	o := s.w.m.deps.Overload
	reply := httpfilter.Reply{Code: 503, Body: "envoy overloaded", Details: "overload"}
	switch {
	case o == nil:
		return false
	case o.Sheds(overload.StopAcceptingRequests, s.w.loop.Rand()):
		reply.Flags = streaminfo.OverloadManager
	case o.ShedsAt(overload.ShedRequest, s.w.loop.Rand(), s.w.shard): // without a flag, as in Envoy
	default:
		return false
	}
	s.w.inc(rqOverloadClose)
	if s.w.m.cfg.AppendLocalOverload {
		reply.Headers = func(h *header.Map) { h.AddKeyString(localOverloadedKey, "true") }
	}
	s.Reply(reply)
	return true
}

// limitRequests applies max_requests_per_connection and draining.
func (s *stream) limitRequests() {
	c := s.c
	if c.draining {
		return
	}
	n, o := s.w.m.cfg.MaxRequestsPerConnection, s.w.m.deps.Overload
	enough, overloaded := n > 0 && c.requests >= n, o != nil && o.Sheds(overload.DisableKeepalive, s.w.loop.Rand())
	if enough {
		s.w.inc(cxMaxRequests)
	}
	if overloaded {
		s.w.inc(cxOverloadDisableKeepalive)
	}
	if enough || overloaded {
		if s.http2 != nil {
			s.http2.drain()
		} else {
			c.draining = true
		}
	}
}

// underscores applies headers_with_underscores_action.
func (s *stream) underscores() bool {
	for i := 0; i < s.req.Len(); {
		id, name, _ := s.req.At(i)
		if id != header.Other || bytes.IndexByte(name, '_') < 0 {
			i++
			continue
		}
		if s.w.m.cfg.Underscores == xdsresource.UnderscoresReject {
			s.countUnderscore(0)
			s.refuseUnderscore()
			return false
		}
		s.countUnderscore(1)
		s.req.RemoveAt(i)
	}
	return true
}

// refuseUnderscore refuses the request as a malformed one.
func (s *stream) refuseUnderscore() {
	s.req.Reset()
	if s.http2 == nil {
		s.refuse(http1.ErrUnderscore)
		return
	}
	s.info.Set(streaminfo.DownstreamRemoteReset)
	s.info.Details = "http2.unexpected_underscore"
	s.requestDone, s.info.RequestEnd = false, 0
	s.w.inc(rqRxReset)
	s.complete()
	s.breakHTTP2()
}

// underscoreSet are statistics of a codec, "http1.*" and "http2.*".
var underscoreSet = stats.NewSet(
	stats.Item{Name: "requests_rejected_with_underscores_in_headers"}, stats.Item{Name: "dropped_headers_with_underscores"},
)

// countUnderscore adds one to the i-th statistic of the stream's version of HTTP.
func (s *stream) countUnderscore(i int) {
	b := &s.w.m.underscores[0]
	if s.http2 != nil {
		b = &s.w.m.underscores[1]
	}
	s.w.shard.Add(b.Counter(i), 1)
}

// normalizeHost strips port and trailing dot where the configuration asks for it.
func (s *stream) normalizeHost() {
	cfg := s.w.m.cfg
	if !cfg.StripAnyHostPort && !cfg.StripMatchingHostPort && !cfg.StripTrailingHostDot {
		return
	}
	host := s.req.Value(header.Authority)
	name, port := host, []byte(nil)
	if i := bytes.LastIndexByte(host, ':'); i > 0 && bytes.IndexByte(host[i:], ']') < 0 {
		name, port = host[:i], host[i+1:]
	}
	strip := len(port) > 0 && !s.msg.Connect && (cfg.StripAnyHostPort || cfg.StripMatchingHostPort && parsePort(port) == s.info.Downstream.LocalAddr.Port())
	dot := cfg.StripTrailingHostDot && len(name) > 1 && name[len(name)-1] == '.'
	if !strip && !dot {
		return
	}
	out := s.req.Build()
	if dot {
		out = append(out, name[:len(name)-1]...)
	} else {
		out = append(out, name...)
	}
	if !strip && len(port) > 0 {
		out = append(out, ':')
		out = append(out, port...)
	}
	s.req.SetBuilt(header.Key{ID: header.Authority}, out)
}

func parsePort(p []byte) uint16 {
	var n uint32
	for _, c := range p {
		if c < '0' || c > '9' || n > 65535 {
			return 0
		}
		n = n*10 + uint32(c-'0')
	}
	return uint16(n)
}

// upgrade turns a request that asks for another protocol into a tunnel, if that protocol is
// allowed, and refuses it otherwise. HTTP/2 by upgrade is not offered (RFC 9113 dropped it).
func (s *stream) upgrade() bool {
	if s.msg.Connect {
		if !s.allowsUpgrade([]byte("connect")) {
			s.keepAlive = false
			if s.Route() == nil {
				return true // the router says so
			}
			s.refuseUpgrade()
			return false
		}
		s.openTunnel()
		return true
	}
	if !s.msg.Upgrade {
		return true
	}
	name := bytes.ToLower(s.req.Value(header.Upgrade))
	if string(name) == "h2c" || s.ignoresUpgrade(name) {
		s.req.Remove(header.Upgrade)
		s.req.Remove(header.Connection)
		s.req.RemoveName("http2-settings")
		return true
	}
	if !s.allowsUpgrade(name) {
		s.refuseUpgrade()
		return false
	}
	s.openTunnel()
	return true
}

// ignoresUpgrade reports whether all protocols that an Upgrade names are to be taken as not named.
func (s *stream) ignoresUpgrade(upgrade []byte) bool {
	ignored := s.w.m.cfg.HTTP1.IgnoreUpgrade
	if len(ignored) == 0 || s.http2 != nil {
		return false
	}
	for name := range bytes.SplitSeq(upgrade, []byte{','}) {
		name = bytes.TrimSpace(name)
		if !slices.ContainsFunc(ignored, func(m xdsresource.StringMatch) bool { return route.MatchString(&m, name) }) {
			return false
		}
	}
	return true
}

// refuseUpgrade answers a request for a protocol that is not allowed. As in Envoy its end is not
// waited for: what follows may be of that protocol.
func (s *stream) refuseUpgrade() {
	s.w.inc(rqWSOnNonWSRoute)
	s.requestDone, s.info.RequestEnd = false, 0
	s.Reply(httpfilter.Reply{Code: 403, Details: "upgrade_failed"})
}

// allowsUpgrade asks the route first, and the connection manager about what the route leaves open.
func (s *stream) allowsUpgrade(name []byte) bool {
	if e := s.Route(); e != nil && e.Forward != nil {
		if allowed, ok := e.Forward.Upgrades[string(name)]; ok {
			return allowed
		}
	}
	return s.w.m.cfg.UpgradeTypes[string(name)]
}

func (s *stream) openTunnel() {
	s.tunnel = true
	s.requestDone = false
	s.info.RequestEnd = 0
	s.msg.Framing = http1.Tunnel
	s.body.Start(&s.msg)
	s.w.inc(cxUpgradesTotal)
	s.w.gauge(cxUpgradesActive, 1)
}

// forwarded settles who the client is and what it may tell us, in the order of Envoy's
// ConnectionManagerUtility::mutateRequestHeaders. It returns false when the request was answered.
func (s *stream) forwarded() bool {
	cfg := s.w.m.cfg
	down := s.info.Downstream
	remote := down.RemoteAddr
	s.join(header.XForwardedFor)
	xff := s.req.Value(header.XForwardedFor)
	var client netip.Addr
	single, told := false, false // told: x-forwarded-for says who it is
	if cfg.Detection != nil {
		found := s.detect(xff)
		if found.refuse != 0 {
			s.refuseUnknown(found.refuse)
			return false
		}
		client, single = found.client, found.trusted
		if told = client.IsValid(); !told {
			client = remote.Addr()
		}
		if found.appends {
			s.appendXFF(xff, remote.Addr())
		}
	} else if cfg.UseRemoteAddress {
		single = xff == nil
		if cfg.XFFTrustedHops > 0 {
			client, _ = lastOfXFF(xff, int(cfg.XFFTrustedHops)-1)
		}
		if told = client.IsValid(); !told {
			client = remote.Addr()
		}
		if !cfg.SkipXFFAppend {
			s.appendXFF(xff, remote.Addr())
		}
		if cfg.XFFTrustedHops == 0 {
			s.req.Remove(header.XForwardedProto)
		}
		if cfg.AppendXFPort && (cfg.XFFTrustedHops == 0 || !s.req.Has(header.XForwardedPort)) {
			s.req.SetBuilt(portKey, strconv.AppendUint(s.req.Build(), uint64(down.LocalAddr.Port()), 10))
		}
	} else {
		client, single = lastOfXFF(xff, int(cfg.XFFTrustedHops))
		if told = client.IsValid(); !told {
			client, single = remote.Addr(), false // nobody vouches for it: not internal, as in Envoy
		}
	}
	if told {
		s.info.Remote = netip.AddrPortFrom(client, 0)
	}
	if !s.req.Has(header.XForwardedProto) {
		proto := "http"
		if down.TLS != nil {
			proto = "https"
		}
		if down.ProxyTLVs != nil {
			proto = cfg.ProtoOf(down.LocalAddr.Port(), proto)
		}
		s.req.AddString(header.XForwardedProto, proto)
	}
	if v := string(s.req.Value(header.Scheme)); v != "http" && v != "https" { // as in Envoy: there are no others
		s.req.Remove(header.Scheme)
		s.setScheme()
	}
	if cfg.Scheme != "" {
		s.req.SetString(header.Scheme, cfg.Scheme)
		s.req.SetString(header.XForwardedProto, cfg.Scheme) // as in Envoy
	}
	s.secure = string(s.req.Value(header.XForwardedProto)) == "https"
	s.internal = single && s.internalAddress(client)
	s.sanitize(client)
	if cfg.AddUserAgent {
		s.addUserAgent()
	}
	if cfg.Via != "" {
		s.appendVia(&s.req)
	}
	return true
}

// join makes one header of several of a name: the client is the last of all, not of the first.
func (s *stream) join(id header.ID) {
	k := header.Key{ID: id, Name: id.String()}
	if i := s.req.Find(k, 0); i < 0 || s.req.Find(k, i+1) < 0 {
		return
	}
	all, _ := s.req.Join(nil, k)
	s.req.Remove(id)
	s.req.Add(id, all)
}

// setScheme makes up the scheme that HTTP/1 does not carry: what an earlier proxy said of the
// client's connection, else what ours is.
func (s *stream) setScheme() {
	switch proto := s.req.Value(header.XForwardedProto); {
	case string(proto) == "https", string(proto) != "http" && s.info.Downstream.TLS != nil:
		s.req.AddString(header.Scheme, "https")
	default:
		s.req.AddString(header.Scheme, "http")
	}
}

// internalAddress follows internal_address_config. Without it nobody is internal, as in Envoy
// since 1.33, lest a neighbour in a private network passes for one of us.
func (s *stream) internalAddress(a netip.Addr) bool {
	cfg := s.w.m.cfg
	if !a.IsValid() {
		return cfg.InternalUnix && s.info.Downstream.RemoteAddr.Addr() == a
	}
	a = a.Unmap()
	for _, p := range cfg.InternalAddresses {
		if p.Contains(a) {
			return true
		}
	}
	return false
}

// sanitize drops what only our own side may say.
func (s *stream) sanitize(client netip.Addr) {
	h := &s.req
	if s.internal {
		h.SetString(header.XEnvoyInternal, "true")
		return
	}
	h.Remove(header.XEnvoyInternal)
	if s.w.m.cfg.UseRemoteAddress { // the edge of the mesh
		h.Remove(header.XEnvoyDecoratorOperation)
		h.Remove(header.XEnvoyDownstreamServiceCluster)
		h.Remove(header.XEnvoyDownstreamServiceNode)
		h.Remove(header.XEnvoyOriginalPath)
		if client.IsValid() {
			h.SetBuilt(header.Key{ID: header.XEnvoyExternalAddress}, client.AppendTo(h.Build()))
		}
	}
	h.RemoveSet(internalOnly)
	s.dropInternalOnly()
}

// dropInternalOnly takes off what the route table keeps for requests that are internal. Of scopes it
// is the table that the request names as it came.
func (s *stream) dropInternalOnly() {
	t := s.table
	if scopes := s.w.m.deps.Scopes; scopes != nil {
		t = scopes().Find(&s.req)
	}
	if t == nil {
		return
	}
	for _, name := range t.Config.InternalOnlyHeaders {
		s.req.RemoveName(name)
	}
}

// internalOnly are headers by which only internal clients may steer us.
var internalOnly = header.SetOf(
	header.XEnvoyRetriableStatusCodes, header.XEnvoyRetriableHeaderNames, header.XEnvoyRetryOn, header.XEnvoyRetryGRPCOn,
	header.XEnvoyMaxRetries, header.XEnvoyUpstreamAltStatName, header.XEnvoyUpstreamRqTimeoutMs,
	header.XEnvoyUpstreamRqPerTryTimeoutMs, header.XEnvoyUpstreamRqTimeoutAltResponse, header.XEnvoyExpectedRqTimeoutMs,
	header.XEnvoyForceTrace, header.XEnvoyIPTags, header.XEnvoyHedgeOnPerTryTimeout,
)

// lastOfXFF returns the address skip places from the right of x-forwarded-for, and whether
// it is the only one there. An invalid address is returned when there is none.
func lastOfXFF(xff []byte, skip int) (netip.Addr, bool) {
	if xff == nil {
		return netip.Addr{}, false
	}
	end := len(xff)
	for ; skip > 0; skip-- {
		if end = bytes.LastIndexByte(xff[:end], ','); end < 0 {
			return netip.Addr{}, false
		}
	}
	start := bytes.LastIndexByte(xff[:end], ',') + 1
	v := bytes.Trim(xff[start:end], " ")
	a, err := netip.ParseAddr(unsafe.String(unsafe.SliceData(v), len(v)))
	if err != nil {
		return netip.Addr{}, false
	}
	return a, start == 0 && end == len(xff)
}

func (s *stream) appendXFF(old []byte, a netip.Addr) {
	if a == loopback && s.w.m.deps.LocalAddress.IsValid() {
		a = s.w.m.deps.LocalAddress
	}
	if !a.IsValid() { // a Unix socket
		return
	}
	b := s.req.Build()
	if len(old) > 0 {
		b = append(b, old...)
		b = append(b, ',')
	}
	s.req.SetBuilt(header.Key{ID: header.XForwardedFor, Name: header.XForwardedFor.String()}, a.Unmap().AppendTo(b))
}

var loopback = netip.AddrFrom4([4]byte{127, 0, 0, 1})

func (s *stream) appendVia(h *header.Map) {
	old := h.Value(header.Via)
	b := h.Build()
	if len(old) > 0 {
		b = append(b, old...)
		b = append(b, ", "...)
	}
	h.SetBuilt(header.Key{ID: header.Via, Name: header.Via.String()}, append(b, s.w.m.cfg.Via...))
}

// requestID makes sure of x-request-id: a fresh one for every request that enters from
// outside, unless preserve_external_request_id, which lets nobody outside decide what is traced.
func (s *stream) requestID() {
	cfg := s.w.m.cfg
	id := s.req.Value(header.XRequestID)
	if cfg.GenerateRequestID {
		edge := cfg.UseRemoteAddress && !s.internal
		if len(id) == 0 || edge && !cfg.PreserveExternalRequestID {
			b := uuid.Append(s.req.Build(), s.w.loop.Rand(), s.w.loop.Rand())
			s.req.SetBuilt(header.Key{ID: header.XRequestID, Name: header.XRequestID.String()}, b)
			id = s.req.Value(header.XRequestID)
		} else if edge && tracing.ReasonOf(id) != tracing.NotTraceable {
			tracing.WriteReason(&s.req, tracing.NotTraceable)
			id = s.req.Value(header.XRequestID)
		}
	}
	s.info.RequestID = id
}

var portKey = header.KeyOf("x-forwarded-port")
