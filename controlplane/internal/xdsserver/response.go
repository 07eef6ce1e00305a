package xdsserver

import (
	"google.golang.org/protobuf/encoding/protowire"
)

// The field numbers of DiscoveryResponse and DeltaDiscoveryResponse, written by hand so that resources need not be copied; the tests read
// them back with the generated types.
const (
	sotwVersion, sotwTypeURL, sotwNonce, sotwControlPlane                   = 1, 4, 5, 6
	deltaVersion, deltaTypeURL, deltaNonce, deltaRemoved, deltaControlPlane = 1, 4, 5, 6, 7
	controlPlaneIdentifier                                                  = 1
)

// encode frames a response. identifier is what ControlPlane.identifier says.
func (r *response) encode(identifier string) *frame {
	var f frame
	if r.watch.sotw {
		var parts [][]byte
		for _, res := range r.res {
			parts = res.AppendSotW(parts)
		}
		f.append(appendString(nil, sotwVersion, r.version))
		f.append(parts...)
		tail := appendString(nil, sotwTypeURL, r.watch.typeURL)
		tail = appendString(tail, sotwNonce, r.nonce)
		f.append(appendControlPlane(tail, sotwControlPlane, identifier))
		return &f
	}
	f.append(appendString(nil, deltaVersion, r.version))
	if r.whole != nil {
		f.append(r.whole.Delta())
	} else {
		parts := make([][]byte, 0, len(r.res))
		for _, res := range r.res {
			parts = res.AppendDelta(parts)
		}
		f.append(parts...)
	}
	tail := appendString(nil, deltaTypeURL, r.watch.typeURL)
	tail = appendString(tail, deltaNonce, r.nonce)
	for _, name := range r.removed {
		tail = appendString(tail, deltaRemoved, name)
	}
	f.append(appendControlPlane(tail, deltaControlPlane, identifier))
	return &f
}

func appendString(b []byte, field protowire.Number, s string) []byte {
	b = protowire.AppendTag(b, field, protowire.BytesType)
	return protowire.AppendString(b, s)
}

func appendControlPlane(b []byte, field protowire.Number, identifier string) []byte {
	inner := appendString(nil, controlPlaneIdentifier, identifier)
	b = protowire.AppendTag(b, field, protowire.BytesType)
	return protowire.AppendBytes(b, inner)
}
