package xdsserver

import (
	"fmt"
	"maps"
	"slices"
	"testing"

	corepb "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discoverypb "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	statuspb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/lateen-mesh/lateen/controlplane/internal/xdscache"
)

// fromDelta takes a request over the wire.
func fromDelta(t *testing.T, d *discoverypb.DeltaDiscoveryRequest) (request, error) {
	raw, err := proto.Marshal(d)
	if err != nil {
		t.Fatal(err)
	}
	var w wireRequest
	if err := w.unmarshal(string(raw)); err != nil {
		t.Fatal(err)
	}
	return w.request()
}

// FuzzWireRequest holds the reader that is written by hand against the generated type: both refuse, or both read the same.
func FuzzWireRequest(f *testing.F) {
	for _, d := range []*discoverypb.DeltaDiscoveryRequest{
		{},
		{TypeUrl: TypeCluster, Node: &corepb.Node{Id: "sidecar~1.2.3.4~a.b~b.svc"}, ResourceNamesSubscribe: []string{"*", "a"}},
		{TypeUrl: TypeEndpoint, ResponseNonce: "7", ResourceNamesUnsubscribe: []string{"a"}, ErrorDetail: &statuspb.Status{Code: 3, Message: "no"}},
		{TypeUrl: TypeRoute, InitialResourceVersions: map[string]string{"80": "abc", "": ""}},
	} {
		raw, err := proto.Marshal(d)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(raw)
		f.Add(append(raw, raw...))
		f.Add(raw[:len(raw)*2/3])
	}
	f.Add([]byte("\x0a\x02\x0a\x00\x0a\x02\x12\x00\x50\x01\x2a\x03\x0a\x01\xff"))
	f.Add([]byte("\x80\xe7\xf8\xf700")) // a field number of more than 29 bits
	f.Fuzz(func(t *testing.T, raw []byte) {
		var want discoverypb.DeltaDiscoveryRequest
		var got wireRequest
		wantErr, gotErr := proto.Unmarshal(raw, &want), got.unmarshal(string(raw))
		if wantErr == nil && gotErr != nil || wantErr != nil && gotErr == nil && !unread(raw) {
			t.Fatalf("the generated type says %v, the reader %v", wantErr, gotErr)
		}
		if wantErr != nil {
			return
		}
		initial := map[string]string{}
		for _, s := range got.initial {
			initial[s.Name] = s.Version
		}
		if got.typeURL != want.TypeUrl || got.nonce != want.ResponseNonce || !slices.Equal(got.subscribe, want.ResourceNamesSubscribe) ||
			!slices.Equal(got.unsubscribe, want.ResourceNamesUnsubscribe) || !maps.Equal(initial, want.InitialResourceVersions) ||
			!proto.Equal(got.node, want.Node) || !proto.Equal(got.refused, want.ErrorDetail) {
			t.Fatalf("read %+v, want %v", got, &want)
		}
	})
}

// unread says that what makes the generated type refuse a message may lie in fields that the reader passes over: the resource locators.
func unread(raw []byte) bool {
	found := false
	_ = eachField(string(raw), func(n protowire.Number, _ string) error {
		found = found || n > requestError
		return nil
	})
	return found
}

// FuzzSession feeds a session what a client may send, sensible or not, between views and passing time. It must not panic, must come to rest,
// and must end with a client that acknowledges everything having what the last view has.
func FuzzSession(f *testing.F) {
	f.Add(true, []byte{0, 0, 1, 9, 2, 0, 3, 5, 9, 1, 8, 0, 7, 7})
	f.Add(false, []byte{0, 0, 8, 3, 1, 2, 9, 9, 1, 6, 2, 0, 8, 8, 4, 4, 255, 13})
	types := []string{TypeCluster, TypeEndpoint, TypeListener, TypeRoute, "unknown"}
	f.Fuzz(func(t *testing.T, sotw bool, script []byte) {
		content := func(n byte) string {
			return fmt.Sprintf("cds:a=%d,b=1 eds:a=%d,b=%d lds:l=%d rds:r=%d", n%3, n%5, n%2, n%4, n%7)
		}
		h := newHarness(t, sotw, view(1, content(0)))
		version := uint64(1)
		for i := 0; i+1 < len(script) && i < 200; i += 2 {
			op, arg := script[i]%10, script[i+1]
			switch {
			case op < 5:
				name := string(rune('a' + arg%3))
				d := &discoverypb.DeltaDiscoveryRequest{TypeUrl: types[op]}
				s := &discoverypb.DiscoveryRequest{TypeUrl: types[op]}
				if arg&4 != 0 {
					d.ResourceNamesSubscribe, s.ResourceNames = []string{name, "*"}[:1+arg%2], []string{name}
				}
				if arg&8 != 0 {
					d.ResourceNamesUnsubscribe = []string{name}
				}
				if arg&16 != 0 {
					d.InitialResourceVersions = map[string]string{name: "x"}
					s.VersionInfo = "x"
				}
				if arg&32 != 0 {
					nonce := h.last[shortType(types[op])]
					d.ResponseNonce, s.ResponseNonce = nonce, nonce
				}
				if arg&64 != 0 {
					d.ErrorDetail, s.ErrorDetail = &statuspb.Status{}, &statuspb.Status{}
				}
				req, err := fromDelta(t, d)
				if sotw {
					req, err = fromSotW(s)
				}
				if err == nil {
					err = h.s.request(req)
				}
				if err != nil {
					t.Fatal(err)
				}
			case op < 8:
				version++
				text := content(arg)
				h.s.offer(view(version, text))
			default:
				h.now = h.now.Add(h.s.ackTimeout / 4)
			}
			h.out()
		}
		// Everything is acknowledged from here on.
		for range 50 {
			for _, w := range h.s.watches {
				if w.inFlight {
					req := request{typeURL: w.typeURL, nonce: w.nonce}
					if sotw {
						req.names = append(req.names, w.names.All()...)
						if w.all && w.names.Len() > 0 {
							req.names = append(req.names, wildcard)
						}
					}
					if err := h.s.request(req); err != nil {
						t.Fatal(err)
					}
				}
			}
			h.now = h.now.Add(h.s.ackTimeout)
			h.out()
		}
		if h.s.served != version {
			t.Fatalf("served is %d, the last view %d", h.s.served, version)
		}
		for _, w := range h.s.watches {
			if d := xdscache.Compare(w.have, w.target(h.s.latest, h.s.proxy)); len(d.Changed)+len(d.Removed) != 0 {
				t.Errorf("%s: the client has not what the last view has: %d to change, %d to remove", w.typeURL, len(d.Changed), len(d.Removed))
			}
		}
	})
}
