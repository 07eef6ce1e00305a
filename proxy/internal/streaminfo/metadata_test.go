package streaminfo

import (
	"fmt"
	"testing"
)

// TestMetadata: what a request left is not seen by the next, and costs that one nothing.
func TestMetadata(t *testing.T) {
	var i Info
	value := any("x")
	request := func() {
		i.Reset()
		if len(i.Metadata) != 0 {
			t.Fatalf("left over: %v", i.Metadata)
		}
		i.SetMetadata("a", "one", value)
		i.SetMetadata("b", "one", value)
		if len(i.Metadata["a"]) != 1 || len(i.Metadata["b"]) != 1 {
			t.Fatalf("left over: %v", i.Metadata)
		}
		i.SetMetadata("a", "two", value)
	}
	request()
	i.Reset()
	i.SetMetadata("b", "two", value)
	if _, there := i.Metadata["a"]; there || len(i.Metadata["b"]) != 1 {
		t.Errorf("left over: %v", i.Metadata)
	}
	if n := testing.AllocsPerRun(100, request); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// TestMetadataIsBounded: neither a filter that is told much nor many filters keep memory for good.
func TestMetadataIsBounded(t *testing.T) {
	var i Info
	for n := range maxEntries + 1 {
		i.SetMetadata("a", fmt.Sprint(n), n)
	}
	i.Reset()
	if len(i.metadata.inner) != 0 {
		t.Errorf("a map of %d entries is kept", maxEntries+1)
	}
	for n := range maxFilters + 1 {
		i.SetMetadata(fmt.Sprint(n), "a", n)
	}
	i.Reset()
	if len(i.metadata.inner) != 0 || i.Metadata != nil {
		t.Errorf("maps of %d filters are kept", maxFilters+1)
	}
	i.SetMetadata("a", "b", "c")
	if i.Metadata["a"]["b"] != "c" {
		t.Error("nothing can be set any more")
	}
}

// TestMetadataOfAConnection: what belongs to somebody else is not taken back.
func TestMetadataOfAConnection(t *testing.T) {
	connection := map[string]map[string]any{"a": {"b": "c"}}
	i := Info{Metadata: connection}
	i.SetMetadata("a", "d", "e")
	i.SetMetadata("f", "g", "h")
	i.Reset()
	i.SetMetadata("f", "i", "j")
	if len(connection["a"]) != 2 || len(connection["f"]) != 1 || len(i.Metadata["f"]) != 1 {
		t.Errorf("the connection's: %v, the new stream's: %v", connection, i.Metadata)
	}
}
