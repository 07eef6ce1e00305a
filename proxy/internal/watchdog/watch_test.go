package watchdog

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/lateen-mesh/lateen/proxy/internal/stats"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fake is a loop that turns when it is told to.
type fake struct {
	idle, ended bool
	posted      []func()
	posts       int
}

func (f *fake) Idle() bool { return f.idle }

func (f *fake) Post(fn func()) bool {
	f.posts++
	f.posted = append(f.posted, fn)
	return !f.ended
}

func (f *fake) turn() {
	for _, fn := range f.posted {
		fn()
	}
	f.posted = nil
}

// TestWatch plays a script: each line is what the loops a, b and c do before they are looked at, 100 ms after the line
// before: "." waits, "t" turns, "x" is stuck. Behind it stands what is counted then.
func TestWatch(t *testing.T) {
	for _, tt := range []struct {
		name   string
		cfg    Config
		script string
	}{
		{"well", Config{}, `
			...
			ttt
			.t.
			ttt
		`},
		{"one is stuck", Config{}, `
			ttt
			xtt
			xtt server.a.watchdog_miss=1 workers.watchdog_miss=1
			xtt
			xtt
			xtt
			xtt
			xtt
			xtt
			xtt
			xtt server.a.watchdog_mega_miss=1 workers.watchdog_mega_miss=1
			xtt
			ttt
			xtt
			xtt server.a.watchdog_miss=2 workers.watchdog_miss=2
		`},
		{"stuck after it was idle", Config{Miss: 100 * time.Millisecond}, `
			...
			x..
			x.. server.a.watchdog_miss=1 workers.watchdog_miss=1
			...
			x..
			x.. server.a.watchdog_miss=2 workers.watchdog_miss=2
		`},
		{"kill", Config{Kill: 300 * time.Millisecond}, `
			ttt
			txt
			txt server.b.watchdog_miss=1 workers.watchdog_miss=1
			txt killed:b has not turned for 300ms, and kill_timeout is 300ms
		`},
		{"one is not many", Config{Miss: time.Hour, MultiKill: 200 * time.Millisecond}, `
			ttt
			xtt
			xtt
			xtt
		`},
		{"many", Config{Miss: time.Hour, MegaMiss: time.Hour, MultiKill: 200 * time.Millisecond}, `
			ttt
			xtx
			xtx killed:a, c have not turned for 200ms (multikill_timeout)
		`},
		{"not enough", Config{Miss: time.Hour, MegaMiss: time.Hour, MultiKill: 200 * time.Millisecond, Threshold: 70}, `
			ttt
			xtx
			xtx
			xxx
			xxx killed:a, b, c have not turned for 200ms (multikill_timeout)
		`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			st := stats.NewStore(stats.Options{})
			killed := ""
			w := New("workers", tt.cfg, st, slog.New(slog.DiscardHandler), func(why string) { killed = why })
			loops := []*fake{{}, {}, {}}
			for i, l := range loops {
				w.Add(string(rune('a'+i)), l, st)
			}
			now := time.Unix(0, 0)
			counted := map[string]uint64{}
			for n, line := range strings.Split(strings.TrimSpace(tt.script), "\n") {
				does, want, _ := strings.Cut(strings.TrimSpace(line), " ")
				for i, what := range does {
					loops[i].idle = what == '.'
					if what != 'x' { // a loop that waits has done what was posted
						loops[i].turn()
					}
				}
				w.look(now)
				now = now.Add(100 * time.Millisecond)
				all, err := st.Counters(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				var news []string
				for _, name := range []string{"server.a.watchdog_miss", "server.a.watchdog_mega_miss", "server.b.watchdog_miss", "server.c.watchdog_miss",
					"workers.watchdog_miss", "workers.watchdog_mega_miss"} {
					if all[name] != counted[name] {
						news = append(news, fmt.Sprintf("%s=%d", name, all[name]))
					}
				}
				counted = all
				if killed != "" {
					news = append(news, "killed:"+killed)
				}
				if got := strings.Join(news, " "); got != want {
					t.Errorf("line %d: %q, want %q", n+1, got, want)
				}
			}
		})
	}
}

// TestIdleLoopsSleep: a loop that waits is not posted to.
func TestIdleLoopsSleep(t *testing.T) {
	st := stats.NewStore(stats.Options{})
	w := New("workers", Config{}, st, slog.New(slog.DiscardHandler), nil)
	l := &fake{idle: true}
	w.Add("a", l, st)
	for i := range 10 {
		w.look(time.Unix(int64(i), 0))
	}
	if l.posts > 0 {
		t.Errorf("an idle loop was posted to %d times", l.posts)
	}
}

func TestInterval(t *testing.T) {
	st := stats.NewStore(stats.Options{})
	for _, tt := range []struct {
		cfg  Config
		want time.Duration
	}{
		{Config{}, 200 * time.Millisecond},
		{Config{Miss: time.Second, MegaMiss: 2 * time.Second}, time.Second},
		{Config{Kill: 50 * time.Millisecond}, 50 * time.Millisecond},
		{Config{MultiKill: 20 * time.Millisecond}, 20 * time.Millisecond},
		{Config{Miss: 1}, time.Millisecond},
	} {
		if got := New("workers", tt.cfg, st, slog.New(slog.DiscardHandler), nil).Interval(); got != tt.want {
			t.Errorf("%+v: %v, want %v", tt.cfg, got, tt.want)
		}
	}
}

func TestRunEnds(t *testing.T) {
	st := stats.NewStore(stats.Options{})
	w := New("workers", Config{Miss: time.Millisecond}, st, slog.New(slog.DiscardHandler), nil)
	l := &fake{}
	w.Add("a", l, st)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); w.Run(ctx) }()
	for {
		all, err := st.Counters(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if all["server.a.watchdog_miss"] > 0 {
			break
		}
	}
	cancel()
	<-done
}
