package runner

import (
	"strings"
	"testing"

	"github.com/lateen-mesh/lateen/workload"
)

// What is to be captured is wrong, or of nobody: the run is refused by the flag's name before anything starts.
func TestCaptureIsRefused(t *testing.T) {
	user := Config{CaptureUser: "65534", Discovery: "istiod:15012"}
	for want, change := range map[string]func(*Config){
		"--include-outbound-ip-ranges": func(c *Config) { c.IncludeRanges = "10.0.0.0" },
		"--exclude-outbound-ip-ranges": func(c *Config) { c.ExcludeRanges = "fd00::/x" },
		"--include-outbound-ports":     func(c *Config) { c.IncludePorts = "http" },
		"--exclude-outbound-ports":     func(c *Config) { c.ExcludePorts = "0" },
		"--include-inbound-ports":      func(c *Config) { c.IncludeInbound = "80,*" },
		"--exclude-inbound-ports":      func(c *Config) { c.ExcludeInbound = "x" },
		"give --capture-user too":      func(c *Config) { c.CaptureUser, c.CaptureDNS = "", "true" },
		"give --capture-user":          func(c *Config) { c.CaptureUser, c.ExcludePorts = "", "80" },
	} {
		cfg := user
		change(&cfg)
		if _, err := cfg.interception(workload.Workload{}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
}
