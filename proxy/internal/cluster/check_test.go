package cluster_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/lateen-mesh/lateen/proxy/internal/proxytest"
)

// TestNamedHealthCheck: a check with a name has statistics of its own, and every sink gets its
// events.
func TestNamedHealthCheck(t *testing.T) {
	dir := t.TempDir()
	old, sink := filepath.Join(dir, "old"), filepath.Join(dir, "sink")
	p := proxytest.Start(t, proxytest.Config{
		Upstream: proxytest.Server(t, proxytest.Echo),
		UpstreamCluster: `
health_checks:
- name: mine
  timeout: 1s
  interval: 0.01s
  no_traffic_interval: 0.01s
  unhealthy_threshold: 1
  healthy_threshold: 1
  always_log_health_check_success: true
  event_log_path: ` + old + `
  event_logger:
  - name: file
    typed_config: {"@type": type.googleapis.com/envoy.extensions.health_check.event_sinks.file.v3.HealthCheckEventFileSink, event_log_path: ` + sink + `}
  http_health_check: {path: /}
`,
	})
	proxytest.Eventually(t, func() error {
		if p.Stat("cluster.up.health_check.name.mine.success") < 2 || p.Stat("cluster.up.health_check.name.mine.healthy") != 1 {
			return fmt.Errorf("%d successes", p.Stat("cluster.up.health_check.name.mine.success"))
		}
		for _, path := range []string{old, sink} {
			raw, err := os.ReadFile(path)
			if text := string(raw); err != nil || !strings.Contains(text, `"add_healthy_event":{"first_check":true}`) || !strings.Contains(text, `"successful_health_check_event":{}`) {
				return fmt.Errorf("%s has %q, %v", path, text, err)
			}
		}
		return nil
	})
}
