package sample

import (
	"encoding/json"
	"testing"
)

// What is read as a fault is valid, and survives being written and read again.
func FuzzFault(f *testing.F) {
	for _, seed := range []string{`{"rate":0.5,"status":500}`, `{"delay":"2s","rate":1}`, `{}`, `{"rate":1e309}`, `{"delay":"-1s"}`, `[]`, `{"rate":1,"delay":"9999999h"}`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		var fault Fault
		if err := json.Unmarshal(raw, &fault); err != nil {
			return
		}
		if err := fault.Validate(); err != nil {
			t.Fatalf("%s was read: %v", raw, err)
		}
		again, err := json.Marshal(fault)
		if err != nil {
			t.Fatal(err)
		}
		var back Fault
		if err := json.Unmarshal(again, &back); err != nil || back != fault {
			t.Fatalf("%s became %s: %v", raw, again, err)
		}
	})
}
