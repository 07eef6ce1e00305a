package router

import (
	"cmp"
	"errors"
	"net/http"
	"strconv"
	"strings"

	"github.com/lateen-mesh/lateen/proxy/internal/cluster"
	"github.com/lateen-mesh/lateen/proxy/internal/conn"
	"github.com/lateen-mesh/lateen/proxy/internal/header"
	"github.com/lateen-mesh/lateen/proxy/internal/httpfilter"
	"github.com/lateen-mesh/lateen/proxy/internal/streaminfo"
)

// resetKind classes how an attempt failed without an answer, for the retry policy.
type resetKind uint8

const (
	resetConnect  resetKind = iota // no connection
	resetRemote                    // the host ended the connection
	resetStream                    // the host reset the request's stream (HTTP/2)
	resetRefused                   // the same, without having looked at the request
	resetProtocol                  // the host's answer was not HTTP
	resetTimeout                   // a time-out of the attempt
	resetOverflow                  // an open circuit
)

// failure is an attempt that ended without an answer. reason is Envoy's text for it.
type failure struct {
	reason string
	kind   resetKind
	err    error
}

// flag is the response flag of a failure.
func (f *failure) flag() streaminfo.Flags {
	switch f.kind {
	case resetConnect:
		return streaminfo.UpstreamConnectionFailure
	case resetProtocol:
		return streaminfo.UpstreamProtocolError
	case resetOverflow:
		return streaminfo.UpstreamOverflow
	case resetStream, resetRefused:
		return streaminfo.UpstreamRemoteReset
	}
	return streaminfo.UpstreamConnectionTermination
}

// failed tries again, or answers for a failure, unless another attempt may still bring an answer.
func (a *attempt) failed(f failure) {
	r := a.r
	var e *conn.Error
	transport := ""
	if errors.As(f.err, &e) {
		transport = e.TransportFailureReason()
	}
	info := r.s.Info()
	info.UpstreamFailure = transport
	a.noteFlag(f.flag(), f.reason)
	if a.stage == answered {
		r.state = done
		if a.unsettled { // as in Envoy, which counts calls of gRPC only
			r.inc(rqResetAfterStart)
			a.settle(nil)
		}
		a.endRecord()
		r.s.ResetResponse("upstream_reset_after_response_started{"+underscored(f.reason)+"}", f.flag())
		return
	}
	if !a.retried && r.retryAfterReset(a, f.kind) {
		return
	}
	code := http.StatusServiceUnavailable
	if f.kind == resetProtocol {
		code = http.StatusBadGateway
	}
	r.countResponse(code)
	if r.hopes(a) {
		a.drop()
		return
	}
	r.retryOver(!r.retry.wantsReset(f.kind, a.stage == asked))

	body := "upstream connect error or disconnect/reset before headers. "
	if info.Attempts > 1 {
		body += "retried and the latest "
	}
	body += "reset reason: " + f.reason
	// The transport's reason, which may tell of the network behind us, is for logs only.
	details := "upstream_reset_before_response_started{" + underscored(f.reason)
	if transport != "" {
		details += "|" + underscored(transport)
	}
	r.dropAttempts()
	headers := r.sayAttempts
	if f.kind == resetOverflow {
		info.Host = nil // as in Envoy: nothing was tried with it
		headers = func(h *header.Map) {
			h.SetString(header.XEnvoyOverloaded, "true")
			r.sayAttempts(h)
		}
	}
	r.reply(httpfilter.Reply{Code: code, Body: body, Details: details + "}", Flags: f.flag(), Headers: headers})
}

// noHost answers for a cluster without a host that may be used, or without the one that a filter insists on.
func (r *router) noHost() {
	code := http.StatusServiceUnavailable
	if r.lb.Override != "" && r.lb.OverrideStrict && r.lb.Missing {
		code = r.s.Info().Override.MissingStatus
	}
	r.retryOver(false)
	r.countResponse(code)
	r.reply(httpfilter.Reply{
		Code: code, Body: "no healthy upstream", Details: cmp.Or(r.nameDetails, "no_healthy_upstream"),
		Flags: streaminfo.NoHealthyUpstream, Headers: r.sayAttempts,
	})
}

// maintenance answers for a cluster that the runtime holds requests off.
func (r *router) maintenance() {
	r.countResponse(http.StatusServiceUnavailable)
	r.local.Inc(cluster.RqMaintenanceMode)
	r.reply(httpfilter.Reply{
		Code: http.StatusServiceUnavailable, Body: "maintenance mode", Details: "maintenance_mode", Flags: streaminfo.UpstreamOverflow,
		Headers: func(h *header.Map) {
			if !r.cfg.SuppressEnvoyHeaders {
				h.SetString(header.XEnvoyOverloaded, "true")
			}
			r.sayAttempts(h)
		},
	})
}

// drop answers for a cluster that refuses a share of its requests, or all of them (drop_overloads).
func (r *router) drop(all bool) {
	p := httpfilter.Reply{Code: http.StatusServiceUnavailable, Body: "drop overload", Details: "drop_overload", Flags: streaminfo.DropOverload}
	key := dropKey
	if all {
		p = httpfilter.Reply{Code: http.StatusServiceUnavailable, Body: "unconditional drop overload", Details: "unconditional_drop_overload",
			Flags: streaminfo.UnconditionalDropOverload}
		key = dropAllKey
	}
	p.Headers = func(h *header.Map) {
		if !r.cfg.SuppressEnvoyHeaders {
			h.SetKeyString(key, "true")
		}
		r.sayAttempts(h)
	}
	r.countResponse(http.StatusServiceUnavailable)
	r.reply(p)
}

// sayAttempts tells the client how many attempts were made, where the virtual host wants that.
func (r *router) sayAttempts(h *header.Map) {
	if n := r.s.Info().Attempts; n > 0 && r.entry.VirtualHost.IncludeAttemptCountInResponse {
		h.SetBuilt(attemptKey, strconv.AppendInt(h.Build(), int64(n), 10))
	}
}

// underscored makes a text one word, as response code details are.
func underscored(s string) string { return strings.ReplaceAll(s, " ", "_") }
