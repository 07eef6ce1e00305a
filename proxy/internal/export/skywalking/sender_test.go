package skywalking

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"
	agentpb "skywalking.apache.org/repo/goapi/collect/language/agent/v3"
)

// backend takes so many segments, then none.
type backend struct {
	room int
	got  []string
}

func (b *backend) Send(_ context.Context, m proto.Message, _ func()) error {
	if b.room == 0 {
		return errors.New("away")
	}
	b.room--
	b.got = append(b.got, m.(*agentpb.SegmentObject).TraceId)
	return nil
}

func (b *backend) Close() {}

// batch is of segments that end at a time which their first letter tells.
func batch(ids ...string) (out []*agentpb.SegmentObject) {
	for _, id := range ids {
		out = append(out, &agentpb.SegmentObject{TraceId: id, Spans: []*agentpb.SpanObject{{EndTime: int64(id[0])}}})
	}
	return out
}

func TestSender(t *testing.T) {
	b := &backend{room: 1}
	var sent, flushed, flushes, dropped uint64
	count := func(to *uint64) func(uint64) { return func(n uint64) { *to += n } }
	s := &sender{stream: b, most: 2, sent: count(&sent), flushed: count(&flushed), flushes: count(&flushes), dropped: count(&dropped)}
	counts := func() string {
		return fmt.Sprintf("%d sent, %d flushed in %d, %d dropped", sent, flushed, flushes, dropped)
	}
	send := func(fails bool, want string, ids ...string) {
		t.Helper()
		if err := s.Send(t.Context(), batch(ids...)); (err != nil) != fails {
			t.Errorf("error %v", err)
		}
		if counts() != want {
			t.Errorf("%s, want %s", counts(), want)
		}
	}
	send(true, "1 sent, 0 flushed in 0, 0 dropped", "a", "c", "b") // in the middle of a batch, of two workers
	send(true, "1 sent, 0 flushed in 0, 1 dropped", "d")           // the oldest goes
	b.room = 1
	send(true, "2 sent, 1 flushed in 0, 1 dropped") // nothing new; it goes away again
	b.room = 10
	send(false, "4 sent, 2 flushed in 1, 1 dropped", "e")
	send(false, "5 sent, 2 flushed in 1, 1 dropped", "f")
	send(false, "5 sent, 2 flushed in 1, 1 dropped")
	if !slices.Equal(b.got, []string{"a", "c", "d", "e", "f"}) {
		t.Errorf("got %v", b.got)
	}
	b.room = 0
	send(true, "5 sent, 2 flushed in 1, 1 dropped", "g")
	s.Close()
	if counts() != "5 sent, 2 flushed in 1, 2 dropped" {
		t.Error(counts())
	}
}

// TestSenderBytes: large segments are not kept without end, and with no cache none is.
func TestSenderBytes(t *testing.T) {
	var dropped uint64
	s := &sender{stream: &backend{}, most: 1 << 30, dropped: func(n uint64) { dropped += n }}
	large := strings.Repeat("x", 1<<20)
	if err := s.Send(t.Context(), batch(large, large, large, large, large, large, large, large, large, large)); err == nil {
		t.Fatal("sent")
	}
	if len(s.kept) != 7 || dropped != 3 {
		t.Errorf("%d kept, %d dropped", len(s.kept), dropped)
	}
	s = &sender{stream: &backend{}, dropped: func(n uint64) { dropped += n }}
	_ = s.Send(t.Context(), batch("a"))
	if len(s.kept) != 0 || dropped != 4 {
		t.Errorf("%d kept, %d dropped", len(s.kept), dropped)
	}
}
