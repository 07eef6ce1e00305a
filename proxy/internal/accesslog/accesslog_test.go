package accesslog

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/lateen-mesh/lateen/proxy/internal/format"
	"github.com/lateen-mesh/lateen/proxy/internal/header"
	"github.com/lateen-mesh/lateen/proxy/internal/stats"
	"github.com/lateen-mesh/lateen/proxy/internal/streaminfo"
	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func newFiles() *Files {
	return NewFiles(stats.NewStore(stats.Options{}), slog.New(slog.DiscardHandler))
}

// advance lets the bubble's clock pass d.
func advance(d time.Duration) {
	<-time.After(d)
	synctest.Wait()
}

// running starts Run and returns a function that ends it and waits.
func running(t *testing.T, s *Files) func() {
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); _ = s.Run(ctx) }()
	return func() { cancel(); <-done }
}

func read(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func stream(code int, flags streaminfo.Flags) *format.Context {
	h := &header.Map{}
	h.AddString(header.Method, "GET")
	h.AddString(header.UserAgent, "curl")
	return &format.Context{Request: h, Info: &streaminfo.Info{ResponseCode: code, Flags: flags, Start: 1, End: 1 + 5e6}}
}

func TestFileBatches(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "log")
		s := newFiles()
		f, err := s.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		if g, _ := s.Open(path); g != f {
			t.Error("the same path gave another file")
		}
		stop := running(t, s)
		f.Write([]byte("one\n"))
		synctest.Wait()
		if read(t, path) != "" {
			t.Error("a short line was written at once")
		}
		advance(flushInterval)
		if read(t, path) != "one\n" {
			t.Error("not written after the interval")
		}
		big := strings.Repeat("x", flushSize)
		f.Write([]byte(big))
		synctest.Wait()
		if got := read(t, path); got != "one\n"+big {
			t.Errorf("%d bytes written, want a full buffer at once", len(got))
		}
		f.Write([]byte("last\n"))
		stop()
		if !strings.HasSuffix(read(t, path), "last\n") {
			t.Error("the end of Run lost what was buffered")
		}
	})
}

// A file is written when it has as much as was said.
func TestFlushSize(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "log")
		s := newFiles()
		s.FlushSize = 8
		f, err := s.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		stop := running(t, s)
		f.Write([]byte("1234567"))
		synctest.Wait()
		if got := read(t, path); got != "" {
			t.Errorf("%q was written before it was enough", got)
		}
		f.Write([]byte("8"))
		synctest.Wait()
		if got := read(t, path); got != "12345678" {
			t.Errorf("%q is written", got)
		}
		stop()
	})
}

func TestReopen(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	s := newFiles()
	f, err := s.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	f.Write([]byte("old\n"))
	s.flushAll(0)
	if err := os.Rename(path, path+".1"); err != nil {
		t.Fatal(err)
	}
	if err := s.Reopen(); err != nil {
		t.Fatal(err)
	}
	f.Write([]byte("new\n"))
	f.Close()
	running(t, s)()
	if read(t, path+".1") != "old\n" || read(t, path) != "new\n" {
		t.Error("rotation mixed the files up")
	}
	if _, err := newFiles().Open(filepath.Join(path, "no")); err == nil {
		t.Error("an impossible path was opened")
	}
}

// TestBounded: a disk that does not keep up costs lines, not memory.
func TestBounded(t *testing.T) {
	store := stats.NewStore(stats.Options{})
	s := NewFiles(store, slog.New(slog.DiscardHandler))
	f, err := s.Open(filepath.Join(t.TempDir(), "log"))
	if err != nil {
		t.Fatal(err)
	}
	line := []byte(strings.Repeat("y", 1<<20))
	for range 10 {
		f.Write(line)
	}
	if len(f.buf) > maxBuffered || f.lost != 6 {
		t.Errorf("%d bytes buffered, %d lines lost", len(f.buf), f.lost)
	}
	running(t, s)()
	p, err := store.Snapshot(t.Context(), stats.Query{})
	if err != nil {
		t.Fatal(err)
	}
	if v, _ := p.Value("filesystem.write_dropped"); v != 6 {
		t.Errorf("write_dropped is %d", v)
	}
}

func TestConcurrentWriters(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	s := newFiles()
	f, err := s.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	stop := running(t, s)
	var wg sync.WaitGroup
	for w := range 4 {
		wg.Go(func() {
			for i := range 500 {
				f.Write(fmt.Appendf(nil, "%d %d\n", w, i))
				if i%100 == 0 {
					_ = s.Reopen()
				}
			}
		})
	}
	wg.Wait()
	stop()
	if n := strings.Count(read(t, path), "\n"); n != 2000 {
		t.Errorf("%d lines, want 2000", n)
	}
}

