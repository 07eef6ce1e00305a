package differential

import (
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
)

// allowed is the table of differences that stay, docs/envoy-differences.md.
type allowed struct {
	mu   sync.Mutex
	rows []*allowedRow
}

type allowedRow struct {
	line   int
	where  []pattern
	fields []pattern
	reason string
}

// pattern is a text in which * stands for anything. used: something matched it.
type pattern struct {
	text string
	re   *regexp.Regexp
	used bool
}

var quoted = regexp.MustCompile("`([^`]+)`")

// readAllowed takes the rows of the table: cases, fields, reason. Cases and fields are lists
// of patterns in backticks.
func readAllowed(path string) (*allowed, error) {
	raw, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	a := &allowed{}
	for n, line := range strings.Split(string(raw), "\n") {
		if !strings.HasPrefix(line, "| `") {
			continue
		}
		cells := strings.Split(strings.Trim(line, "| "), " | ")
		if len(cells) != 3 || strings.TrimSpace(cells[2]) == "" {
			return nil, fmt.Errorf("%s:%d: wants three cells: cases, fields, reason", path, n+1)
		}
		a.rows = append(a.rows, &allowedRow{line: n + 1, where: patterns(cells[0]), fields: patterns(cells[1]), reason: cells[2]})
	}
	return a, nil
}

func patterns(cell string) []pattern {
	var out []pattern
	for _, m := range quoted.FindAllStringSubmatch(cell, -1) {
		re := "^" + strings.ReplaceAll(regexp.QuoteMeta(m[1]), `\*`, ".*") + "$"
		out = append(out, pattern{text: m[1], re: regexp.MustCompile(re)})
	}
	return out
}

// reason says why a difference may stay; false when nothing does.
func (a *allowed) reason(d difference) (string, bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, r := range a.rows {
		w, f := find(r.where, d.where), find(r.fields, d.field)
		if w != nil && f != nil {
			w.used, f.used = true, true
			return r.reason, true
		}
	}
	return "", false
}

// covers reports whether all differences may stay.
func (a *allowed) covers(ds []difference) bool { return a.coversBut(ds, "") }

// coversBut reports whether all differences may stay but those in one field.
func (a *allowed) coversBut(ds []difference, field string) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, d := range ds {
		if d.field != field && !slices.ContainsFunc(a.rows, func(r *allowedRow) bool { return find(r.where, d.where) != nil && find(r.fields, d.field) != nil }) {
			return false
		}
	}
	return true
}

func find(ps []pattern, s string) *pattern {
	for i := range ps {
		if ps[i].re.MatchString(s) {
			return &ps[i]
		}
	}
	return nil
}

// unused lists the patterns that nothing matched: differences that are gone. A row whose reason ends
// in "Not in every run" depends on moments, and may show nothing.
func (a *allowed) unused() []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	var out []string
	for _, r := range a.rows {
		if strings.HasSuffix(r.reason, "Not in every run") {
			continue
		}
		for _, p := range append(append([]pattern{}, r.where...), r.fields...) {
			if !p.used {
				out = append(out, fmt.Sprintf("line %d: `%s`", r.line, p.text))
			}
		}
	}
	return out
}
