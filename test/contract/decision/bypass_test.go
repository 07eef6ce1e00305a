package decision

import (
	"fmt"
	"testing"
)

// bypassDir has tables whose rows are attempts to get past a policy.
const bypassDir = "../testdata/bypass"

// readBypass reads the tables of attacks. Each row must say why it is refused; a request that is refused must not have reached an application.
func readBypass() ([]*Table, error) {
	tables, err := ReadAll(bypassDir)
	if err != nil {
		return nil, err
	}
	for _, table := range tables {
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
	}
	return tables, nil
}

// TestBypass tries to get past policies in every way that we have heard of, at our proxy and at a real Envoy.
func TestBypass(t *testing.T) {
	runAll(t, &ports{bypassPorts}, readBypass)
}

// TestBypassCount keeps the tables from shrinking.
func TestBypassCount(t *testing.T) {
	tables, err := readBypass()
	if err != nil {
		t.Fatal(err)
	}
	attacks := 0
	for _, table := range tables {
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
