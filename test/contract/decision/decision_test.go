package decision

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"math"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/lateen-mesh/lateen/config/analyze"
	"github.com/lateen-mesh/lateen/test/internal/testnet"
)

func TestMain(m *testing.M) {
	testnet.Enter()
	goleak.VerifyTestMain(m)
}

// TestDecisions asks every row of every file of our proxy; those of clients twice: of a sidecar that has everything, and of one that asks on
// demand. Then it asks all of a real Envoy.
//
// It is end to end: the objects are files that a control plane reads, proxies get what it makes of them and their certificates over mutual TLS, through their
// agents, and each row is a connection of its own over the sockets of a network namespace, captured as in a pod. In this process or not, nothing but the
// applications is made for the test.
func TestDecisions(t *testing.T) {
	runAll(t, &ports{decisionPorts}, Dir, Read)
}

// runAll asks the rows of a folder's tables of our proxy and of a real Envoy. A table is read for each, right before: its certificates are a world's own, which removes
// them, and its tokens count from then.
func runAll(t *testing.T, p *ports, dir string, read func(path string) (*Table, error)) {
	if why := testnet.Missing(); why != "" {
		t.Skip(why)
	}
	each := func(t *testing.T, run func(*testing.T, *Table)) {
		for _, path := range tablesOf(t, dir) {
			t.Run(nameOf(path), func(t *testing.T) {
				table, err := read(path)
				if err != nil {
					t.Fatal(err)
				}
				run(t, table)
			})
		}
	}
	each(t, func(t *testing.T, table *Table) { run(t, table, p) })
	t.Run("envoy", func(t *testing.T) { runEnvoy(t, p, each) })
}

// tablesOf are the files of a folder's tables.
func tablesOf(t *testing.T, dir string) []string {
	t.Helper()
	files, err := filesOf(dir)
	if err != nil || len(files) == 0 {
		t.Fatalf("there are no tables in %s: %v", dir, err)
	}
	return files
}

// run starts a table's world and, one after the other, the proxies at which its rows are decided. The rows of a proxy are asked in their
// order; what the log says is judged when all have been asked, because it is written in batches.
func run(t *testing.T, table *Table, p *ports) {
	w := startWorld(t, table, p)
	for _, where := range w.places() {
		w.runAt(t, where, w.nodeAt(t, where), "", ours)
		if n := w.nodeAt(t, where); n.client {
			w.runAt(t, where, n.onDemand(), " on demand", ours)
		}
	}
	for i := range table.Rows {
		if r := &table.Rows[i]; r.Object != "" {
			t.Run(r.Name, func(t *testing.T) { w.checkObject(t, r) })
		}
	}
}

// places are where the table's rows are asked, in their order.
func (w *world) places() []string {
	var out []string
	for i := range w.table.Rows {
		if where := w.table.Rows[i].Where(); where != "" && !slices.Contains(out, where) {
			out = append(out, where)
		}
	}
	return out
}

// runAt asks the rows of a place, whose proxy is n. The way tells its answers from those of another proxy.
func (w *world) runAt(t *testing.T, where string, n node, way string, kind proxyKind) {
	before, err := os.ReadFile(w.log)
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	stop := w.startProxy(t, n, kind)
	defer stop()
	p := place{w, where}
	answers := map[*Row][]answer{}
	for i := range w.table.Rows {
		r := &w.table.Rows[i]
		if r.Where() != where {
			continue
		}
		for n := range max(r.Times, 1) {
			a, err := p.ask(t, r, fmt.Sprintf("%d-%d%s", i, n, strings.ReplaceAll(way, " ", "-")))
			if err != nil {
				t.Run(r.Name+way, func(t *testing.T) { kind.judge(t, r, []string{err.Error()}) })
				answers[r] = nil
				break
			}
			answers[r] = append(answers[r], a)
		}
	}
	log := w.logged(t, len(before), answers)
	w.checkCounted(t, kind, log)
	for i := range w.table.Rows {
		if r := &w.table.Rows[i]; answers[r] != nil {
			t.Run(r.Name+way, func(t *testing.T) {
				var f failures
				w.check(&f, kind, r, answers[r], log)
				kind.judge(t, r, f)
			})
		}
	}
}

// entry is a line of the access log.
type entry struct{ cluster, route, flags, by, details string }

// find looks an answer up in the log. A request that was read there says which question it belongs to; a connection is known by where it
// came from, which another may have had before.
func (a *answer) find(log map[string]entry) (entry, bool) {
	if e, ok := log[a.question]; ok || a.resp != nil && a.resp.TLS == nil && !a.wrote {
		return e, ok
	}
	e, ok := log[a.from]
	return e, ok
}

