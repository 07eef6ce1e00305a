package header

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
)

func TestLookup(t *testing.T) {
	for id := Other + 1; id < Count; id++ {
		if id.String() == "" {
			t.Fatalf("ID %d has no name", id)
		}
		if got := Lookup(id.String()); got != id {
			t.Errorf("Lookup(%q) = %d, want %d", id.String(), got, id)
		}
	}
	for _, n := range []string{"", "x", "x-custom", "hosts", "x-envoy", "Host", "contentlength", "content-lengti"} {
		if got := Lookup(n); got != Other {
			t.Errorf("Lookup(%q) = %v, want Other", n, got)
		}
	}
	if Lookup("host") != Authority {
		t.Error("host is not :authority")
	}
	if k := KeyOf("X-Request-ID"); k.ID != XRequestID || k.Name != "x-request-id" {
		t.Errorf("KeyOf = %+v", k)
	}
}

func (m *Map) text() string {
	var sb strings.Builder
	for i := range m.Len() {
		_, n, v := m.At(i)
		fmt.Fprintf(&sb, "%s=%s;", n, v)
	}
	return sb.String()
}

func TestMap(t *testing.T) {
	var m Map
	m.AddString(Method, "GET")
	m.AddName("x-a", []byte("1"))
	m.AddName("x-b", []byte("2"))
	m.AddName("x-a", []byte("3"))
	m.Add(Server, []byte("s"))
	f := func(want string) {
		t.Helper()
		if got := m.text(); got != want {
			t.Fatalf("got  %s\nwant %s", got, want)
		}
		n := 0
		for i := range m.Len() {
			_, k, v := m.At(i)
			n += len(k) + len(v)
		}
		if n != m.Size() {
			t.Fatalf("Size %d, want %d", m.Size(), n)
		}
	}
	f(":method=GET;x-a=1;x-b=2;x-a=3;server=s;")
	if v, ok := m.Join(nil, KeyOf("x-a")); !ok || string(v) != "1,3" {
		t.Fatalf("Join = %q", v)
	}
	m.SetName("x-a", []byte("9"))
	f(":method=GET;x-a=9;x-b=2;server=s;")
	m.SetString(Server, "istio-envoy")
	m.RemoveName("x-b")
	f(":method=GET;x-a=9;server=istio-envoy;")
	m.AddBuilt(KeyOf("x-c"), append(m.Build(), strings.Repeat("z", 100)...))
	m.SetBuilt(KeyOf("x-a"), append(m.Build(), "built"...))
	f(":method=GET;x-a=built;server=istio-envoy;x-c=" + strings.Repeat("z", 100) + ";")
	var c Map
	m.CopyTo(&c)
	want := m.text()
	m.Reset()
	m.AddName("x-q", []byte("overwrites the arena"))
	if got := c.text(); got != want {
		t.Fatalf("copy changed: %s", got)
	}
	if _, ok := m.Get(Server); ok || m.Has(Method) || m.Value(Path) != nil {
		t.Fatal("Reset left something")
	}
}

// TestMapModel compares random operations with a plain list.
func TestMapModel(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	names := []string{"server", "date", "x-one", "x-two", "via"}
	for range 300 {
		var m Map
		var model [][2]string
		for step := range 40 {
			n, v := names[r.IntN(len(names))], fmt.Sprint("v", step)
			switch r.IntN(4) {
			case 0:
				m.AddName(n, []byte(v))
				model = append(model, [2]string{n, v})
			case 1:
				m.SetName(n, []byte(v))
				var out [][2]string
				done := false
				for _, f := range model {
					if f[0] != n {
						out = append(out, f)
					} else if !done {
						out, done = append(out, [2]string{n, v}), true
					}
				}
				if !done {
					out = append(out, [2]string{n, v})
				}
				model = out
			case 2:
				m.RemoveName(n)
				var out [][2]string
				for _, f := range model {
					if f[0] != n {
						out = append(out, f)
					}
				}
				model = out
			case 3:
				m.AddBuilt(KeyOf(n), append(m.Build(), v...))
				model = append(model, [2]string{n, v})
			}
			var sb strings.Builder
			for _, f := range model {
				fmt.Fprintf(&sb, "%s=%s;", f[0], f[1])
			}
			if got := m.text(); got != sb.String() {
				t.Fatalf("got  %s\nwant %s", got, sb.String())
			}
		}
	}
}

func TestNoAllocations(t *testing.T) {
	var m Map
	k := KeyOf("x-custom")
	v := []byte("value")
	work := func() {
		m.Reset()
		m.AddString(Method, "GET")
		m.Set(XRequestID, v)
		m.AddKey(k, v)
		m.SetBuilt(k, append(m.Build(), v...))
		m.GetName("x-custom")
		m.Remove(Method)
	}
	work()
	if n := testing.AllocsPerRun(100, work); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// TestSetAgreesWithFields: after any changes, what the set of names says is what the fields say.
func TestSetAgreesWithFields(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	var m Map
	for range 20_000 {
		id := ID(1 + rng.IntN(int(Count)-1))
		switch rng.IntN(8) {
		case 0, 1, 2:
			m.AddString(id, "v")
		case 3:
			m.Remove(id)
		case 4:
			if m.Len() > 0 {
				m.RemoveAt(rng.IntN(m.Len()))
			}
		case 5:
			m.SetString(id, "w")
		case 6:
			m.RemoveSet(SetOf(id, ID(1+rng.IntN(int(Count)-1))))
		case 7:
			if rng.IntN(200) == 0 {
				m.Reset()
			}
		}
		has := false
		for i := range m.Len() {
			at, _, _ := m.At(i)
			has = has || at == id
		}
		v, ok := m.Get(id)
		if m.Has(id) != has || ok != has || (v != nil) != has || (m.Find(Key{ID: id}, 0) >= 0) != has {
			t.Fatalf("%s: in the fields %v, Has %v, Get %v", id, has, m.Has(id), ok)
		}
	}
}
