package options

import (
	"context"
	"testing"

	"github.com/lateen-mesh/lateen/proxy/internal/http2"
	"github.com/lateen-mesh/lateen/proxy/internal/stats"
	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

// TestCount: every statistic of the codec has a counter of its own, but for those that are named here.
func TestCount(t *testing.T) {
	nowhere := map[http2.Stat]bool{
		http2.StatNone: true, http2.StatProtocolError: true, // connections count those
		http2.StatPrematureResets: true, // the connection manager does
	}
	for st := range http2.NumStats {
		store := stats.NewStore(stats.Options{Workers: 1})
		Count(store.Shard(0), store.Scope("http2").Block(Stats), st, 1)
		all, err := store.Snapshot(context.Background(), stats.Query{})
		if err != nil {
			t.Fatal(err)
		}
		sum := int64(0)
		for _, name := range names {
			v, ok := all.Value("http2." + name)
			if !ok {
				t.Fatalf("there is no %s", name)
			}
			sum += v
		}
		if want := int64(1); nowhere[st] && sum != 0 || !nowhere[st] && sum != want {
			t.Errorf("statistic %d adds %d", st, sum)
		}
	}
}

var names = []string{
	"rx_messaging_error", "header_overflow", "header_list_size_too_large", "stream_refused_errors", "inbound_empty_frames_flood",
	"inbound_priority_frames_flood", "inbound_window_update_frames_flood", "outbound_flood", "outbound_control_flood", "rx_reset",
	"tx_reset", "trailers", "goaway_sent", "tx_flush_timeout", "keepalive_timeout", "streams_active",
}

// TestConfig: nothing of the options is lost.
func TestConfig(t *testing.T) {
	var n uint32 = 5
	got := Config(&xdsresource.HTTP2Options{
		HPACKTableSize: &n, MaxConcurrentStreams: 1, StreamWindow: 2, ConnectionWindow: 3, AllowConnect: true, StreamErrors: true,
		PlainStrings: true, MaxOutboundFrames: 4, MaxOutboundControlFrames: 6, MaxEmptyFrames: &n, MaxPriorityFrames: &n,
		MaxWindowUpdates: 7, Keepalive: &xdsresource.HTTP2Keepalive{Interval: 1, JitterPercent: 2, Timeout: 3, IdleInterval: 4},
	})
	want := http2.Config{
		HeaderTableSize: &n, MaxConcurrentStreams: 1, StreamWindow: 2, ConnWindow: 3, AllowConnect: true, StreamErrors: true,
		PlainStrings: true, MaxOutboundFrames: 4, MaxOutboundControlFrames: 6, MaxEmptyFrames: &n, MaxPriorityFramesPerStream: &n,
		MaxWindowUpdatesPerDataSent: 7,
	}
	k := got.Keepalive
	got.Keepalive = nil
	if got != want || k == nil || *k != (http2.Keepalive{Interval: 1, Jitter: 2, Timeout: 3, IdleInterval: 4}) {
		t.Errorf("%+v, keepalive %+v", got, k)
	}
}
