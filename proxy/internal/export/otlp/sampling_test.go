package otlp

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"

	"github.com/lateen-mesh/lateen/proxy/internal/export"
	"github.com/lateen-mesh/lateen/proxy/internal/header"
	"github.com/lateen-mesh/lateen/proxy/internal/tracing"
	"github.com/lateen-mesh/lateen/proxy/internal/tracing/dynatrace"
	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

// server is a Dynatrace whose answers are given: a body, a status, or an error.
type server struct {
	t       *testing.T
	answers []string
	began   time.Time
	asked   []time.Duration
}

func (*server) GRPC(context.Context) (*grpc.ClientConn, func(), error) {
	return nil, nil, errors.New("not of gRPC")
}

func (s *server) HTTP(context.Context) (*http.Client, func(), error) {
	return &http.Client{Transport: s}, func() {}, nil
}

func (s *server) RoundTrip(r *http.Request) (*http.Response, error) {
	s.asked = append(s.asked, time.Since(s.began).Round(time.Second))
	if r.Method != "GET" || r.Host != "dynatrace.example" || r.URL.Path != "/api/v2/samplingConfiguration" || r.Header.Get("Authorization") != "Api-Token x" {
		s.t.Errorf("asked %s %s of %s with %v", r.Method, r.URL, r.Host, r.Header)
	}
	a := s.answers[0]
	if len(s.answers) > 1 {
		s.answers = s.answers[1:]
	}
	resp := &http.Response{StatusCode: 200, Body: http.NoBody, Header: http.Header{}}
	switch a {
	case "hang":
		<-r.Context().Done()
		return nil, r.Context().Err()
	case "401", "503", "429":
		resp.StatusCode = int(a[0]-'0')*100 + int(a[1]-'0')*10 + int(a[2]-'0')
	default:
		resp.Body = io.NopCloser(strings.NewReader(a))
	}
	return resp, nil
}

// refuses is a Dynatrace that cannot be reached.
type refuses struct{ export.Service }

func (*refuses) HTTP(context.Context) (*http.Client, func(), error) {
	return nil, nil, errors.New("nobody there")
}

// wanted finds how many traces a sampler lets begin: while it has no plan the exponent grows with each half of them.
func wanted(s *dynatrace.Sampler) (n int) {
	s.Plan() // of what came before
	s.Plan()
	h := &header.Map{}
	h.AddString(header.Method, "GET")
	h.AddString(header.Path, "/")
	for s.Sample(0, h, tracing.Context{TraceLow: 1}, false).Note&0xff == 0 {
		n++
	}
	return 2 * (n + 1)
}

func TestSamplingIsAskedFor(t *testing.T) {
	const minute = time.Minute
	for _, tt := range []struct {
		name    string
		answers []string
		after   time.Duration
		asked   []time.Duration
		want    int
	}{
		{"not yet", []string{`{"rootSpansPerMinute": 60}`}, 9 * time.Second, nil, 100},
		{"said", []string{`{"rootSpansPerMinute": 60, "other": true}`}, 11 * time.Second, []time.Duration{10 * time.Second}, 60},
		{"said anew", []string{`{"rootSpansPerMinute": 60}`, `{"rootSpansPerMinute": 40}`}, 6 * minute, []time.Duration{10 * time.Second, 310 * time.Second}, 40},
		{"no number", []string{`{"rootSpansPerMinute": 60}`, `{"rootSpansPerMinute": "40"}`}, 6 * minute, []time.Duration{10 * time.Second, 310 * time.Second}, 100},
		{"a negative number", []string{`{"rootSpansPerMinute": -1}`}, minute, []time.Duration{10 * time.Second}, 100},
		{"no JSON", []string{`rootSpansPerMinute`}, minute, []time.Duration{10 * time.Second}, 100},
		{"not there", []string{`{}`}, minute, []time.Duration{10 * time.Second}, 100},
		{"too long", []string{`{"rootSpansPerMinute": 60, "x": "` + strings.Repeat("x", maxSampling) + `"}`}, minute, []time.Duration{10 * time.Second}, 100},
		{"fails for a time", []string{"503", "429", `{"rootSpansPerMinute": 60}`}, 11 * minute, []time.Duration{10 * time.Second, 310 * time.Second, 610 * time.Second}, 60},
		{"does not answer", []string{"hang", `{"rootSpansPerMinute": 60}`}, 6 * minute, []time.Duration{10 * time.Second, 315 * time.Second}, 60},
		{"is not allowed to ask", []string{"401", `{"rootSpansPerMinute": 60}`}, time.Hour, []time.Duration{10 * time.Second}, 100},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := dynatrace.New("a", 1, 100, 1)
				srv := &server{t: t, answers: tt.answers, began: time.Now()}
				ctx, cancel := context.WithCancel(t.Context())
				done := make(chan struct{})
				go func() {
					runSampler(ctx, s, &xdsresource.DynatraceSampler{PerMinute: 100, HTTP: xdsresource.HTTPService{
						URL: "http://dynatrace.example/api/v2/samplingConfiguration", Timeout: 5 * time.Second, Headers: map[string]string{"authorization": "Api-Token x"},
					}}, Deps{Sampling: srv, Log: slog.New(slog.DiscardHandler)})
					close(done)
				}()
				time.Sleep(tt.after)
				synctest.Wait()
				if !slices.Equal(srv.asked, tt.asked) {
					t.Errorf("asked at %v, want %v", srv.asked, tt.asked)
				}
				if got := wanted(s); got != tt.want {
					t.Errorf("%d traces a minute, want %d", got, tt.want)
				}
				cancel()
				<-done
			})
		})
	}
}

// TestSamplerPlans: a minute's requests say what the exponents of the next are.
func TestSamplerPlans(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := dynatrace.New("a", 1, 2, 1)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() {
			runSampler(ctx, s, &xdsresource.DynatraceSampler{PerMinute: 2}, Deps{Sampling: &refuses{}, Log: slog.New(slog.DiscardHandler)})
			close(done)
		}()
		h := &header.Map{}
		h.AddString(header.Method, "GET")
		h.AddString(header.Path, "/")
		sample := func() uint32 { return s.Sample(0, h, tracing.Context{TraceLow: 1}, false).Note & 0xff }
		for range 9 {
			sample()
		}
		time.Sleep(planInterval - time.Second)
		if e := sample(); e != 10 {
			t.Errorf("in the first minute: exponent %d of the tenth request", e)
		}
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if e := sample(); e != 2 { // a quarter of ten are the two that are wanted
			t.Errorf("in the second minute: exponent %d", e)
		}
		cancel()
		<-done
	})
}
