package statsd

import (
	"context"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/lateen-mesh/lateen/proxy/internal/stats"
	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

// Dial connects to a cluster by TCP.
type Dial func(ctx context.Context) (net.Conn, error)

// Sink sends to one place. Its methods are called from one goroutine.
type Sink struct {
	cfg  xdsresource.StatsSink
	dial Dial
	conn net.Conn
	last map[string]int64 // counters at the last flush
	buf  []byte
}

// writeTimeout bounds a write to a TCP connection.
const writeTimeout = 5 * time.Second

// maxBatch is how much is written to a TCP connection at once.
const maxBatch = 16 << 10

// New returns a sink; dial serves those with a cluster.
func New(cfg xdsresource.StatsSink, dial Dial) *Sink {
	return &Sink{cfg: cfg, dial: dial, last: map[string]int64{}}
}

// Flush sends a snapshot. What could not be sent is lost, but for the growth of counters: it is
// sent again with the next.
func (s *Sink) Flush(ctx context.Context, snap *stats.Snapshot) error {
	if err := s.connect(ctx); err != nil {
		return err
	}
	var failed error
	s.buf = s.buf[:0]
	next := make(map[string]int64, len(s.last))
	snap.Each(func(st stats.Stat) {
		if failed != nil || !st.Used {
			return
		}
		switch st.Kind {
		case stats.KindCounter:
			next[st.Name] = st.Value
			delta := st.Value - s.last[st.Name]
			if delta < 0 { // it was reset
				delta = st.Value
			}
			if delta != 0 {
				failed = s.line(&st, strconv.FormatInt(delta, 10), "c", 1)
			}
		case stats.KindGauge:
			failed = s.line(&st, strconv.FormatInt(st.Value, 10), "g", 1)
		case stats.KindHistogram:
			for _, r := range st.Recorded {
				if failed = s.line(&st, strconv.FormatFloat(r.Value, 'f', -1, 64), "ms", r.Count); failed != nil {
					return
				}
			}
		}
	})
	if failed == nil {
		failed = s.write()
	}
	if failed != nil {
		s.Close()
		return failed
	}
	s.last = next
	return nil
}

func (s *Sink) connect(ctx context.Context) (err error) {
	if s.conn != nil {
		return nil
	}
	switch a := s.cfg.Address; {
	case s.cfg.Cluster != "":
		s.conn, err = s.dial(ctx)
	case a.Pipe != "":
		s.conn, err = (&net.Dialer{}).DialContext(ctx, "unixgram", a.Pipe)
	default:
		s.conn, err = (&net.Dialer{}).DialContext(ctx, "udp", net.JoinHostPort(a.IP.String(), strconv.Itoa(int(a.Port))))
	}
	return err
}

// line adds one measurement, and sends what is full. n is how many it stands for.
func (s *Sink) line(st *stats.Stat, value, kind string, n uint64) error {
	var b strings.Builder
	b.WriteString(s.cfg.Prefix)
	b.WriteByte('.')
	if s.cfg.Dog {
		b.WriteString(clean(st.Bare))
	} else {
		b.WriteString(clean(st.Name))
	}
	b.WriteString(":" + value + "|" + kind)
	if n > 1 {
		b.WriteString("|@" + strconv.FormatFloat(1/float64(n), 'g', 10, 64))
	}
	if s.cfg.Dog && len(st.Tags) > 0 {
		b.WriteString("|#")
		for i, t := range st.Tags {
			if i > 0 {
				b.WriteByte(',')
			}
			b.WriteString(clean(t.Name) + ":" + strings.NewReplacer(",", "_", "|", "_", "\n", "_").Replace(t.Value))
		}
	}
	limit := s.cfg.MaxBytes
	if s.cfg.Cluster != "" {
		limit = maxBatch
	}
	if len(s.buf) > 0 && len(s.buf)+1+b.Len() > limit {
		if err := s.write(); err != nil {
			return err
		}
	}
	if len(s.buf) > 0 {
		s.buf = append(s.buf, '\n')
	}
	s.buf = append(s.buf, b.String()...)
	return nil
}

// clean replaces what has a meaning in the protocol.
func clean(s string) string { return strings.NewReplacer(":", "_", "|", "_", "\n", "_").Replace(s) }

func (s *Sink) write() error {
	if len(s.buf) == 0 {
		return nil
	}
	if s.cfg.Cluster != "" {
		s.buf = append(s.buf, '\n')
		_ = s.conn.SetWriteDeadline(time.Now().Add(writeTimeout)) // of a TCP connection, never fails
	}
	_, err := s.conn.Write(s.buf)
	s.buf = s.buf[:0]
	return err
}

// Close ends the connection.
func (s *Sink) Close() {
	if s.conn != nil {
		_ = s.conn.Close()
		s.conn = nil
	}
}
