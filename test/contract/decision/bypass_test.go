package decision

import (
	"fmt"
	"testing"
)

// bypassDir has tables whose rows are attempts to get past a policy.
const bypassDir = "../testdata/bypass"

// readBypass reads a table of attacks. Each row must say why it is refused; a request that is refused must not have reached an application.
func readBypass(path string) (*Table, error) {
	table, err := Read(path)
	if err != nil {
		return nil, err
	}
	honest := 0
	for i := range table.Rows {
		r := &table.Rows[i]
		if r.Honest {
			honest++
			continue
		}
		refused := r.Status >= 300 || r.End != ""
		if r.Seen == nil && (!refused || r.By+r.Details+r.Flags+r.Alert == "" || r.By == "-") {
			return nil, fmt.Errorf("%s: row %q does not say that it is refused and why (by, details, flags or alert), nor what the application sees instead", table.Name, r.Name)
		}
		if refused && r.Tries == nil {
			r.Tries = new(int)
		}
	}
	if honest == 0 {
		return nil, fmt.Errorf("%s: no honest row: nothing shows that its policies let anything pass", table.Name)
	}
	return table, nil
}

// TestBypass tries to get past policies in every way that we have heard of, at our proxy and at a real Envoy.
func TestBypass(t *testing.T) {
	runAll(t, &ports{bypassPorts}, bypassDir, readBypass)
}

// TestBypassCount keeps the tables from shrinking.
func TestBypassCount(t *testing.T) {
	attacks := 0
	for _, path := range tablesOf(t, bypassDir) {
		table, err := readBypass(path)
		if err != nil {
			t.Fatal(err)
		}
		for i := range table.Rows {
			if !table.Rows[i].Honest {
				attacks++
			}
		}
	}
	if attacks < 100 {
		t.Errorf("%d attacks, want 100 or more", attacks)
	}
}
