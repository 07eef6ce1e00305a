package hcm

import (
	"regexp"
	"slices"
	"strings"
	"testing"

	rbacv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/rbac/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/lateen-mesh/lateen/proxy/internal/conn"
	"github.com/lateen-mesh/lateen/proxy/internal/header"
	filter "github.com/lateen-mesh/lateen/proxy/internal/httpfilter/rbac"
	"github.com/lateen-mesh/lateen/proxy/internal/rbac"
	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

// normalizations are meshConfig.pathNormalization's, as the control plane writes them.
var normalizations = map[string]*xdsresource.HTTPConnectionManager{
	"NONE":                     {},
	"BASE":                     {NormalizePath: true},
	"MERGE_SLASHES":            {NormalizePath: true, MergeSlashes: true},
	"DECODE_AND_MERGE_SLASHES": {NormalizePath: true, MergeSlashes: true, EscapedSlashes: xdsresource.EscapedSlashesUnescapeForward},
}

// denied are paths that a policy keeps everybody from, in each form of value that AuthorizationPolicies have, and one that an ALLOW policy leaves.
const denied = `{"rules": {"action": "DENY", "policies": {
	"exact": {"permissions": [{"urlPath": {"path": {"exact": "/admin"}}}], "principals": [{"any": true}]},
	"prefix": {"permissions": [{"urlPath": {"path": {"prefix": "/admin/"}}}], "principals": [{"any": true}]},
	"suffix": {"permissions": [{"urlPath": {"path": {"suffix": ".key"}}}], "principals": [{"any": true}]},
	"not": {"permissions": [{"notRule": {"urlPath": {"path": {"prefix": "/"}}}}], "principals": [{"any": true}]}}}}`

var (
	escapedSlashes = regexp.MustCompile(`(?i)%2f|%5c`)
	escapes        = regexp.MustCompile(`%[0-9A-Fa-f]{2}`)
	slashes        = regexp.MustCompile(`//+`)
)

// application is the path that a server finds which normalises as the option says, written for this test and without the proxy's code.
func application(option, path string) string {
	if option == "NONE" {
		return path
	}
	if option == "DECODE_AND_MERGE_SLASHES" {
		path = escapedSlashes.ReplaceAllStringFunc(path, func(e string) string {
			if e[1] == '2' {
				return "/"
			}
			return `\`
		})
	}
	path = escapes.ReplaceAllStringFunc(path, func(e string) string {
		c, _ := unhex(e[1], e[2])
		if strings.IndexByte("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~", c) >= 0 { // RFC 3986, 2.3
			return string(rune(c))
		}
		return e
	})
	var out []string
	segments := strings.Split(strings.ReplaceAll(path, `\`, "/")[1:], "/")
	for i, s := range segments {
		last := i == len(segments)-1
		if s != "." && s != ".." {
			out = append(out, s)
			continue
		}
		if s == ".." && len(out) > 0 {
			out = out[:len(out)-1]
		}
		if last {
			out = append(out, "")
		}
	}
	path = "/" + strings.Join(out, "/")
	if option != "BASE" {
		path = slashes.ReplaceAllString(path, "/")
	}
	return path
}

// FuzzPolicyPath: what policies decide about is the path that the application gets, under each normalisation: no path that they let pass is, to a server that normalises the
// same way, one that they refuse.
func FuzzPolicyPath(f *testing.F) {
	for _, seed := range []string{
		"admin", "admin/x", "a/../admin", "./admin", "%61dmin", "admin%2fx", "%2e%2e/admin", "x%5c..%5cadmin", "//admin", "/a//../admin", "%2%65%2%65/admin", "admin;x", "a.k%65y", "admin?x",
		"%%36%31dmin", "a/..%2fadmin", `a\..\admin`, "admin%00", "..", "a/.", "%252fadmin",
	} {
		f.Add("/" + seed)
	}
	m := &rbacv3.RBAC{}
	if err := protojson.Unmarshal([]byte(denied), m); err != nil {
		f.Fatal(err)
	}
	a, err := anypb.New(m)
	if err != nil {
		f.Fatal(err)
	}
	cfg, err := filter.ParseConfig(nil, a)
	if err != nil {
		f.Fatal(err)
	}
	engine := cfg.(*filter.Config).Rules
	allows := func(path string) bool {
		var h header.Map
		h.AddString(header.Path, path)
		d := engine.Decide(&rbac.Input{Headers: &h, Conn: &conn.Info{}})
		return d.Allowed
	}
	if allows("/admin") || allows("/admin/x") || allows("/a.key") || !allows("/a") {
		f.Fatal("the policies do not refuse what they are to refuse")
	}
	f.Fuzz(func(t *testing.T, raw string) {
		// What the parsers let in: no controls, no blanks, nothing that begins a query.
		if !strings.HasPrefix(raw, "/") || slices.ContainsFunc([]byte(raw), func(c byte) bool { return c <= ' ' || c == 0x7f || c == '?' || c == '#' }) {
			return
		}
		for option, cfg := range normalizations {
			sent, _, ok := normal(cfg, []byte(raw))
			if !ok {
				continue
			}
			again, _, ok := normal(cfg, sent)
			if !ok || string(again) != string(sent) {
				t.Errorf("%s: %q becomes %q, and that %q", option, raw, sent, again)
			}
			gets := application(option, string(sent))
			if gets != string(sent) {
				t.Errorf("%s: %q is %q to policies, and %q to the application", option, raw, sent, gets)
			}
			if allows(string(sent)) && !allows(gets) {
				t.Errorf("%s: %q passes as %q, and is %q to the application, which may not be reached", option, raw, sent, gets)
			}
			if option == "NONE" && string(sent) != raw {
				t.Errorf("%q is changed to %q, and nothing was to be", raw, sent)
			}
		}
	})
}