// logged waits for the log's lines about answers to rows that ask for them.
func (w *world) logged(t *testing.T, skip int, answers map[*Row][]answer) map[string]entry {
	t.Helper()
	var want []answer
	for r, list := range answers {
		if r.Cluster+r.Route+r.Flags+r.By+r.Details != "" || r.Logged != nil && *r.Logged {
			want = append(want, list...)
		}
	}
	found := map[string]entry{}
	eventually(func() bool {
		raw, err := os.ReadFile(w.log)
		if err != nil && !os.IsNotExist(err) {
			t.Fatal(err)
		}
		for line := range bytes.Lines(raw[min(skip, len(raw)):]) {
			if f := strings.Fields(string(line)); len(f) >= 7 && bytes.HasSuffix(line, []byte("\n")) {
				key := f[0]
				if key == "-" {
					key = f[1]
				}
				found[key] = entry{f[2], f[3], f[4], decidedBy(f[5:]...), strings.Join(f[5:], " ")}
			}
		}
		return !slices.ContainsFunc(want, func(a answer) bool { _, ok := a.find(found); return !ok })
	})
	return found
}

// decidedBy is the rule that refused a request or a connection, as the filter that did says it in the details of the one or the other; "-" for none. It
// is "none" when there were rules that allow, and no rule did.
func decidedBy(details ...string) string {
	for _, d := range details {
		if rule, ok := strings.CutPrefix(d, "rbac_access_denied_matched_policy["); ok {
			return strings.TrimSuffix(rule, "]")
		}
	}
	return "-"
}

// eventually waits until something holds; the checks that follow say what does not.
func eventually(holds func() bool) {
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(time.Minute); !holds() && time.Now().Before(deadline); {
		<-tick.C
	}
}

// failures are what is not as a row says.
type failures []string

// Errorf adds one.
func (f *failures) Errorf(format string, args ...any) { *f = append(*f, fmt.Sprintf(format, args...)) }

// judge fails the test for what is not as the row says; where the row says that this kind of proxy decides otherwise, for its not doing so.
func (k proxyKind) judge(t *testing.T, r *Row, f failures) {
	t.Helper()
	if k.differs && r.Envoy != "" {
		if len(f) == 0 {
			t.Errorf("it decides as the row says, which says that it does not: %s", r.Envoy)
		}
		return
	}
	for _, text := range f {
		t.Error(text)
	}
}

// early is how much sooner than its time a timer of the proxy may fire: Envoy's count milliseconds from a time that its loop read a while before.
func (k proxyKind) early() time.Duration {
	if k.differs {
		return 10 * time.Millisecond
	}
	return 0
}

func (w *world) check(t *failures, kind proxyKind, r *Row, answers []answer, log map[string]entry) {
	for _, a := range answers {
		if got := a.end(); got != r.End && !(kind.differs && got == "closed" && r.End == "refused") {
			t.Errorf("the connection ended %q, want %q", got, r.End)
		}
		w.checkTLS(t, r, a)
		if r.Alert != "" && !strings.Contains(a.alert, r.Alert) && !kind.differs {
			t.Errorf("refused by %q, want %q", a.alert, r.Alert)
		}
		if r.App != "" && a.app != r.App {
			t.Errorf("answered by %q, want %q", a.app, r.App)
		}
		if a.took+kind.early() < time.Duration(r.After) || r.Within > 0 && a.took > time.Duration(r.Within) {
			t.Errorf("took %v, want at least %v and at most %v", a.took, time.Duration(r.After), time.Duration(r.Within))
		}
		if a.resp != nil {
			w.checkAnswer(t, r, a)
		} else if tries := len(w.origin.asked(a.question)); r.Tries != nil && tries != *r.Tries {
			t.Errorf("%d tries, want %d", tries, *r.Tries)
		}
		l, logged := a.find(log)
		if r.Logged != nil && *r.Logged != logged {
			t.Errorf("a line in the access log: %v, want %v", logged, *r.Logged)
		}
		for _, f := range []struct{ what, got, want string }{{"cluster", l.cluster, r.Cluster}, {"route", l.route, r.Route}, {"flags", l.flags, r.Flags}, {"rule", l.by, r.By}} {
			switch {
			case f.want != "" && !logged:
				t.Errorf("the access log has no line for it; want %s %q", f.what, f.want)
			case f.want != "" && f.got != f.want:
				t.Errorf("%s %q, want %q", f.what, f.got, f.want)
			}
		}
		if !strings.Contains(l.details, r.Details) {
			t.Errorf("details %q, want %q", l.details, r.Details)
		}
	}
	if r.Split != nil {
		checkSplit(t, r, answers)
	}
}

