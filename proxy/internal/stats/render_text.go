package stats

import (
	"encoding/json"
	"math"
	"strconv"
)

var quantileNames = []string{"P0", "P25", "P50", "P75", "P90", "P95", "P99", "P99.5", "P99.9", "P100"}

// AppendText appends the snapshot as Envoy's /stats shows it: counters and gauges by name,
// then histograms in the form that is asked for. A pair of numbers is (interval, cumulative).
func (p *Snapshot) AppendText(dst []byte, b Buckets) []byte {
	for _, r := range p.refs {
		if r.kind() == KindHistogram {
			continue
		}
		v, _ := p.sum.value(r.slot())
		dst = append(dst, r.e.prefix...)
		dst = append(dst, r.suffix()...)
		dst = append(dst, ": "...)
		if r.kind() == KindGauge {
			dst = appendGauge(dst, v)
		} else {
			dst = strconv.AppendUint(dst, v, 10)
		}
		dst = append(dst, '\n')
	}
	for _, r := range p.refs {
		if r.kind() != KindHistogram {
			continue
		}
		dst = append(dst, r.e.prefix...)
		dst = append(dst, r.suffix()...)
		dst = append(dst, ':')
		h := p.sum.histogram(r.hist())
		switch {
		case h == nil || h.count == 0:
			dst = append(dst, " No recorded values"...)
		case b == Summary:
			dst = append(dst, ' ')
			dst = appendQuantiles(dst, p.interval(r), h, false)
		default:
			dst = p.appendTextBuckets(dst, r, b)
		}
		dst = append(dst, '\n')
	}
	return dst
}

// appendGauge prints a gauge. Versions of resources are 64-bit hashes, without a sign. A count that is taken while workers change
// it may be a little below zero, and is shown so.
func appendGauge(dst []byte, v uint64) []byte {
	if n := int64(v); n >= math.MinInt32 {
		return strconv.AppendInt(dst, n, 10)
	}
	return strconv.AppendUint(dst, v, 10)
}

// appendFloat prints as C's %g does with six digits, which is what Envoy's text uses.
func appendFloat(dst []byte, f float64) []byte {
	if math.IsNaN(f) {
		return append(dst, "nan"...)
	}
	if f == math.Trunc(f) && math.Abs(f) < 1e6 {
		return strconv.AppendInt(dst, int64(f), 10)
	}
	return strconv.AppendFloat(dst, f, 'g', 6, 64)
}

// AppendJSON appends the snapshot as /stats?format=json shows it.
func (p *Snapshot) AppendJSON(dst []byte, b Buckets) []byte {
	dst = append(dst, `{"stats":[`...)
	n := 0
	for _, r := range p.refs {
		if r.kind() == KindHistogram {
			continue
		}
		if n++; n > 1 {
			dst = append(dst, ',')
		}
		v, _ := p.sum.value(r.slot())
		dst = append(dst, `{"name":`...)
		dst = appendJSONString(dst, r.name())
		dst = append(dst, `,"value":`...)
		dst = appendGauge(dst, v)
		dst = append(dst, '}')
	}
	if n > 0 {
		dst = append(dst, ',')
	}
	if b != Summary {
		dst = append(dst, `{"histograms":`...)
		dst = p.appendJSONBuckets(dst, b)
		return append(dst, "}]}"...)
	}
	dst = append(dst, `{"histograms":{"supported_quantiles":[0,25,50,75,90,95,99,99.5,99.9,100],"computed_quantiles":[`...)
	n = 0
	for _, r := range p.refs {
		if r.kind() != KindHistogram {
			continue
		}
		if n++; n > 1 {
			dst = append(dst, ',')
		}
		dst = append(dst, `{"name":`...)
		dst = appendJSONString(dst, r.name())
		dst = append(dst, `,"values":[`...)
		dst = appendJSONQuantiles(dst, p.interval(r), p.sum.histogram(r.hist()))
		dst = append(dst, "]}"...)
	}
	return append(dst, "]}}]}"...)
}

func appendJSONString(dst []byte, s string) []byte {
	b, err := json.Marshal(s)
	if err != nil { // strings always marshal
		return append(dst, `""`...)
	}
	return append(dst, b...)
}
