package accesslog

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"

	"github.com/lateen-mesh/lateen/proxy/internal/cel"
	"github.com/lateen-mesh/lateen/proxy/internal/format"
	"github.com/lateen-mesh/lateen/proxy/internal/route"
	"github.com/lateen-mesh/lateen/proxy/internal/streaminfo"
	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

// filter says whether a stream is logged (config.accesslog.v3.AccessLogFilter).
type filter interface {
	pass(c *format.Context) bool
}

type filterFunc func(c *format.Context) bool

func (f filterFunc) pass(c *format.Context) bool { return f(c) }

// Filter is a compiled access log filter; local reply mappers use it as well.
type Filter struct{ f filter }

// NewFilter compiles a filter.
func NewFilter(cfg *xdsresource.AccessLogFilter) (Filter, error) {
	f, err := compileFilter(cfg)
	return Filter{f}, err
}

// Pass reports whether the stream passes.
func (f Filter) Pass(c *format.Context) bool { return f.f.pass(c) }

func compileFilter(cfg *xdsresource.AccessLogFilter) (filter, error) {
	switch {
	case cfg.StatusCode != nil:
		return compare(cfg.StatusCode, func(c *format.Context) (int64, bool) { return int64(c.Info.ResponseCode), true })
	case cfg.Duration != nil:
		return compare(cfg.Duration, func(c *format.Context) (int64, bool) {
			return (c.Info.End - c.Info.Start) / 1e6, c.Info.End != 0
		})
	case cfg.NotHealthCheck:
		return filterFunc(func(c *format.Context) bool { return !c.Info.HealthCheck }), nil
	case cfg.Traceable:
		return filterFunc(func(c *format.Context) bool { return c.Info.Trace.Sampled }), nil
	case cfg.RuntimePercent != nil:
		p := cfg.RuntimePercent
		return filterFunc(func(*format.Context) bool { return p.Hit(rand.Uint64()) }), nil
	case cfg.Header != nil:
		m := route.NewHeaderMatcher(cfg.Header)
		return filterFunc(func(c *format.Context) bool { return c.Request != nil && m.Match(c.Request) }), nil
	case cfg.ResponseFlag:
		return flagFilter(cfg.ResponseFlags)
	case cfg.GRPCStatus != nil:
		return grpcFilter(cfg.GRPCStatus), nil
	case cfg.LogType != nil:
		f := cfg.LogType
		return filterFunc(func(c *format.Context) bool { return slices.Contains(f.Types, uint8(c.LogType)) != f.Exclude }), nil
	case cfg.Metadata != nil:
		return filterFunc(func(c *format.Context) bool { return metadataPasses(cfg.Metadata, c) }), nil
	case len(cfg.And) > 0:
		return all(cfg.And)
	case len(cfg.Or) > 0:
		return anyOf(cfg.Or)
	case cfg.CEL != "":
		e, err := cel.Compile(cfg.CEL)
		if err != nil {
			return nil, fmt.Errorf("expression %q: %w", cfg.CEL, err)
		}
		return filterFunc(func(c *format.Context) bool { return e.Match(c.Stream()) }), nil
	}
	return nil, errors.New("is empty")
}

func compare(cfg *xdsresource.ComparisonFilter, value func(*format.Context) (int64, bool)) (filter, error) {
	var ok func(got, want int64) bool
	switch cfg.Op {
	case "EQ", "=":
		ok = func(got, want int64) bool { return got == want }
	case "GE", ">=":
		ok = func(got, want int64) bool { return got >= want }
	case "LE", "<=":
		ok = func(got, want int64) bool { return got <= want }
	case "NE", "!=":
		ok = func(got, want int64) bool { return got != want }
	default:
		return nil, fmt.Errorf("comparison %q is none of EQ, GE, LE, NE", cfg.Op)
	}
	return filterFunc(func(c *format.Context) bool {
		v, have := value(c)
		return have && ok(v, int64(min(cfg.Key.Uint(uint64(cfg.Value)), math.MaxInt64)))
	}), nil
}

func flagFilter(names []string) (filter, error) {
	var want streaminfo.Flags
	for _, n := range names {
		f, ok := streaminfo.Flag(n)
		if !ok {
			return nil, fmt.Errorf("response flag %q is not known", n)
		}
		want |= f
	}
	if want == 0 {
		want = ^want // any flag
	}
	return filterFunc(func(c *format.Context) bool { return c.Info.Flags&want != 0 }), nil
}

// grpcFilter passes by the gRPC status; a stream without one counts as UNKNOWN, as in Envoy.
func grpcFilter(cfg *xdsresource.GRPCStatusFilter) filter {
	return filterFunc(func(c *format.Context) bool {
		n, ok := format.GRPCStatusOf(c)
		if !ok {
			n = grpcUnknown
		}
		return slices.Contains(cfg.Statuses, n) != cfg.Exclude
	})
}

const grpcUnknown = 2

func metadataPasses(cfg *xdsresource.MetadataFilter, c *format.Context) bool {
	m := &cfg.Matcher
	var v any = c.Info.Metadata[m.Filter]
	for _, k := range m.Path {
		sub, _ := v.(map[string]any)
		var ok bool
		if v, ok = sub[k]; !ok {
			return cfg.MatchIfMissing
		}
	}
	return m.Match(c.Info.Metadata)
}

func all(cfgs []*xdsresource.AccessLogFilter) (filter, error) {
	fs, err := compileAll(cfgs)
	return filterFunc(func(c *format.Context) bool {
		for _, f := range fs {
			if !f.pass(c) {
				return false
			}
		}
		return true
	}), err
}

func anyOf(cfgs []*xdsresource.AccessLogFilter) (filter, error) {
	fs, err := compileAll(cfgs)
	return filterFunc(func(c *format.Context) bool {
		for _, f := range fs {
			if f.pass(c) {
				return true
			}
		}
		return false
	}), err
}

func compileAll(cfgs []*xdsresource.AccessLogFilter) ([]filter, error) {
	var out []filter
	for _, c := range cfgs {
		f, err := compileFilter(c)
		if err != nil {
			return nil, err
		}
		out = append(out, f)
	}
	return out, nil
}
