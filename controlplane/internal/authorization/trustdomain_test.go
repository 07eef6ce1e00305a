package authorization

import (
	"slices"
	"testing"
)

func TestAliases(t *testing.T) {
	for _, c := range []struct {
		name    string
		domains []string
		value   string
		want    []string
	}{
		{"cluster.local is the mesh's domain", []string{"td"}, "cluster.local/ns/a/sa/b", []string{"td/ns/a/sa/b"}},
		{"and its aliases", []string{"td", "old"}, "cluster.local/ns/a/sa/b", []string{"td/ns/a/sa/b", "old/ns/a/sa/b"}},
		{"an alias", []string{"td", "old"}, "old/ns/a/sa/b", []string{"td/ns/a/sa/b", "old/ns/a/sa/b"}},
		{"another domain", []string{"td", "old"}, "other/ns/a/sa/b", []string{"other/ns/a/sa/b"}},
		{"any domain", []string{"td", "old"}, "*/ns/a/sa/b", []string{"*/ns/a/sa/b"}},
		{"anybody", []string{"td", "old"}, "*", []string{"*"}},
		{"the end of some", []string{"td", "a-old", "b-old"}, "*-old/ns/a/sa/b", []string{"td/ns/a/sa/b", "*-old/ns/a/sa/b"}},
		{"the end of none", []string{"td", "old"}, "*-x/ns/a/sa/b", []string{"*-x/ns/a/sa/b"}},
		{"the beginning of a principal", []string{"td", "old"}, "td/ns/a/*", []string{"td/ns/a/*"}},
		{"a star for the account", []string{"td", "old"}, "td/ns/a/sa/*", []string{"td/ns/a/sa/*", "old/ns/a/sa/*"}},
		{"a domain alone is no principal", []string{"td", "old"}, "td", []string{"td"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := (&generator{trustDomains: c.domains}).aliases(c.value); !slices.Equal(got, c.want) {
				t.Errorf("%q, want %q", got, c.want)
			}
		})
	}
}
