package translate

import (
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/lateen-mesh/lateen/pkg/nametable"
)

func parseTable(t *testing.T, r Resource) *nametable.Table {
	t.Helper()
	b, err := proto.Marshal(r.Build())
	if err != nil {
		t.Fatal(err)
	}
	table, err := nametable.Parse(b)
	if err != nil {
		t.Fatal(err)
	}
	return table
}

// An agent that is told host by host knows what one knows that is told all at once.
func TestNamesAreTheTable(t *testing.T) {
	const dir = "testdata/dns"
	_, s := load(t, dir)
	for _, node := range []string{"v4", "v6", "dual", "other"} {
		p := readNode(t, dir+"/node-"+node+".json").proxy(t)
		want, got := parseTable(t, NameTable(s, p)).Names, map[string]nametable.Info{}
		for _, r := range Names(s, p) {
			table := parseTable(t, r)
			got[r.Name] = *table.Own
			for name, info := range table.Names {
				got[name] = info
			}
			if one := NamesOf(s, p, r.Name); len(one) != 1 || one[0].Key != r.Key {
				t.Errorf("%s: %s by itself is %v", node, r.Name, one)
			}
		}
		if len(want) == 0 || len(got) != len(want) {
			t.Errorf("%s: %d names, want %d", node, len(got), len(want))
		}
		for name, info := range want {
			if g, ok := got[name]; !ok || len(g.IPs) != len(info.IPs) {
				t.Errorf("%s: %s is %v, want %v", node, name, g, info)
			}
		}
	}
	if got := NamesOf(s, readNode(t, dir+"/node-v4.json").proxy(t), "nobody.example"); got != nil {
		t.Errorf("a host that nobody knows: %v", got)
	}
}
