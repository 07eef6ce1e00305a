package model

import (
	"fmt"
	"testing"
)

// BenchmarkTableApply is the cost of one change to a table of a large mesh.
func BenchmarkTableApply(b *testing.B) {
	var edits []Edit[*Service]
	for i := range 10_000 {
		edits = append(edits, Edit[*Service]{Key: fmt.Sprintf("service-%05d.shop.svc.cluster.local/shop", i), Value: &Service{}})
	}
	t := Table[*Service]{}.Apply(edits)
	b.ReportAllocs()
	for b.Loop() {
		t = t.Apply(edits[5000:5001])
	}
}