func TestLogger(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	s := newFiles()
	text, err := New(&xdsresource.AccessLog{Path: path, Text: "%RESPONSE_CODE% %REQ(X)%\n",
		Filter: &xdsresource.AccessLogFilter{StatusCode: &xdsresource.ComparisonFilter{Op: "GE", Value: 400}}}, s, 1)
	if err != nil {
		t.Fatal(err)
	}
	js, err := New(&xdsresource.AccessLog{Path: path, JSON: map[string]any{"code": "%RESPONSE_CODE%"}, TypedJSON: true}, s, 1)
	if err != nil {
		t.Fatal(err)
	}
	text.Log(0, stream(200, 0))
	text.Log(0, stream(503, 0))
	js.Log(0, stream(200, 0))
	c := stream(503, 0)
	s.flushAll(0)
	if n := testing.AllocsPerRun(100, func() { text.Log(0, c); s.files[path].buf = s.files[path].buf[:0] }); n > 0.5 {
		t.Errorf("%v allocations a line", n)
	}
	text.Close()
	js.Close()
	running(t, s)()
	if got, want := read(t, path), "503 -\n{\"code\":200}\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	for _, bad := range []xdsresource.AccessLog{
		{Name: "a", Path: path, Text: "%NOPE%"}, {Name: "a", Path: path, JSON: map[string]any{"x": "%NOPE%"}},
		{Name: "a", Path: path, Filter: &xdsresource.AccessLogFilter{CEL: "x +"}}, {Name: "a", Path: path, Filter: &xdsresource.AccessLogFilter{}},
		{Name: "a", Path: path, Filter: &xdsresource.AccessLogFilter{ResponseFlag: true, ResponseFlags: []string{"XX"}}},
	} {
		if _, err := New(&bad, s, 1); err == nil || !strings.Contains(err.Error(), `access log "a"`) {
			t.Errorf("%+v: %v", bad, err)
		}
	}
}

func TestFilters(t *testing.T) {
	f := func(c xdsresource.AccessLogFilter) *xdsresource.AccessLogFilter { return &c }
	cmp := func(op string, v uint32) *xdsresource.ComparisonFilter {
		return &xdsresource.ComparisonFilter{Op: op, Value: v}
	}
	yes, no := f(xdsresource.AccessLogFilter{StatusCode: cmp("EQ", 503)}), f(xdsresource.AccessLogFilter{StatusCode: cmp("LE", 500)})
	c := stream(503, streaminfo.NoHealthyUpstream)
	for i, tt := range []struct {
		cfg  *xdsresource.AccessLogFilter
		want bool
	}{
		{yes, true}, {no, false},
		{f(xdsresource.AccessLogFilter{Duration: cmp("GE", 5)}), true}, {f(xdsresource.AccessLogFilter{Duration: cmp("GE", 6)}), false},
		{f(xdsresource.AccessLogFilter{NotHealthCheck: true}), true}, {f(xdsresource.AccessLogFilter{Traceable: true}), false},
		{f(xdsresource.AccessLogFilter{And: []*xdsresource.AccessLogFilter{yes, yes}}), true}, {f(xdsresource.AccessLogFilter{And: []*xdsresource.AccessLogFilter{yes, no}}), false},
		{f(xdsresource.AccessLogFilter{Or: []*xdsresource.AccessLogFilter{no, yes}}), true}, {f(xdsresource.AccessLogFilter{Or: []*xdsresource.AccessLogFilter{no, no}}), false},
		{f(xdsresource.AccessLogFilter{ResponseFlag: true}), true}, {f(xdsresource.AccessLogFilter{ResponseFlag: true, ResponseFlags: []string{"NR", "UH"}}), true},
		{f(xdsresource.AccessLogFilter{ResponseFlag: true, ResponseFlags: []string{"NR"}}), false},
		{f(xdsresource.AccessLogFilter{Header: &xdsresource.HeaderMatcher{Name: "user-agent", String: &xdsresource.StringMatch{Value: "curl"}}}), true},
		{f(xdsresource.AccessLogFilter{RuntimePercent: &xdsresource.FractionalPercent{Numerator: 100, Denominator: 100}}), true},
		{f(xdsresource.AccessLogFilter{RuntimePercent: &xdsresource.FractionalPercent{Denominator: 100}}), false},
	} {
		x, err := NewFilter(tt.cfg)
		if err != nil {
			t.Fatal(err)
		}
		if x.Pass(c) != tt.want {
			t.Errorf("filter %d: %v", i, !tt.want)
		}
	}
}
