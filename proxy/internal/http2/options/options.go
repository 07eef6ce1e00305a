// Package options is what HTTP/2 of listeners and of clusters has in common besides the codec: their configuration as the
// codec takes it, and the codec's statistics under Envoy's names. It knows no connection. hcm and connpool import it.
package options

import (
	"github.com/lateen-mesh/lateen/proxy/internal/http2"
	"github.com/lateen-mesh/lateen/proxy/internal/stats"
	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

// Config is Http2ProtocolOptions for the codec. The role is the caller's to set, as are the limits on headers, which stand
// elsewhere.
func Config(o *xdsresource.HTTP2Options) http2.Config {
	c := http2.Config{
		MaxConcurrentStreams: o.MaxConcurrentStreams, StreamWindow: o.StreamWindow, ConnWindow: o.ConnectionWindow,
		HeaderTableSize: o.HPACKTableSize, PlainStrings: o.PlainStrings, AllowConnect: o.AllowConnect,
		StreamErrors: o.StreamErrors, MaxOutboundFrames: o.MaxOutboundFrames, MaxOutboundControlFrames: o.MaxOutboundControlFrames,
		MaxEmptyFrames: o.MaxEmptyFrames, MaxPriorityFramesPerStream: o.MaxPriorityFrames,
		MaxWindowUpdatesPerDataSent: o.MaxWindowUpdates,
	}
	if k := o.Keepalive; k != nil {
		c.Keepalive = &http2.Keepalive{Interval: k.Interval, Jitter: k.JitterPercent, IdleInterval: k.IdleInterval, Timeout: k.Timeout}
	}
	return c
}

// Stats are the statistics of a codec, below "http2."
// (https://www.envoyproxy.io/docs/envoy/latest/configuration/http/http_conn_man/stats#http-2-codec-statistics).
var Stats = stats.NewSet(
	counter("rx_messaging_error"), counter("header_overflow"), counter("stream_refused_errors"),
	counter("inbound_empty_frames_flood"), counter("inbound_priority_frames_flood"), counter("inbound_window_update_frames_flood"),
	counter("outbound_flood"), counter("outbound_control_flood"), counter("rx_reset"), counter("tx_reset"), counter("trailers"),
	counter("goaway_sent"), counter("tx_flush_timeout"), counter("keepalive_timeout"),
	counter("header_list_size_too_large"),
	stats.Item{Name: "streams_active", Kind: stats.KindGauge},
)

func counter(n string) stats.Item { return stats.Item{Name: n} }

// items is where in Stats a statistic of the codec stands, plus one; 0: nowhere.
var items = [http2.NumStats]uint8{
	http2.StatMessagingError: 1, http2.StatHeaderOverflow: 2, http2.StatStreamRefused: 3, http2.StatEmptyFramesFlood: 4,
	http2.StatPriorityFlood: 5, http2.StatWindowUpdateFlood: 6, http2.StatOutboundFlood: 7, http2.StatOutboundControlFlood: 8,
	http2.StatRxReset: 9, http2.StatTxReset: 10, http2.StatTrailers: 11, http2.StatGoAwaySent: 12, http2.StatTxFlushTimeout: 13,
	http2.StatKeepaliveTimeout: 14, http2.StatHeaderListSize: 15, http2.StatStreamsActive: 16,
}

// Count adds to a statistic of the codec in a block of Stats. Those without a counter there go nowhere.
func Count(sh *stats.Shard, b stats.Block, st http2.Stat, d int64) {
	switch i := int(items[st]) - 1; {
	case i < 0:
	case st == http2.StatStreamsActive:
		sh.GaugeAdd(b.Gauge(i), d)
	default:
		sh.Add(b.Counter(i), uint64(d))
	}
}
