package validate

import (
	"cmp"
	"strings"
	"time"
	"unicode"

	"google.golang.org/protobuf/types/known/durationpb"
	mesh "istio.io/api/mesh/v1alpha1"

	"github.com/lateen-mesh/lateen/config/internal/field"
)

// ProxyConfig returns the broken rules of a ProxyConfig in MeshConfig's form, with fields from its root.
func ProxyConfig(pc *mesh.ProxyConfig) []Problem {
	c := &checker{}
	c.proxyConfig(nil, pc)
	return c.problems
}

// Bounds of what agents take of a mesh.
const (
	maxAgentDuration = 24 * time.Hour
	maxFlushKB       = 2048
	maxNodeCluster   = 1024 // bytes
	maxHostPath      = 4096 // bytes
)

func (c *checker) proxyConfig(at *field.Path, pc *mesh.ProxyConfig) {
	for _, d := range []struct {
		name  string
		value *durationpb.Duration
	}{
		{"drainDuration", pc.GetDrainDuration()}, {"terminationDrainDuration", pc.GetTerminationDrainDuration()}, {"fileFlushInterval", pc.GetFileFlushInterval()},
	} {
		c.duration(at.Child(d.name), d.value, notNegative)
		if d.value.AsDuration() > maxAgentDuration {
			c.add(at.Child(d.name), "%v is longer than a day", d.value.AsDuration())
		}
	}
	if name := pc.GetServiceCluster(); len(name) > maxNodeCluster || strings.ContainsFunc(name, unicode.IsControl) {
		c.add(at.Child("serviceCluster"), "must have no control characters and be no longer than %d bytes", maxNodeCluster)
	}
	if path := pc.GetCustomConfigFile(); len(path) > maxHostPath || strings.ContainsFunc(path, unicode.IsControl) {
		c.add(at.Child("customConfigFile"), "must have no control characters and be no longer than %d bytes", maxHostPath)
	}
	if n := pc.GetFileFlushMinSizeKb(); n > maxFlushKB {
		c.add(at.Child("fileFlushMinSizeKb"), "%d is too much; the most is %d", n, maxFlushKB)
	}
	taken := map[int32]string{15001: "redirected connections", 15006: "redirected connections", 15021: "the proxy's health", 15053: "the agent's name server", 15080: "requests to an explicit proxy", 15090: "the proxy's metrics"}
	for _, p := range []struct {
		name        string
		port, usual int32
	}{{"proxyAdminPort", pc.GetProxyAdminPort(), 15000}, {"statusPort", pc.GetStatusPort(), 15020}} {
		c.port(at.Child(p.name), int64(p.port), true)
		port := cmp.Or(p.port, p.usual)
		if by := taken[port]; by != "" {
			c.add(at.Child(p.name), "port %d is that of %s; choose another", port, by)
		}
		taken[port] = p.name
	}
	c.probe(at.Child("readinessProbe"), pc.GetReadinessProbe())
	if n := pc.GetConcurrency(); n.GetValue() < 0 {
		c.add(at.Child("concurrency"), "%d is negative", n.GetValue())
	}
	c.connectionSettings(at.Child("connectionSettings"), pc.GetConnectionSettings())
}
