package rbac

import (
	"strings"

	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

// claims are the policies that need a text in the metadata, such as the subject of a token, by that text.
type claims struct {
	at   *xdsresource.MetadataMatcher // says where it stands
	key  string
	slot int
	list map[string][]int
}

// claimKey is where a rule of metadata looks.
func claimKey(m *xdsresource.MetadataMatcher) string {
	return m.Filter + "\x00" + strings.Join(m.Path, "\x00")
}

// exactClaim returns the text that a rule of metadata needs, if it needs one.
func exactClaim(r *xdsresource.RBACRule) (string, bool) {
	if r.Kind != xdsresource.RBACMetadata || r.Metadata.Invert || r.Metadata.Value.Kind != xdsresource.ValueString {
		return "", false
	}
	s := r.Metadata.Value.String
	return s.Value, s.Kind == xdsresource.StringExact && !s.IgnoreCase
}

// eachClaim calls f with the metadata that must be so for all of the rules to match, of which only one may be an alternative.
func eachClaim(r *xdsresource.RBACRule, f func(*xdsresource.MetadataMatcher, string)) {
	switch {
	case r.Kind == xdsresource.RBACAnd, r.Kind == xdsresource.RBACOr && len(r.Rules) == 1:
		for i := range r.Rules {
			eachClaim(&r.Rules[i], f)
		}
	default:
		if text, ok := exactClaim(r); ok {
			f(r.Metadata, text)
		}
	}
}

// frequencies counts how many policies need each text.
func frequencies(cfg *xdsresource.RBAC) map[string]int {
	out := map[string]int{}
	for i := range cfg.Policies {
		if p := cfg.Policies[i].Principals; len(p) == 1 {
			eachClaim(&p[0], func(m *xdsresource.MetadataMatcher, text string) { out[claimKey(m)+"\x00"+text]++ })
		}
	}
	return out
}

// rarest is what the fewest other policies need of all that a policy needs; nil: it needs nothing such.
func rarest(principals []xdsresource.RBACRule, common map[string]int) (out *xdsresource.MetadataMatcher) {
	if len(principals) != 1 {
		return nil
	}
	least := 0
	eachClaim(&principals[0], func(m *xdsresource.MetadataMatcher, text string) {
		if n := common[claimKey(m)+"\x00"+text]; out == nil || n < least {
			out, least = m, n
		}
	})
	return out
}

func (x *index) addClaim(m *xdsresource.MetadataMatcher, c *compiler, policy int) {
	key, text := claimKey(m), m.Value.String.Value
	for i := range x.byClaim {
		if x.byClaim[i].key == key {
			x.byClaim[i].list[text] = append(x.byClaim[i].list[text], policy)
			return
		}
	}
	x.byClaim = append(x.byClaim, claims{m, key, c.slot(m), map[string][]int{text: {policy}}})
}
