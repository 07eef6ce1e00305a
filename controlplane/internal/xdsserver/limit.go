package xdsserver

import (
	"context"
	"fmt"
	"sync"
	"time"

	"golang.org/x/time/rate"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/lateen-mesh/lateen/pkg/spiffe"
)

// Limits bound what clients may take of a server. A field that is 0 has its default.
type Limits struct {
	// Streams is how many there may be at once. Default 50,000.
	Streams int
	// StreamsPerIdentity is how many one SPIFFE ID may have, of which all replicas of a workload share one, with two streams each or three. It does not
	// count on the plaintext listener. Default 5,000.
	StreamsPerIdentity int
	// StreamsPerSecond is how many may begin, as Istio's PILOT_MAX_REQUESTS_PER_SECOND; in one second as many again may come at once. Default 10,000, so
	// that a fleet that comes back after an outage is not held up: a stream costs little until it is sent something, which is bounded apart.
	StreamsPerSecond float64
	// RequestsPerSecond is how fast the messages of one stream are read, after a first 1,000 that may come at once. Default 100.
	RequestsPerSecond float64
}

// firstRequests is how many messages of a stream are read as fast as they come: a proxy that starts asks for its hosts one by one.
const firstRequests = 1000

// streamWait is how long a stream may wait for its turn to begin, and firstWait how long its first message may take.
const (
	streamWait = time.Second
	firstWait  = 15 * time.Second
)

func (l Limits) withDefaults() Limits {
	for _, f := range []struct {
		field *int
		value int
	}{{&l.Streams, 50_000}, {&l.StreamsPerIdentity, 5_000}} {
		if *f.field == 0 {
			*f.field = f.value
		}
	}
	for _, f := range []struct {
		field *float64
		value float64
	}{{&l.StreamsPerSecond, 10_000}, {&l.RequestsPerSecond, 100}} {
		if *f.field == 0 {
			*f.field = f.value
		}
	}
	return l
}

// turn is how long to wait for what a limiter lets through next. What would take longer than most has no turn.
func turn(l *rate.Limiter, now time.Time, most time.Duration) (time.Duration, bool) {
	r := l.ReserveN(now, 1)
	wait := r.DelayFrom(now)
	if wait > most {
		r.CancelAt(now)
		return 0, false
	}
	return wait, true
}

// gate lets streams in.
type gate struct {
	limits Limits

	mu      sync.Mutex
	total   int
	of      map[spiffe.ID]int
	arrival *rate.Limiter
}

func newGate(limits Limits) *gate {
	limits = limits.withDefaults()
	return &gate{limits: limits, of: map[spiffe.ID]int{}, arrival: rate.NewLimiter(rate.Limit(limits.StreamsPerSecond), max(1, int(limits.StreamsPerSecond)))}
}

// refusal says why a stream was not let in: a word for metrics, and a text for the client.
type refusal struct{ reason, text string }

func (r *refusal) Error() string { return r.text }

// enter lets a stream in after a wait, or says why not. leave must be called once for each that was let in.
func (g *gate) enter(id spiffe.ID, now time.Time) (time.Duration, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.total >= g.limits.Streams {
		return 0, &refusal{"total", fmt.Sprintf("this control plane has %d streams and takes no more (--max-xds-streams)", g.total)}
	}
	if n := g.of[id]; !id.IsZero() && n >= g.limits.StreamsPerIdentity {
		return 0, &refusal{"identity", fmt.Sprintf("%s has %d streams and may have no more (--max-xds-streams-per-identity)", id, n)}
	}
	wait, ok := turn(g.arrival, now, streamWait)
	if !ok {
		return 0, &refusal{"rate", fmt.Sprintf("more than %g streams begin in a second (PILOT_MAX_REQUESTS_PER_SECOND); try again", g.limits.StreamsPerSecond)}
	}
	g.total++
	if !id.IsZero() {
		g.of[id]++
	}
	return wait, nil
}

func (g *gate) leave(id spiffe.ID) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.total--
	if id.IsZero() {
		return
	}
	if g.of[id]--; g.of[id] == 0 {
		delete(g.of, id)
	}
}

// admit lets a stream in, when its turn has come, or returns the status that its client is sent.
func (s *Server) admit(ctx context.Context, caller spiffe.ID) (leave func(), err error) {
	wait, err := s.gate.enter(caller, s.opts.Now())
	if err != nil {
		if r, ok := err.(*refusal); ok {
			s.metrics.refused.WithLabelValues(r.reason).Inc()
		}
		return nil, status.Error(codes.ResourceExhausted, err.Error())
	}
	if err := pause(ctx, wait); err != nil {
		s.gate.leave(caller)
		return nil, err
	}
	return func() { s.gate.leave(caller) }, nil
}

// pause waits, at most until ctx ends.
func pause(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return nil
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// firstOf returns a stream's first message. One that says nothing holds its place only for a while. The goroutine ends with the stream.
func (s *Server) firstOf(g grpc.ServerStream, recv func() (message, error)) (message, error) {
	type received struct {
		m   message
		err error
	}
	got := make(chan received, 1)
	go func() {
		m, err := recv()
		got <- received{m, err}
	}()
	timer := time.NewTimer(s.opts.FirstWait)
	defer timer.Stop()
	select {
	case r := <-got:
		return r.m, r.err
	case <-g.Context().Done():
		return message{}, g.Context().Err()
	case <-timer.C:
		s.metrics.refused.WithLabelValues("silent").Inc()
		return message{}, status.Errorf(codes.DeadlineExceeded, "nothing was asked for within %v", s.opts.FirstWait)
	}
}

// throttled reads the messages of a stream no faster than it may ask.
func (s *Server) throttled(ctx context.Context, recv func() (message, error)) func() (message, error) {
	l := rate.NewLimiter(rate.Limit(s.gate.limits.RequestsPerSecond), firstRequests)
	return func() (message, error) {
		if wait, _ := turn(l, s.opts.Now(), rate.InfDuration); wait > 0 {
			s.metrics.delayed.Inc()
			if err := pause(ctx, wait); err != nil {
				return message{}, err
			}
		}
		return recv()
	}
}
