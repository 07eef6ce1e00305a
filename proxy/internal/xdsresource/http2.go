package xdsresource

import (
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// HTTP2Options is core.v3.Http2ProtocolOptions. Zero fields and nil take the codec's defaults.
type HTTP2Options struct {
	HPACKTableSize           *uint32 // default 4096
	MaxConcurrentStreams     uint32  // default 1024
	StreamWindow             uint32  // bytes; default 1 MiB (Envoy: 16 MiB)
	ConnectionWindow         uint32  // bytes; default 4 MiB from clients, 24 MiB from upstreams (Envoy: 24 MiB)
	AllowConnect             bool    // extended CONNECT (RFC 8441)
	StreamErrors             bool    // override_stream_error_on_invalid_http_message and its elders
	PlainStrings             bool    // enable_huffman_encoding: false
	MaxOutboundFrames        uint32  // default 10000
	MaxOutboundControlFrames uint32  // default 1000
	MaxEmptyFrames           *uint32 // in a row; default 1
	MaxPriorityFrames        *uint32 // for each stream; default 100
	MaxWindowUpdates         uint32  // for each DATA frame sent; default 10
	Keepalive                *HTTP2Keepalive
}

// HTTP2Keepalive is core.v3.KeepaliveSettings. Intervals of 0 do not apply.
type HTTP2Keepalive struct {
	Interval      time.Duration
	JitterPercent float64 // of Interval; default 15
	Timeout       time.Duration
	IdleInterval  time.Duration // connection_idle_interval
}

// UpstreamProtocol is the version of HTTP that a cluster's hosts are spoken to in.
type UpstreamProtocol uint8

// Versions.
const (
	UpstreamHTTP1        UpstreamProtocol = iota
	UpstreamHTTP2                         // explicit_http_config, http2_protocol_options
	UpstreamAuto                          // auto_config: what ALPN agrees on
	UpstreamAsDownstream                  // use_downstream_protocol_config, protocol_selection
)

// http2 reads HTTP/2 options of either side. fallback says what happens to malformed messages where the options say nothing.
//
//nolint:staticcheck // stream_error_on_invalid_http_messaging is deprecated and in use
func (p *parser) http2(path string, o *corev3.Http2ProtocolOptions, fallback *wrapperspb.BoolValue) HTTP2Options {
	out := HTTP2Options{
		HPACKTableSize:           optional(o.GetHpackTableSize()),
		MaxConcurrentStreams:     uint32Or(o.GetMaxConcurrentStreams(), 0),
		StreamWindow:             uint32Or(o.GetInitialStreamWindowSize(), 0),
		ConnectionWindow:         uint32Or(o.GetInitialConnectionWindowSize(), 0),
		AllowConnect:             o.GetAllowConnect(),
		PlainStrings:             !boolOr(o.GetEnableHuffmanEncoding(), true),
		MaxOutboundFrames:        uint32Or(o.GetMaxOutboundFrames(), 0),
		MaxOutboundControlFrames: uint32Or(o.GetMaxOutboundControlFrames(), 0),
		MaxEmptyFrames:           optional(o.GetMaxConsecutiveInboundFramesWithEmptyPayload()),
		MaxPriorityFrames:        optional(o.GetMaxInboundPriorityFramesPerStream()),
		MaxWindowUpdates:         uint32Or(o.GetMaxInboundWindowUpdateFramesPerDataFrameSent(), 0),
	}
	out.StreamErrors = boolOr(fallback, o.GetStreamErrorOnInvalidHttpMessaging())
	out.StreamErrors = boolOr(o.GetOverrideStreamErrorOnInvalidHttpMessage(), out.StreamErrors)
	if v := o.GetMaxConcurrentStreams(); v != nil && (v.GetValue() == 0 || v.GetValue() > 1<<31-1) {
		p.bad(join(path, "max_concurrent_streams"), "must be between 1 and 2147483647")
	}
	for name, v := range map[string]*wrapperspb.UInt32Value{
		"initial_stream_window_size": o.GetInitialStreamWindowSize(), "initial_connection_window_size": o.GetInitialConnectionWindowSize(),
	} {
		if v != nil && (v.GetValue() < 65535 || v.GetValue() > 1<<31-1) {
			p.bad(join(path, name), "must be between 65535 and 2147483647")
		}
	}
	for name, v := range map[string]*wrapperspb.UInt32Value{
		"max_outbound_frames": o.GetMaxOutboundFrames(), "max_outbound_control_frames": o.GetMaxOutboundControlFrames(),
		"max_inbound_window_update_frames_per_data_frame_sent": o.GetMaxInboundWindowUpdateFramesPerDataFrameSent(),
	} {
		if v != nil && v.GetValue() == 0 {
			p.bad(join(path, name), "must be at least 1")
		}
	}
	if k := o.GetConnectionKeepalive(); k != nil {
		here := join(path, "connection_keepalive")
		out.Keepalive = &HTTP2Keepalive{
			Interval: p.duration(join(here, "interval"), k.GetInterval(), 0), Timeout: p.duration(join(here, "timeout"), k.GetTimeout(), 0),
			IdleInterval: p.duration(join(here, "connection_idle_interval"), k.GetConnectionIdleInterval(), 0), JitterPercent: 15,
		}
		if j := k.GetIntervalJitter(); j != nil {
			out.Keepalive.JitterPercent = j.GetValue()
		}
		if out.Keepalive.Timeout <= 0 {
			p.bad(join(here, "timeout"), "is required")
		}
	}
	return out
}

func optional(v *wrapperspb.UInt32Value) *uint32 {
	if v == nil {
		return nil
	}
	n := v.GetValue()
	return &n
}
