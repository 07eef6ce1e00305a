package skywalking

import (
	"cmp"
	"context"
	"slices"

	"google.golang.org/protobuf/proto"
	agentpb "skywalking.apache.org/repo/goapi/collect/language/agent/v3"
)

// maxKept bounds the bytes of segments that are kept, however many there may be.
const maxKept = 8 << 20

// stream is export.Stream.
type stream interface {
	Send(ctx context.Context, m proto.Message, first func()) error
	Close()
}

// sender sends over one stream, and keeps what it could not send. It is export.Sender.
type sender struct {
	stream stream
	most   int // segments that are kept
	kept   []*agentpb.SegmentObject
	// They count segments, flushes the times that all of those that were kept have gone.
	sent, flushed, flushes, dropped func(uint64)
}

// Send implements export.Sender.
func (s *sender) Send(ctx context.Context, batch []*agentpb.SegmentObject) error {
	old, all := len(s.kept), append(s.kept, batch...)
	s.kept = nil
	for i, m := range all {
		if err := s.stream.Send(ctx, m, func() {}); err != nil {
			s.keep(all[i:])
			return err
		}
		s.sent(1)
		if i < old {
			s.flushed(1)
		}
	}
	if old > 0 {
		s.flushes(1)
	}
	return nil
}

// keep keeps the latest of what was not sent. What comes from several workers at once is in no order.
func (s *sender) keep(left []*agentpb.SegmentObject) {
	slices.SortStableFunc(left, func(a, b *agentpb.SegmentObject) int { return cmp.Compare(a.Spans[0].EndTime, b.Spans[0].EndTime) })
	first, bytes := len(left), 0
	for first > 0 && len(left)-first < s.most {
		if bytes += proto.Size(left[first-1]); bytes > maxKept {
			break
		}
		first--
	}
	s.dropped(uint64(first))
	s.kept = append([]*agentpb.SegmentObject(nil), left[first:]...)
}

// Close implements export.Sender.
func (s *sender) Close() {
	s.dropped(uint64(len(s.kept)))
	s.stream.Close()
}
