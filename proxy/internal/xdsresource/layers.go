package xdsresource

import (
	"fmt"
	"maps"
	"math"
	"path/filepath"
	"slices"
	"time"

	bootstrapv3 "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/lateen-mesh/lateen/proxy/internal/runtimekey"
)

// RuntimeLayer is a layer of the bootstrap's layered_runtime.
type RuntimeLayer struct {
	runtimekey.Source
	RTDS ConfigSource // where an RTDS layer comes from
	// FetchTimeout is how long the start waits for an RTDS layer. 0: without end.
	FetchTimeout time.Duration
}

// Runtime reads layered_runtime; cluster is the node's, which disk layers may append. Without layers
// there is one for the admin API.
func (d *Decoder) Runtime(m *bootstrapv3.LayeredRuntime, cluster string) ([]RuntimeLayer, error) {
	p := &parser{dec: d}
	p.check("", m)
	var out []RuntimeLayer
	seen, admin := map[string]bool{}, false
	for i, l := range m.GetLayers() {
		here := at("layers", i)
		if seen[l.GetName()] {
			p.bad(join(here, "name"), "%q stands twice", l.GetName())
		}
		seen[l.GetName()] = true
		r := RuntimeLayer{Source: runtimekey.Source{Name: l.GetName()}}
		switch s := l.GetLayerSpecifier().(type) {
		case *bootstrapv3.RuntimeLayer_StaticLayer:
			r.Kind, r.Values = runtimekey.Static, p.runtimeValues(join(here, "static_layer"), s.StaticLayer)
		case *bootstrapv3.RuntimeLayer_DiskLayer_:
			r.Kind, r.Root = runtimekey.Disk, s.DiskLayer.GetSymlinkRoot()
			if r.Root == "" {
				p.bad(join(here, "disk_layer.symlink_root"), "is required")
			}
			r.Path = filepath.Join(r.Root, s.DiskLayer.GetSubdirectory())
			if s.DiskLayer.GetAppendServiceCluster() {
				r.Path = filepath.Join(r.Path, cluster)
			}
		case *bootstrapv3.RuntimeLayer_AdminLayer_:
			r.Kind = runtimekey.Admin
			if admin {
				p.bad(join(here, "admin_layer"), "there may be one only")
			}
			admin = true
		case *bootstrapv3.RuntimeLayer_RtdsLayer_:
			r.Kind, r.Resource = runtimekey.RTDS, s.RtdsLayer.GetName()
			if c := s.RtdsLayer.GetRtdsConfig(); c == nil {
				p.bad(join(here, "rtds_layer.rtds_config"), "is required")
			} else {
				r.RTDS, r.FetchTimeout = p.source(join(here, "rtds_layer.rtds_config"), c)
			}
		}
		out = append(out, r)
	}
	if len(out) == 0 {
		out = []RuntimeLayer{{Source: runtimekey.Source{Kind: runtimekey.Admin}}}
	}
	return out, p.finish("runtime", "")
}

// runtimeValues flattens a struct: names of nested ones are joined with dots.
func (p *parser) runtimeValues(path string, s *structpb.Struct) map[string]*runtimekey.Value {
	out := map[string]*runtimekey.Value{}
	p.flatten(path, "", s, out)
	return out
}

func (p *parser) flatten(path, prefix string, s *structpb.Struct, out map[string]*runtimekey.Value) {
	for _, name := range slices.Sorted(maps.Keys(s.GetFields())) {
		key, here := prefix+name, join(path, name)
		switch v := s.GetFields()[name].GetKind().(type) {
		case *structpb.Value_StringValue:
			out[key] = runtimekey.Parse(v.StringValue)
		case *structpb.Value_BoolValue:
			out[key] = runtimekey.Parse(fmt.Sprint(v.BoolValue))
		case *structpb.Value_NumberValue:
			out[key] = runtimekey.Number(v.NumberValue)
		case *structpb.Value_StructValue:
			f := v.StructValue.GetFields()
			if f["numerator"] == nil && f["denominator"] == nil && len(f) > 0 {
				p.flatten(here, key+".", v.StructValue, out)
				continue
			}
			n := f["numerator"].GetNumberValue()
			value, ok := runtimekey.Fraction(uint32(max(0, min(n, math.MaxUint32))), f["denominator"].GetStringValue())
			if !ok || n < 0 || n != math.Trunc(n) || len(f) == 0 {
				p.bad(here, "is no fractional percent: numerator must be a whole number, denominator HUNDRED, TEN_THOUSAND or MILLION")
			}
			out[key] = value
		default:
			p.bad(here, "must be a string, a number, a boolean or a struct")
		}
	}
}
