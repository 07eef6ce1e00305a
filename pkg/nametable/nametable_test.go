package nametable

import (
	"reflect"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
)

func table() *Table {
	return &Table{
		Names: map[string]Info{
			"catalog.shop.svc.cluster.local": {IPs: []string{"10.0.0.1", "fd00::1"}, Registry: Kubernetes, ShortName: "catalog", Namespace: "shop"},
			"*.example.com":                  {IPs: []string{"240.240.0.1"}, Registry: "External"},
			"nobody.example.com":             {},
		},
		Own: &Info{IPs: []string{"10.0.0.2"}},
	}
}

// What a control plane writes with the message's descriptor an agent reads by hand.
func TestRoundTrip(t *testing.T) {
	for _, want := range []*Table{table(), {}, {Own: &Info{}}} {
		b, err := proto.MarshalOptions{Deterministic: true}.Marshal(want.Message())
		if err != nil {
			t.Fatal(err)
		}
		got, err := Parse(b)
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%+v %v, want %+v", got, err, want)
		}
	}
}

// The names are those of Istio's proto (pkg/dns/proto/nds.proto), which other agents read.
func TestMessage(t *testing.T) {
	m := table().Message()
	if name := m.ProtoReflect().Descriptor().FullName(); "type.googleapis.com/"+string(name) != TypeURL {
		t.Errorf("type %s", name)
	}
	js, err := protojson.MarshalOptions{UseProtoNames: true}.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`"table":`, `"name_info":`, `"ips":`, `"registry":`, `"shortname":`, `"namespace":`} {
		if !strings.Contains(strings.ReplaceAll(string(js), `": `, `":`), want) {
			t.Errorf("no %s in %s", want, js)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	entry := func(host string) []byte {
		return protowire.AppendBytes(protowire.AppendTag(nil, tableField, protowire.BytesType),
			protowire.AppendString(protowire.AppendTag(nil, entryKey, protowire.BytesType), host))
	}
	var ips []byte
	for range maxIPs + 1 {
		ips = protowire.AppendString(protowire.AppendTag(ips, ipsField, protowire.BytesType), "")
	}
	for name, tc := range map[string]struct {
		b    []byte
		want string
	}{
		"no message":         {[]byte{0xff}, "no serialised message"},
		"cut short":          {entry("a.example")[:5], "no serialised message"},
		"a long name":        {entry(strings.Repeat("a", 256)), "256 bytes"},
		"too many addresses": {protowire.AppendBytes(protowire.AppendTag(nil, ownField, protowire.BytesType), ips), "more than 10000 addresses"},
	} {
		t.Run(name, func(t *testing.T) {
			if got, err := Parse(tc.b); err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("%v %v, want %q", got, err, tc.want)
			}
		})
	}
	// A field of another kind is somebody's extension.
	if got, err := Parse(protowire.AppendVarint(protowire.AppendTag(nil, 9, protowire.VarintType), 1)); err != nil || len(got.Names) != 0 {
		t.Errorf("%v %v", got, err)
	}
}

func FuzzParse(f *testing.F) {
	b, err := proto.Marshal(table().Message())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		got, err := Parse(b)
		if err != nil {
			return
		}
		for host, info := range got.Names {
			if len(host) > maxNameLen || len(info.IPs) > maxIPs {
				t.Errorf("beyond bounds: %q", host)
			}
		}
	})
}
