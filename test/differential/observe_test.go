package differential

import (
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// outcome is everything that was observed of one side, by a name for each field. An absent
// field is "".
type outcome map[string]string

// normaliser replaces what cannot be the same on both sides by a word.
type normaliser struct {
	ports map[string]string
}

func (s *side) normaliser() normaliser {
	n := normaliser{ports: map[string]string{}}
	for name, port := range s.place.ports {
		n.ports[strconv.Itoa(port)] = "{port:" + name + "}"
	}
	for name, port := range s.place.origins {
		n.ports[strconv.Itoa(port)] = "{origin:" + name + "}"
	}
	return n
}

var alphanumeric = regexp.MustCompile(`[0-9A-Za-z]+`)

// What is normalised, and why: each run has its own times, random numbers and ephemeral ports.
var replaced = []struct {
	re *regexp.Regexp
	by string
}{
	// request ids
	{regexp.MustCompile(`\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b`), "{uuid}"},
	// cookies for hashing, made of the connection's ports
	{regexp.MustCompile(`\b(hashed[a-z-]*=\\?")[0-9a-f]{16}\b`), `$1{hash}`},
	// dates of headers
	{regexp.MustCompile(`\b(Mon|Tue|Wed|Thu|Fri|Sat|Sun), \d\d [A-Z][a-z]{2} \d{4} \d\d:\d\d:\d\d GMT`), "{date}"},
	// times of logs
	{regexp.MustCompile(`\b\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z`), "{time}"},
	// ports that the kernel chose
	{regexp.MustCompile(`\b(127\.0\.0\.\d|\[::1\]):\d{4,5}\b`), "$1:{ephemeral}"},
}

func (n normaliser) text(s string) string {
	s = alphanumeric.ReplaceAllStringFunc(s, func(w string) string {
		if name := n.ports[w]; name != "" {
			return name
		}
		return w
	})
	for _, r := range replaced {
		s = r.re.ReplaceAllString(s, r.by)
	}
	return s
}

// numbers are fields whose value is a measured time or a running number: only whether there
// is one is compared.
var numbers = regexp.MustCompile(`(?i)^(log\[\d+\]\.(connection_id|duration|request_duration|request_tx_duration|response_duration|response_tx_duration|start_time\(%s\))|.*\.header\.x-envoy-upstream-service-time|upstream\.[a-z0-9-]+\[[1-9]\]\.header\.x-envoy-expected-rq-timeout-ms|upstream\.export-.*\.(portValue|port))$`)

func (o outcome) fields() []string { return slices.Sorted(maps.Keys(o)) }

func (o outcome) set(n normaliser, field, value string) {
	value = n.text(value)
	if numbers.MatchString(field) && value != "" && value != "-" && strings.Trim(value, "0123456789") == "" {
		value = "{number}"
	}
	o[field] = value
}

// message puts a message's parts in. The order of headers with different names means nothing
// in HTTP and is not compared; that of one name's values is.
func (o outcome) message(n normaliser, prefix string, m *message) {
	o.set(n, prefix+".line", m.line)
	for _, part := range []struct {
		name string
		list []string
	}{{".header.", m.headers}, {".trailer.", m.trailers}} {
		values := map[string][]string{}
		for _, h := range part.list {
			colon := strings.IndexByte(h[1:], ':') + 1 // not the one of a pseudo-header
			k, v := h[:colon], h[colon+1:]
			v = strings.TrimSpace(v)
			if strings.EqualFold(k, "sw8") {
				v = readableSW8(v)
			}
			values[k] = append(values[k], v)
		}
		for k, v := range values {
			// Several of a name mean what one with a list does (RFC 9110, 5.3), but for cookies.
			if strings.EqualFold(k, "set-cookie") {
				o.set(n, prefix+part.name+k, fmt.Sprintf("%q", v))
			} else {
				o.set(n, prefix+part.name+k, strings.Join(v, ","))
			}
		}
	}
	if len(m.body) > 0 {
		o.set(n, prefix+".body", string(m.body))
	}
	o[prefix+".framing"] = m.framing
	if m.cut {
		o[prefix+".cut"] = "yes"
	}
}

// observe collects what is known of a case so far.
func (s *side) observe(c *testCase, got *seen) (outcome, error) {
	n, o := s.normaliser(), outcome{}
	for i := range got.responses {
		o.message(n, fmt.Sprintf("response[%d]", i), &got.responses[i])
	}
	if got.h2 != nil {
		o.streams(n, got.h2)
	}
	if len(got.rest) > 0 {
		o.set(n, "rest", string(got.rest))
	}
	o["connection"] = got.end
	if got.late {
		o["connection"] += ", not all that was waited for came"
	}
	if got.tls != "" {
		o["tls"] = got.tls
	}
	for name, or := range s.origins {
		seen := or.seen()
		if strings.HasPrefix(name, "export-") {
			slices.SortStableFunc(seen, byKind)
		}
		for i, m := range seen {
			o.message(n, fmt.Sprintf("upstream.%s[%d]", name, i), &m)
		}
	}
	for i, line := range s.logLines() {
		var fields map[string]any
		if err := json.Unmarshal([]byte(line), &fields); err != nil {
			o.set(n, fmt.Sprintf("log[%d]", i), line)
			continue
		}
		for k, v := range fields {
			text := fmt.Sprint(v)
			if v == nil {
				text = ""
			}
			if f, ok := v.(float64); ok {
				text = fmt.Sprint(int64(f))
			}
			o.set(n, fmt.Sprintf("log[%d].%s", i, k), text)
		}
	}
	o.evenOut(got)
	changed, err := s.readStats()
	if err != nil {
		return nil, err
	}
	for k, v := range changed {
		if c.comparesStat(k) {
			o["stat."+n.text(k)] = fmt.Sprint(v)
		}
	}
	for name := range s.origins {
		if strings.HasPrefix(name, "export-") {
			o.nameIDs()
			break
		}
	}
	return o, nil
}

// evenOut takes the digits of x-envoy-upstream-service-time, a measured time, out of the size of
// the headers that it is in.
func (o outcome) evenOut(got *seen) {
	finals, lines := got.finals(), 0
	for o[fmt.Sprintf("log[%d].response_headers_bytes", lines)] != "" {
		lines++
	}
	for i, m := range finals { // what was followed or retried inside has lines before
		field := fmt.Sprintf("log[%d].response_headers_bytes", max(0, lines-len(finals))+i)
		if size, err := strconv.Atoi(o[field]); err == nil {
			o[field] = strconv.Itoa(size - len(m.header("x-envoy-upstream-service-time")))
		}
	}
}

// finals are the responses that have lines in the log, in the order of their ends.
func (s *seen) finals() (out []message) {
	for _, m := range s.responses {
		if !m.interim() {
			out = append(out, m)
		}
	}
	if s.h2 != nil {
		for _, id := range s.h2.ended {
			out = append(out, s.h2.streams[id].message())
		}
	}
	return out
}

var (
	usualStats = regexp.MustCompile(`^(http|http1|http2|cluster|tcp|vhost)\.`)
	// Not compared unless a case asks: the admin API's own traffic, that to the management server, bytes (which count the
	// digits of times), times, histograms, and which library of HTTP/2 Envoy was built with.
	unusualStats = regexp.MustCompile(`nghttp2|^http\.admin\.|^cluster\.xds\.|_bytes|_length_ms|_rq_time|\.config_reload_time_ms$|\.update_time$`)
)

func (c *testCase) comparesStat(name string) bool {
	for _, re := range c.stats {
		if re.MatchString(name) {
			return true
		}
	}
	return usualStats.MatchString(name) && !unusualStats.MatchString(name)
}

// difference is a field in which the two sides do not agree.
type difference struct {
	where string // "subject: case"
	field string
	envoy string
	ours  string
}

func (d difference) String() string {
	return fmt.Sprintf("%s\n    %s\n      Envoy:  %s\n      Lateen: %s", d.where, d.field, shown(d.envoy), shown(d.ours))
}

func shown(s string) string {
	if s == "" {
		return "(none)"
	}
	if len(s) > 400 {
		s = s[:400] + "..."
	}
	return fmt.Sprintf("%q", s)
}

func compare(where string, envoy, ours outcome) []difference {
	fields := map[string]bool{}
	for k := range envoy {
		fields[k] = true
	}
	for k := range ours {
		fields[k] = true
	}
	var out []difference
	for _, f := range slices.Sorted(maps.Keys(fields)) {
		if envoy[f] != ours[f] {
			out = append(out, difference{where: where, field: f, envoy: envoy[f], ours: ours[f]})
		}
	}
	return out
}