func (w *world) checkTLS(t *failures, r *Row, a answer) {
	var shows, speaks, version, suite string
	if s := a.tls; s != nil {
		shows, speaks, version, suite = s.PeerCertificates[0].Subject.CommonName, s.NegotiatedProtocol, strings.TrimPrefix(tls.VersionName(s.Version), "TLS "), tls.CipherSuiteName(s.CipherSuite)
		if speaks == "" {
			speaks = "none"
		}
	}
	for _, f := range []struct{ what, got, want string }{{"certificate", shows, r.Shows}, {"ALPN", speaks, r.Speaks}, {"version", version, r.Version}, {"suite", suite, r.Suite}} {
		if f.want != "" && f.got != f.want {
			t.Errorf("%s %q, want %q", f.what, f.got, f.want)
		}
	}
}

func (w *world) checkAnswer(t *failures, r *Row, a answer) {
	if a.resp.StatusCode != r.Status {
		t.Errorf("status %d, want %d; body %q", a.resp.StatusCode, r.Status, a.body)
	}
	if got := a.resp.Header.Get("location"); got != r.Location {
		t.Errorf("location %q, want %q", got, r.Location)
	}
	if r.Body != "" && a.body != r.Body {
		t.Errorf("body %q, want %q", a.body, r.Body)
	}
	for name, want := range r.Response {
		if got := strings.Join(a.resp.Header.Values(name), ","); got != want {
			t.Errorf("response header %s is %q, want %q", name, got, want)
		}
	}
	copies := func() (tries int, last seen, mirrored map[string]int) {
		mirrored = map[string]int{}
		for _, s := range w.origin.asked(a.question) {
			if s.mirrored() {
				mirrored[s.app]++
				continue
			}
			tries++
			last = s
		}
		return tries, last, mirrored
	}
	eventually(func() bool { // copies are not waited for by the client
		_, _, mirrored := copies()
		for app, n := range r.Mirrored {
			if mirrored[app] < n {
				return false
			}
		}
		return true
	})
	tries, last, mirrored := copies()
	for _, name := range r.Spelled {
		if !strings.Contains(last.head, "\r\n"+name+":") {
			t.Errorf("the application saw no %s in %q", name, last.head)
		}
	}
	for name, want := range r.Seen {
		got := strings.Join(last.header.Values(name), ",")
		switch name {
		case "path":
			got = last.path
		case "host":
			got = last.host
		case "protocol":
			got = last.protocol
		case "sni":
			got = last.sni
		}
		if tries == 0 || got != want {
			t.Errorf("the application saw %s %q, want %q (of %d requests)", name, got, want, tries)
		}
	}
	if r.Tries != nil && tries != *r.Tries {
		t.Errorf("%d tries, want %d", tries, *r.Tries)
	}
	for app, n := range mirrored {
		if r.Mirrored[app] != n {
			t.Errorf("%s got %d copies, want %d", app, n, r.Mirrored[app])
		}
	}
	for app, n := range r.Mirrored {
		if mirrored[app] != n {
			t.Errorf("%s got %d copies, want %d", app, mirrored[app], n)
		}
	}
}

// checkSplit holds shares to five standard deviations of chance, which fails once in a million runs.
func checkSplit(t *failures, r *Row, answers []answer) {
	got := map[string]int{}
	for _, a := range answers {
		got[a.app]++
	}
	for app := range got {
		if _, known := r.Split[app]; !known {
			t.Errorf("%d answered by %q, which is not in split", got[app], app)
		}
	}
	n := float64(len(answers))
	for app, percent := range r.Split {
		p := float64(percent) / 100
		if most := 5 * math.Sqrt(n*p*(1-p)); math.Abs(float64(got[app])-n*p) > most {
			t.Errorf("%d of %d answered by %s, want %d %%, give or take %.0f", got[app], len(answers), app, percent, most)
		}
	}
}

// checkObject looks for what a row says of an object among everything that is said.
func (w *world) checkObject(t *testing.T, r *Row) {
	var said []string
	text := r.Refused
	if r.Refused != "" {
		for _, p := range w.table.Refused {
			said = append(said, p.Key.String()+": "+p.Field+": "+p.Text)
		}
	} else {
		text = r.Reported
		said = w.reports(t)
		for _, m := range append(analyze.Set(w.objects, analyze.Options{}), analyze.Effects(w.objects.All())...) {
			said = append(said, m.Key.String()+": "+m.Field+": "+m.Text)
		}
	}
	for _, s := range said {
		if strings.HasPrefix(s, r.Object+": "+r.Field) && strings.Contains(s, text) {
			return
		}
	}
	t.Errorf("nothing says of %s: %s %q; what is said:\n%s", r.Object, r.Field, text, strings.Join(said, "\n"))
}
