package coverage

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/reflect/protoreflect"
	security "istio.io/api/security/v1beta1"

	"github.com/lateen-mesh/lateen/config/schema"
	"github.com/lateen-mesh/lateen/test/contract/decision"
)

// formsTable has one rule for each form of each field, in the policy "forms": a row that is refused by rule N shows a request that matches it, and the rows for
// its path that pass one that does not.
const formsTable = "policy-forms"

// TestEveryFormOfAPolicyDecides walks the messages of an AuthorizationPolicy's rules: of each field of a source and of an operation there must be rules with
// whole values, beginnings, ends and presence, where the field takes them, and for each rule a row that it decides. All rows name the rule that decides, or that
// none does.
func TestEveryFormOfAPolicyDecides(t *testing.T) {
	tables, err := decision.ReadAll(decision.Dir)
	if err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(tables, func(t *decision.Table) bool { return t.Name == formsTable })
	if i < 0 {
		t.Fatalf("there is no table %s", formsTable)
	}
	table := tables[i]
	decides, passes := map[string]bool{}, 0
	for _, r := range table.Rows {
		switch r.By {
		case "":
			t.Errorf("%s: does not say which rule decides", r.Name)
		case "-":
			passes++
		default:
			decides[r.By] = true
		}
	}
	if len(table.Rows) < 200 || passes < 100 {
		t.Errorf("%d rows, of which %d pass; want 200 and 100", len(table.Rows), passes)
	}
	policy := table.Objects.Get(schema.AuthorizationPolicy, "default", "forms").Spec.(*security.AuthorizationPolicy)
	shown := map[string]bool{} // "field form"
	note := func(name string, values []string) {
		for _, v := range values {
			shown[name+" "+form(v)] = true
		}
	}
	each := func(m protoreflect.Message) {
		m.Range(func(fd protoreflect.FieldDescriptor, v protoreflect.Value) bool {
			for i := range v.List().Len() {
				note(fd.JSONName(), []string{v.List().Get(i).String()})
			}
			return true
		})
	}
	for n, r := range policy.Rules {
		// A rule that no client here can match has only a row that it does not decide.
		if by := fmt.Sprintf("ns[default]-policy[forms]-rule[%d]", n); !decides[by] && !neverDecides(r) {
			t.Errorf("%s: no row shows that it decides", by)
		}
		for _, f := range r.From {
			each(f.Source.ProtoReflect())
		}
		for _, o := range r.To {
			each(o.Operation.ProtoReflect())
		}
		for _, c := range r.When {
			key, _, _ := strings.Cut(c.Key, "[")
			note(key, c.Values)
			note("not "+key, c.NotValues)
		}
	}
	addresses, whole := []string{"whole"}, []string{"whole", "beginning", "end", "presence"}
	forms := map[string][]string{
		"ipBlocks": addresses, "remoteIpBlocks": addresses, "ports": addresses, "serviceAccounts": addresses, // no stars, as in Istio
	}
	for _, m := range []protoreflect.Message{(&security.Source{}).ProtoReflect(), (&security.Operation{}).ProtoReflect()} {
		fields := m.Descriptor().Fields()
		for i := range fields.Len() {
			name := fields.Get(i).JSONName()
			positive := name
			if rest, ok := strings.CutPrefix(name, "not"); ok {
				positive = strings.ToLower(rest[:1]) + rest[1:]
			}
			want := forms[positive]
			if want == nil {
				want = whole
			}
			for _, f := range want {
				if !shown[name+" "+f] {
					t.Errorf("%s: no rule has a value of the form %q", name, f)
				}
			}
		}
	}
	for _, key := range []string{
		"request.headers", "source.ip", "remote.ip", "source.namespace", "source.principal", "source.serviceAccount", "request.auth.principal", "request.auth.audiences",
		"request.auth.presenter", "request.auth.claims", "destination.ip", "destination.port", "connection.sni", "experimental.envoy.filters.http.rbac",
	} {
		for _, name := range []string{key, "not " + key} {
			if !slices.ContainsFunc(whole, func(f string) bool { return shown[name+" "+f] }) {
				t.Errorf("no rule has the condition %s", name)
			}
		}
	}
}

// form is how a value is compared.
func form(v string) string {
	switch {
	case v == "*":
		return "presence"
	case strings.HasPrefix(v, "*"):
		return "end"
	case strings.HasSuffix(v, "*"):
		return "beginning"
	}
	return "whole"
}

// neverDecides reports whether no client of the table can be what a rule asks for: its address is 10.99.0.1, the application's 10.10.7.1, each request has a
// host, a method and a path, and no filter leaves the metadata.
func neverDecides(r *security.Rule) bool {
	for _, f := range r.From {
		if slices.Contains(f.Source.NotIpBlocks, "10.99.0.1") || slices.Contains(f.Source.IpBlocks, "2001:db8::/32") {
			return true
		}
	}
	for _, o := range r.To {
		op := o.Operation
		if slices.Contains(op.NotHosts, "*") || slices.Contains(op.NotMethods, "*") || slices.Contains(op.NotPaths, "*") ||
			slices.ContainsFunc(op.NotPaths, func(p string) bool { return strings.HasSuffix(p, "{**}") }) {
			return true
		}
	}
	for _, c := range r.When {
		if slices.Contains(c.NotValues, "10.99.0.0/16") || slices.Contains(c.NotValues, "10.10.7.0/24") || strings.HasSuffix(c.Key, "[no_such_key]") && len(c.Values) > 0 ||
			strings.HasPrefix(c.Key, "experimental.") && len(c.NotValues) > 0 {
			return true
		}
	}
	return false
}
