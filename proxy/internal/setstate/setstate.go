// Package setstate sets objects of the filter state from format strings: what the HTTP and the
// network filter set_filter_state have in common.
//
// It knows the objects that something in this proxy reads, and plain text; an object that would
// change what nobody here looks at is refused by name. Only those two filters import it.
package setstate

import (
	"fmt"
	"net/netip"
	"strconv"

	"github.com/lateen-mesh/lateen/proxy/internal/filterstate"
	"github.com/lateen-mesh/lateen/proxy/internal/format"
)

// Value is a validated set_filter_state.v3.FilterStateValue.
type Value struct {
	Key         string
	Factory     string // how the text is made an object
	Format      string
	SkipIfEmpty bool
	ReadOnly    bool // the object stays as it is for as long as the filter state lives
	OmitEmpty   bool // operators without a value print nothing, where else they print "-"
}

// Setter is a compiled list of values.
type Setter []setter

type setter struct {
	Value
	text *format.Formatter
}

// Compile checks and compiles values. The error names the value that is wrong.
func Compile(in []Value) (Setter, error) {
	var out Setter
	for i, v := range in {
		if v.Factory == "" {
			v.Factory = v.Key
		}
		switch v.Factory {
		case "envoy.string", "envoy.hashable_string", "envoy.network.ip", filterstate.TCPProxyCluster, filterstate.TCPIdleTimeoutMs,
			filterstate.RateLimitHits, filterstate.UpstreamServerName, filterstate.UpstreamSubjectAltNames, filterstate.ApplicationProtocols,
			filterstate.UpstreamDynamicHost, filterstate.UpstreamDynamicPort:
		default:
			return nil, fmt.Errorf("[%d]: there is no object factory for %q; use envoy.string as factory_key", i, v.Factory)
		}
		f, err := format.Compile(v.Format)
		if err != nil {
			return nil, fmt.Errorf("[%d].format_string: %w", i, err)
		}
		out = append(out, setter{v, f})
	}
	return out, nil
}

// Apply sets the objects. One whose text cannot be made an object is not set.
func (s Setter) Apply(set *filterstate.Set, ctx *format.Context) {
	for i := range s {
		var b []byte
		if s[i].OmitEmpty {
			b = s[i].text.AppendOrEmpty(nil, ctx)
		} else {
			b = s[i].text.Append(nil, ctx)
		}
		if len(b) == 0 && s[i].SkipIfEmpty {
			continue
		}
		o := object(s[i].Factory, string(b))
		switch {
		case o == nil:
		case s[i].ReadOnly:
			set.PutFixed(s[i].Key, o)
		default:
			set.Put(s[i].Key, o)
		}
	}
}

// object makes an object of a text, nil when that cannot be done.
func object(factory, text string) filterstate.Object {
	switch factory {
	case "envoy.network.ip":
		a, err := netip.ParseAddr(text)
		if err != nil {
			return nil
		}
		return filterstate.IP(a)
	case "envoy.hashable_string":
		return filterstate.HashableText(text)
	case filterstate.UpstreamSubjectAltNames, filterstate.ApplicationProtocols:
		return filterstate.NamesOf(text)
	case filterstate.TCPIdleTimeoutMs, filterstate.RateLimitHits, filterstate.UpstreamDynamicPort:
		if _, err := strconv.ParseUint(text, 10, 32); err != nil {
			return nil
		}
	}
	return filterstate.Text(text)
}
