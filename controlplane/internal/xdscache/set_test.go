package xdscache

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"testing"
	"unsafe"

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
	set := NewSet([]*Resource{b, a})
	first, again := set.Delta(), set.Delta()
	if !bytes.Equal(first, raw) || unsafe.SliceData(first) != unsafe.SliceData(again) {
		t.Error("the set's bytes are not its resources', or are made each time")
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
		if union := new.Union(old); union.Len() != len(state(old))+len(state(new))-len(state(old.Select(NewNames(names(new))))) {
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
	if got := fmt.Sprint(names(s.Select(NewNames([]string{"x", "", "a", "c"})))); got != "[a c]" {
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

// TestSharing: what is equal stays the same, so that proxies share it and comparing costs nothing.
func TestSharing(t *testing.T) {
	s := NewSet([]*Resource{Known("a", "1"), Known("b", "1"), Known("c", "1")})
	if s.Select(NewNames([]string{"a", "b", "c", "d"})) != s {
		t.Error("selecting everything copies")
	}
	if got := names(s.Select(NewNames([]string{"a", "b"}))); fmt.Sprint(got) != "[a b]" {
		t.Errorf("selecting the first gave %v", got)
	}
	if got := names(s.Select(NewNames([]string{"b", "c"}))); fmt.Sprint(got) != "[b c]" {
		t.Errorf("selecting the last gave %v", got)
	}
	if s.Union(s.Select(NewNames([]string{"b"}))) != s || s.Union(nil) != s {
		t.Error("a union that adds nothing copies")
	}
	if got := s.Missing(NewNames([]string{"a", "aa", "c", "d"})).All(); fmt.Sprint(got) != "[aa d]" {
		t.Errorf("missing are %v", got)
	}
	all := func(string) bool { return true }
	if s.Held([]Stated{{"c", "1"}, {"a", "1"}, {"b", "1"}}, all) != s {
		t.Error("a client that has everything does not have the set itself")
	}
	held := s.Held([]Stated{{"a", "1"}, {"a", "1"}, {"b", "2"}}, all)
	if fmt.Sprint(names(held)) != "[a b]" || held.Get("a") != s.Get("a") || held.Get("b").Version != "2" {
		t.Errorf("held is %v", names(held))
	}
	if got := names(s.Held([]Stated{{"a", "1"}, {"b", "1"}}, func(n string) bool { return n != "a" })); fmt.Sprint(got) != "[b]" {
		t.Errorf("of what is wanted, held is %v", got)
	}
}

func TestNames(t *testing.T) {
	n := NewNames([]string{"c", "a", "c", "b"})
	for _, tt := range []struct {
		name string
		got  *Names
		want string
	}{
		{"NewNames", n, "[a b c]"},
		{"Minus", n.Minus(NewNames([]string{"b", "x"})), "[a c]"},
		{"Minus all", n.Minus(n), "[]"},
		{"Union", n.Union(NewNames([]string{"x", "b", "0"})), "[0 a b c x]"},
		{"Union with none", (*Names)(nil).Union(n), "[a b c]"},
	} {
		if got := fmt.Sprint(tt.got.All()); got != tt.want {
			t.Errorf("%s: %s, want %s", tt.name, got, tt.want)
		}
	}
	if n.Minus(NewNames([]string{"x"})) != n || n.Union(NewNames([]string{"a"})) != n {
		t.Error("names are copied for nothing")
	}
	if !n.Has("b") || n.Has("bb") || (*Names)(nil).Has("a") {
		t.Error("Has is wrong")
	}
	var table NameTable
	one := table.Of(NewNames([]string{"a", "b"}))
	if table.Of(NewNames([]string{"b", "a"})) != one || table.Of(n) == one {
		t.Error("equal names are not one")
	}
	runtime.KeepAlive(one)
}

// TestFewOfMany: a few names are found in a large set as they are in a small one.
func TestFewOfMany(t *testing.T) {
	var res []*Resource
	for i := range 200 {
		res = append(res, Known(fmt.Sprintf("r%03d", i), "1"))
	}
	s, few := NewSet(res), NewNames([]string{"a", "r000", "r100", "r100x", "r199", "z"})
	if got := fmt.Sprint(names(s.Select(few))); got != "[r000 r100 r199]" {
		t.Errorf("Select gave %s", got)
	}
	if got := fmt.Sprint(s.Missing(few).All()); got != "[a r100x z]" {
		t.Errorf("Missing gave %s", got)
	}
}
