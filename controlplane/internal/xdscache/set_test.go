package xdscache

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	clusterpb "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	discoverypb "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/protobuf/proto"
)

func encode(t testing.TB, name string, altStat string) *Resource {
	t.Helper()
	r, err := Encode(name, &clusterpb.Cluster{Name: name, AltStatName: altStat})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestBytesAreWhatTheGeneratedTypesRead(t *testing.T) {
	a, b := encode(t, "a", "x"), encode(t, "b", "")
	var delta discoverypb.DeltaDiscoveryResponse
	raw := bytes.Join(b.AppendDelta(a.AppendDelta(nil)), nil)
	if err := proto.Unmarshal(raw, &delta); err != nil {
		t.Fatal(err)
	}
	var sotw discoverypb.DiscoveryResponse
	if err := proto.Unmarshal(bytes.Join(b.AppendSotW(a.AppendSotW(nil)), nil), &sotw); err != nil {
		t.Fatal(err)
	}
	for i, want := range []*Resource{a, b} {
		got := delta.Resources[i]
		if got.Name != want.Name || got.Version != want.Version {
			t.Errorf("delta resource %d is %q %q", i, got.Name, got.Version)
		}
		var c clusterpb.Cluster
		if err := got.Resource.UnmarshalTo(&c); err != nil || c.Name != want.Name {
			t.Errorf("delta resource %d holds %v, %v", i, &c, err)
		}
		if !proto.Equal(sotw.Resources[i], got.Resource) {
			t.Errorf("resource %d differs between SotW and delta", i)
		}
		if any, err := want.Any(); err != nil || !proto.Equal(any, got.Resource) {
			t.Errorf("Any() = %v, %v", any, err)
		}
	}
	if a.Version != encode(t, "a", "x").Version || a.Version == encode(t, "a", "y").Version {
		t.Error("the version does not follow the content")
	}
	if _, err := Encode("bad", &clusterpb.Cluster{Name: "\xff"}); err == nil {
		t.Error("a name that is not UTF-8 was encoded")
	}
}

// TestCompareProperty: applying the difference to the old state gives the new one.
func TestCompareProperty(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	random := func() *Set {
		var res []*Resource
		for range rnd.IntN(20) {
			res = append(res, Known(fmt.Sprint("r", rnd.IntN(12)), fmt.Sprint(rnd.IntN(3))))
		}
		return NewSet(res)
	}
	state := func(s *Set) map[string]string {
		m := map[string]string{}
		for _, r := range s.All() {
			m[r.Name] = r.Version
		}
		return m
	}
	for range 2000 {
		old, new := random(), random()
		got := state(old)
		d := Compare(old, new)
		for _, r := range d.Changed {
			if got[r.Name] == r.Version {
				t.Fatalf("%s is called changed and is not", r.Name)
			}
			got[r.Name] = r.Version
		}
		for _, r := range d.Removed {
			delete(got, r.Name)
		}
		if want := state(new); fmt.Sprint(got) != fmt.Sprint(want) {
			t.Fatalf("got %v, want %v", got, want)
		}
		if union := new.Union(old); union.Len() != len(state(old))+len(state(new))-len(state(old.Select(names(new)))) {
			t.Fatalf("union of %v and %v has %d", state(new), state(old), union.Len())
		}
		if d := Compare(new, new.Union(old)); slices.ContainsFunc(d.Changed, func(r *Resource) bool { return new.Get(r.Name) != nil }) || len(d.Removed) != 0 {
			t.Fatal("a union lost or changed what its first set had")
		}
	}
}

func names(s *Set) []string {
	var out []string
	for _, r := range s.All() {
		out = append(out, r.Name)
	}
	return out
}

func TestSet(t *testing.T) {
	s := NewSet([]*Resource{Known("c", "1"), Known("a", "1"), Known("b", "1"), Known("a", "2")})
	if got := fmt.Sprint(names(s)); got != "[a b c]" || s.Get("a").Version != "2" || s.Get("d") != nil {
		t.Errorf("set is %s", got)
	}
	if got := fmt.Sprint(names(s.Select([]string{"", "a", "c", "x"}))); got != "[a c]" {
		t.Errorf("Select gave %s", got)
	}
	if s.Without(func(n string) bool { return n == "x" }) != s {
		t.Error("Without copies for nothing")
	}
	if got := fmt.Sprint(names(s.Without(func(n string) bool { return n == "b" }))); got != "[a c]" {
		t.Errorf("Without gave %s", got)
	}
	var none *Set
	if none.Len() != 0 || none.Get("a") != nil || none.Version() == s.Version() || len(Compare(none, s).Changed) != 3 {
		t.Error("the nil set is not empty")
	}
}
