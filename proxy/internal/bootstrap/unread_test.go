package bootstrap

import (
	"slices"
	"strings"
	"testing"

	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

// TestUnread: what working files have and we do not read is told, and does not keep the proxy from
// starting.
func TestUnread(t *testing.T) {
	const file = `"@type": type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog`
	for _, tc := range []struct {
		text string
		want []string
	}{
		{"{}", nil},
		{"admin: {access_log_path: /dev/null}", nil},
		{"admin: {access_log_path: /tmp/admin.log}", []string{"admin.access_log_path"}},
		{"admin: {access_log: [{name: x, typed_config: {" + file + ", path: /dev/null}}]}", nil},
		{"admin: {access_log: [{name: x, typed_config: {" + file + ", path: /tmp/log}}]}", []string{"admin.access_log[0]"}},
		{"bootstrap_extensions: [{name: a, typed_config: {" + file + "}}]\napplication_log_config: {log_format: {text_format: x}}",
			[]string{"bootstrap_extensions[0]", "application_log_config"}},
	} {
		var got []string
		_, err := Read(Source{Base: []byte(tc.text), Unread: func(p xdsresource.Problem) { got = append(got, p.Path) }}, xdsresource.NewDecoder(xdsresource.Extensions{}))
		if err != nil || !slices.Equal(got, tc.want) {
			t.Errorf("%s: %s, %v; want %v", tc.text, strings.Join(got, " "), err, tc.want)
		}
	}
}
