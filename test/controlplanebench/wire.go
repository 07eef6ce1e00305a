package main

import (
	"errors"

	listenerpb "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	hcmpb "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
)

// The fleet shares two cores with the server that it measures, so it does not decode what it has no use for: responses are
// walked field by field, and a resource's content is read once for all proxies (refs).

// errWire is a message that cannot be read.
var errWire = errors.New("the response is not a valid message")

// reply is what the fleet reads of a DiscoveryResponse or a DeltaDiscoveryResponse.
type reply struct {
	typeURL, nonce, version string
	resources               []resource
	removed                 []string
}

type resource struct {
	name, version string
	body          []byte // of the Any
}

// fields calls f for each field of a message: number, bytes (for length-delimited ones), integer (for varints).
func fields(b []byte, f func(n protowire.Number, bytes []byte, v uint64) error) error {
	for len(b) > 0 {
		num, typ, n := protowire.ConsumeTag(b)
		if n < 0 {
			return errWire
		}
		b = b[n:]
		var bytes []byte
		var v uint64
		switch typ {
		case protowire.BytesType:
			bytes, n = protowire.ConsumeBytes(b)
		case protowire.VarintType:
			v, n = protowire.ConsumeVarint(b)
		default:
			n = protowire.ConsumeFieldValue(num, typ, b)
		}
		if n < 0 {
			return errWire
		}
		b = b[n:]
		if err := f(num, bytes, v); err != nil {
			return err
		}
	}
	return nil
}

// readDelta reads a DeltaDiscoveryResponse.
func readDelta(b []byte) (reply, error) {
	var r reply
	err := fields(b, func(n protowire.Number, bytes []byte, _ uint64) error {
		switch n {
		case 1:
			r.version = string(bytes)
		case 2:
			res, err := readResource(bytes)
			r.resources = append(r.resources, res)
			return err
		case 4:
			r.typeURL = string(bytes)
		case 5:
			r.nonce = string(bytes)
		case 6:
			r.removed = append(r.removed, string(bytes))
		}
		return nil
	})
	return r, err
}

func readResource(b []byte) (resource, error) {
	var r resource
	err := fields(b, func(n protowire.Number, bytes []byte, _ uint64) error {
		switch n {
		case 3:
			r.name = string(bytes)
		case 1:
			r.version = string(bytes)
		case 2:
			var err error
			r.body, err = anyValue(bytes)
			return err
		}
		return nil
	})
	return r, err
}

// readSotW reads a DiscoveryResponse. Its resources have their names inside.
func readSotW(b []byte) (reply, error) {
	var r reply
	err := fields(b, func(n protowire.Number, bytes []byte, _ uint64) error {
		switch n {
		case 1:
			r.version = string(bytes)
		case 2:
			body, err := anyValue(bytes)
			if err != nil {
				return err
			}
			r.resources = append(r.resources, resource{name: firstString(body), body: body})
		case 4:
			r.typeURL = string(bytes)
		case 5:
			r.nonce = string(bytes)
		}
		return nil
	})
	return r, err
}

func anyValue(b []byte) (value []byte, err error) {
	err = fields(b, func(n protowire.Number, bytes []byte, _ uint64) error {
		if n == 2 {
			value = bytes
		}
		return nil
	})
	return value, err
}

// firstString is field 1, which is the name in all of Envoy's resources.
func firstString(b []byte) (s string) {
	_ = fields(b, func(n protowire.Number, bytes []byte, _ uint64) error {
		if n == 1 && s == "" {
			s = string(bytes)
		}
		return nil
	})
	return s
}

// endpointsOf returns the name under which a cluster's endpoints are asked for, "" when it has none (Cluster: type 2, eds_cluster_config 3).
func endpointsOf(name string, body []byte) string {
	const eds = 3
	found, service := false, ""
	_ = fields(body, func(n protowire.Number, bytes []byte, v uint64) error {
		switch n {
		case 2:
			found = v == eds
		case 3:
			_ = fields(bytes, func(n protowire.Number, bytes []byte, _ uint64) error {
				if n == 2 {
					service = string(bytes)
				}
				return nil
			})
		}
		return nil
	})
	switch {
	case !found:
		return ""
	case service != "":
		return service
	}
	return name
}

// routesOf returns the names of the route configurations that a listener asks for.
func routesOf(body []byte) ([]string, error) {
	var l listenerpb.Listener
	if err := proto.Unmarshal(body, &l); err != nil {
		return nil, err
	}
	var names []string
	chains := l.GetFilterChains()
	if c := l.GetDefaultFilterChain(); c != nil {
		chains = append(chains, c)
	}
	for _, c := range chains {
		for _, f := range c.GetFilters() {
			var hcm hcmpb.HttpConnectionManager
			if !f.GetTypedConfig().MessageIs(&hcm) {
				continue
			}
			if err := f.GetTypedConfig().UnmarshalTo(&hcm); err != nil {
				return nil, err
			}
			if name := hcm.GetRds().GetRouteConfigName(); name != "" {
				names = append(names, name)
			}
		}
	}
	return names, nil
}
