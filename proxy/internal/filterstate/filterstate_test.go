package filterstate

import "testing"

// TestFixed: what is read-only cannot be changed, and an object that can be does not become read-only.
func TestFixed(t *testing.T) {
	var s Set
	s.PutFixed("a", Text("first"))
	s.Put("a", Text("second"))
	s.PutFixed("a", Text("third"))
	s.Put("b", Text("first"))
	s.PutFixed("b", Text("second"))
	if a, b := String(s.Get("a")), String(s.Get("b")); a != "first" || b != "first" {
		t.Errorf("a is %q, b is %q", a, b)
	}
	s.Put("b", Text("third"))
	if b := String(s.Get("b")); b != "third" {
		t.Errorf("b is %q", b)
	}
}
