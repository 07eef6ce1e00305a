package xdsserver

import (
	"fmt"
	"strings"
	"testing"
)

// TestLag plays sessions and asks which views their clients serve: "" when the view is served, else the type that is lacking, with "!" when it
// was refused, or "unsent".
func TestLag(t *testing.T) {
	for _, tt := range []struct {
		name, start string
		sotw        bool
		script      string // commands of harness.do; "lag VIEW => WANT" asks
	}{
		{name: "delta: a view is served when all of it is acknowledged", start: "cds:a=1 lds:l=1", script: `
			lag 1 => unsent
			sub cds
			sub lds
			lag 1 => Cluster
			ack cds
			lag 1 => Listener
			ack lds
			lag 1 =>
			lag 2 => unsent
			view 2 cds:a=2 lds:l=1
			lag 1 =>
			lag 2 => Cluster
			ack cds
			lag 2 =>`},
		{name: "delta: what does not concern a client it serves at once", start: "cds:a=1 eds:a=1,b=1", script: `
			sub cds
			ack cds
			sub eds a
			ack eds
			view 2 cds:a=1 eds:a=1,b=2
			lag 2 =>`},
		{name: "delta: not to answer is not to serve, though the session goes on", start: "cds:a=1 lds:l=1", script: `
			sub cds
			sub lds
			wait 6
			ack lds
			lag 1 => Cluster`},
		{name: "delta: a refused resource stays refused while others are accepted", start: "cds:a=1,b=1", script: `
			sub cds
			ack cds
			view 2 cds:a=2,b=1
			nack cds
			lag 2 => Cluster!
			view 3 cds:a=2,b=3
			ack cds
			lag 2 => Cluster!
			lag 3 =>
			view 4 cds:a=4,b=3
			ack cds
			lag 2 =>`},
		{name: "delta: who gives up what was refused has nothing to refuse", start: "eds:a=1,b=1", script: `
			sub eds a
			nack eds
			lag 1 => ClusterLoadAssignment!
			sub eds -a
			lag 1 =>`},
		{name: "sotw: a list that is accepted makes up for one that was refused", start: "cds:a=1,b=1", sotw: true, script: `
			want cds
			nack cds
			lag 1 => Cluster!
			view 2 cds:a=1,b=2
			ack cds
			lag 1 =>
			lag 2 =>`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h := newHarness(t, tt.sotw, view(1, tt.start))
			for _, line := range strings.Split(strings.TrimSpace(tt.script), "\n") {
				command, want, asks := strings.Cut(strings.TrimSpace(line), " =>")
				if !asks {
					h.do(command)
					continue
				}
				var version uint64
				if _, err := fmt.Sscanf(command, "lag %d", &version); err != nil {
					t.Fatalf("%q: %v", command, err)
				}
				if got := lagText(h.s, version); got != strings.TrimSpace(want) {
					t.Errorf("%s: %q, want %q", command, got, strings.TrimSpace(want))
				}
			}
		})
	}
}

func lagText(s *session, version uint64) string {
	p := ProxyStatus{Served: s.served}
	for _, w := range s.watches {
		p.Types = append(p.Types, w.status())
	}
	lag, behind := p.Lag(version)
	switch {
	case !behind:
		return ""
	case lag.TypeURL == "":
		return "unsent"
	case lag.Refusal != "":
		return lag.TypeURL[strings.LastIndexByte(lag.TypeURL, '.')+1:] + "!"
	}
	return lag.TypeURL[strings.LastIndexByte(lag.TypeURL, '.')+1:]
}
