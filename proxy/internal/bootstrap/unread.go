package bootstrap

import (
	"fmt"

	bootstrapv3 "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
	accesslogv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/access_loggers/file/v3"

	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

// Unread names what a bootstrap asks for and does not get. Files that work everywhere have it, so
// that to refuse it would help nobody; whoever starts the proxy is told.
func Unread(m *bootstrapv3.Bootstrap) []xdsresource.Problem {
	var out []xdsresource.Problem
	note := func(path, format string, args ...any) {
		out = append(out, xdsresource.Problem{Path: path, Reason: fmt.Sprintf(format, args...)})
	}
	const noLog = "requests to the admin API are not logged"
	if p := m.GetAdmin().GetAccessLogPath(); p != "" && p != "/dev/null" { //nolint:staticcheck // the form in most files
		note("admin.access_log_path", noLog)
	}
	for i, l := range m.GetAdmin().GetAccessLog() {
		var f accesslogv3.FileAccessLog
		if l.GetTypedConfig().UnmarshalTo(&f) != nil || f.GetPath() != "/dev/null" {
			note(fmt.Sprintf("admin.access_log[%d]", i), noLog)
		}
	}
	for i, e := range m.GetBootstrapExtensions() {
		note(fmt.Sprintf("bootstrap_extensions[%d]", i), "%q (%s) is not started", e.GetName(), e.GetTypedConfig().MessageName())
	}
	if m.GetApplicationLogConfig() != nil {
		note("application_log_config", "the form of the log is set by --log-format")
	}
	return out
}
