package capture

import (
	"fmt"
	"strings"
	"testing"
)

func TestParse(t *testing.T) {
	for text, want := range map[string]string{
		"": "[]", "*": "[0.0.0.0/0 ::/0]", "10.0.0.0/8, 192.168.7.9/16": "[10.0.0.0/8 192.168.0.0/16]", "10.0.0.1": "want ADDRESS/BITS", "x": "want ADDRESS/BITS",
		"10.0.0.0/8,*": "want ADDRESS/BITS", "fd00::7/8": "[fd00::/8]", "::ffff:10.0.0.0/104": "write it as IPv4",
	} {
		got, err := ParseRanges(text)
		if s := fmt.Sprint(got, err); !strings.Contains(s, want) {
			t.Errorf("ranges %q: %s, want %s", text, s, want)
		}
	}
	for text, want := range map[string]string{"": "[]", "80,443": "[80 443]", " 80 , ": "[80]", "0": "from 1 to 65535", "65536": "from 1 to 65535", "*": "from 1 to 65535", "http": "from 1"} {
		got, err := ParsePorts(text)
		if s := fmt.Sprint(got, err); !strings.Contains(s, want) {
			t.Errorf("ports %q: %s, want %s", text, s, want)
		}
	}
	for text, want := range map[string]string{"": "{false [] []}", "*": "{true [] []}", "80": "{false [80] []}", "80,*": "from 1"} {
		got, err := ParseInbound(text)
		if s := fmt.Sprint(got, err); !strings.Contains(s, want) {
			t.Errorf("inbound %q: %s, want %s", text, s, want)
		}
	}
}

// Where the proxy takes what is redirected.
func TestCapturePorts(t *testing.T) {
	for text, want := range map[string]string{"": "15001 15006 <nil>", "16001,16006": "16001 16006 <nil>", "1": "want OUTBOUND,INBOUND", "1,2,3": "want OUTBOUND,INBOUND", "0,1": "from 1 to 65535"} {
		var r Rules
		var err error
		r.OutboundPort, r.InboundPort, err = ParseCapturePorts(text)
		out, in := r.ports()
		if s := fmt.Sprint(out, " ", in, " ", err); !strings.Contains(s, want) {
			t.Errorf("%q: %s, want %s", text, s, want)
		}
	}
}

// Rules that would capture the proxy's own connections are refused.
func TestTheProxyIsNeverCaptured(t *testing.T) {
	all := Outbound{Ranges: AllRanges()}
	user := uint32(7)
	for want, r := range map[string]Rules{
		"":                      {Name: "a", Outbound: all, User: &user},
		"which user or group":   {Name: "a", Outbound: all},
		"which user or group ":  {Name: "a", Outbound: Outbound{Ports: []uint16{80}}},
		"which user or group  ": {Name: "a", DNS: true},
		"without a name":        {Outbound: all, User: &user},
	} {
		err := r.Validate()
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), strings.TrimSpace(want))) {
			t.Errorf("%+v: %v, want %q", r, err, want)
		}
	}
	if err := (&Rules{Name: "a", Outbound: all, ExceptGroups: []uint32{1337}}).Validate(); err != nil {
		t.Error(err)
	}
}
