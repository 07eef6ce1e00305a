package xdsresource

import (
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"

	"github.com/lateen-mesh/lateen/proxy/internal/runtimekey"
)

// Flag is core.v3.RuntimeFeatureFlag: a value that a runtime key may override.
type Flag struct {
	Default bool
	Key     *runtimekey.Key
}

// On is what it is now.
func (f Flag) On() bool { return f.Key.Bool(f.Default) }

// Double is core.v3.RuntimeDouble.
type Double struct {
	Default float64
	Key     *runtimekey.Key
}

// Now is what it is now.
func (d Double) Now() float64 { return d.Key.Float(d.Default) }

// Share is the numerator and denominator that hold now.
func (f *FractionalPercent) Share() (numerator, denominator uint32) {
	return f.Key.Share(f.Numerator, f.Denominator)
}

// Hit reports whether a random number falls into the share; nil is nobody's.
func (f *FractionalPercent) Hit(random uint64) bool {
	if f == nil {
		return false
	}
	n, d := f.Share()
	return random%uint64(max(d, 1)) < uint64(n)
}

// HitOr is Hit, and def for nil.
func (f *FractionalPercent) HitOr(random uint64, def bool) bool {
	if f == nil {
		return def
	}
	return f.Hit(random)
}

func (p *parser) runtimeFraction(path string, f *corev3.RuntimeFractionalPercent) *FractionalPercent {
	if f == nil {
		return nil
	}
	out := p.fraction(join(path, "default_value"), f.GetDefaultValue())
	key := p.dec.keys.Key(f.GetRuntimeKey())
	if key == nil {
		return out
	}
	if out == nil {
		out = &FractionalPercent{Denominator: 100}
	}
	out.Key = key
	return out
}

func (p *parser) runtimeFlag(f *corev3.RuntimeFeatureFlag, def bool) Flag {
	if f == nil {
		return Flag{Default: def}
	}
	return Flag{f.GetDefaultValue().GetValue(), p.dec.keys.Key(f.GetRuntimeKey())}
}

func (p *parser) runtimeDouble(d *corev3.RuntimeDouble, def float64) Double {
	if d == nil {
		return Double{Default: def}
	}
	return Double{d.GetDefaultValue(), p.dec.keys.Key(d.GetRuntimeKey())}
}
