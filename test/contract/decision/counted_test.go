package decision

import (
	"bytes"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// proxyAdmin is where startProxy has the admin API, of whichever proxy.
const proxyAdmin = "http://127.0.0.1:15000"

// policyDenied is the counter of a policy's refusals.
var policyDenied = regexp.MustCompile(`^http\..*\.rbac\.policy\.(.*)\.denied: (\d+)$`)

// policyLabel is the same for Prometheus, which our proxy names by a label whatever the policy's name and the connection manager's prefix have in them.
var policyLabel = regexp.MustCompile(`^envoy_http_rbac_policy_denied\{envoy_rbac_policy_name="([^"]*)",envoy_http_conn_manager_prefix="[^"]*"\} (\d+)$`)

// checkCounted compares the statistics of the proxy that runs with its access log: of each rule that refused requests there is a counter which says so.
func (w *world) checkCounted(t *testing.T, kind proxyKind, log map[string]entry) {
	t.Helper()
	want := map[string]int{}
	for _, e := range log {
		// The details of a request stand before those of its connection.
		if rule := decidedBy(strings.Fields(e.details)[0]); rule != "-" && rule != "none" {
			want[rule]++
		}
	}
	if len(want) == 0 {
		return
	}
	pages := map[string]*regexp.Regexp{"/stats": policyDenied}
	if !kind.differs {
		pages["/stats/prometheus"] = policyLabel
	}
	for page, line := range pages {
		body, err := get(t.Context(), proxyAdmin+page)
		if err != nil {
			t.Fatal(err)
		}
		got := map[string]int{}
		for text := range bytes.Lines(body) {
			if m := line.FindSubmatch(bytes.TrimSuffix(text, []byte("\n"))); m != nil {
				n, err := strconv.Atoi(string(m[2]))
				if err != nil {
					t.Fatal(err)
				}
				got[string(m[1])] += n
			}
		}
		for rule, n := range want {
			if got[rule] < n {
				t.Errorf("%s says that %s refused %d requests, the access log has %d", page, rule, got[rule], n)
			}
		}
	}
}
