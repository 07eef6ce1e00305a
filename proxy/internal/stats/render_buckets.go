package stats

import (
	"math"
	"strconv"
)

// Buckets says how histograms are shown.
type Buckets uint8

// Forms of /stats?histogram_buckets=.
const (
	Summary    Buckets = iota // quantiles
	Cumulative                // how many values were at most as large as each bound
	Disjoint                  // how many lie between a bound and the one before
	Detailed                  // the bins as they are kept, and quantiles
)

// counts returns the numbers of a histogram by bucket.
func (h *hist) counts(bounds []float64, b Buckets) []uint64 {
	out := h.cumulative(bounds)
	if b == Disjoint {
		for i := len(out) - 1; i > 0; i-- {
			out[i] -= out[i-1]
		}
	}
	return out
}

// appendTextBuckets appends the part of a histogram's line behind "NAME:".
func (p *Snapshot) appendTextBuckets(dst []byte, r ref, b Buckets) []byte {
	total, interval := p.sum.histogram(r.hist()), p.interval(r)
	if b == Detailed {
		dst = append(dst, "\n  totals="...)
		dst = appendBins(dst, total)
		dst = append(dst, "\n  intervals="...)
		dst = appendBins(dst, interval)
		dst = append(dst, "\n  summary="...)
		return appendQuantiles(dst, interval, total, true)
	}
	bounds := p.store.bounds(r.name())
	all, last := total.counts(bounds, b), interval.counts(bounds, b)
	for i, bound := range bounds {
		dst = append(dst, " B"...)
		dst = strconv.AppendFloat(dst, bound, 'g', 6, 64)
		dst = append(dst, '(')
		dst = strconv.AppendUint(dst, last[i], 10)
		dst = append(dst, ',')
		dst = strconv.AppendUint(dst, all[i], 10)
		dst = append(dst, ')')
	}
	return dst
}

func appendBins(dst []byte, h *hist) []byte {
	first := true
	if h == nil {
		return dst
	}
	h.each(func(low, high float64, _ uint64, n uint64) {
		if !first {
			dst = append(dst, ", "...)
		}
		first = false
		dst = appendFloat(dst, low)
		dst = append(dst, ',')
		dst = appendFloat(dst, width(low, high))
		dst = append(dst, ':')
		dst = strconv.AppendUint(dst, n, 10)
	})
	return dst
}

// width is high - low without the noise of tenths.
func width(low, high float64) float64 { return math.Round((high-low)*10) / 10 }

// appendQuantiles appends "P0(interval,cumulative) P25...", with all digits or with six.
func appendQuantiles(dst []byte, interval, total *hist, long bool) []byte {
	number := appendFloat
	if long {
		number = func(dst []byte, f float64) []byte {
			if math.IsNaN(f) {
				return append(dst, "nan"...)
			}
			return strconv.AppendFloat(dst, f, 'g', -1, 64)
		}
	}
	a, b := interval.quantiles(Quantiles), total.quantiles(Quantiles)
	for i := range Quantiles {
		if i > 0 {
			dst = append(dst, ' ')
		}
		dst = append(dst, quantileNames[i]...)
		dst = append(dst, '(')
		dst = number(dst, a[i])
		dst = append(dst, ',')
		dst = number(dst, b[i])
		dst = append(dst, ')')
	}
	return dst
}

// appendJSONBuckets appends the value of "histograms" for the forms that are not a summary.
func (p *Snapshot) appendJSONBuckets(dst []byte, b Buckets) []byte {
	open, end := "[", "]"
	if b == Detailed {
		open, end = `{"supported_percentiles":[0,25,50,75,90,95,99,99.5,99.9,100],"details":[`, "]}"
	}
	dst = append(dst, open...)
	n := 0
	for _, r := range p.refs {
		if r.kind() != KindHistogram {
			continue
		}
		if n++; n > 1 {
			dst = append(dst, ',')
		}
		dst = append(dst, `{"name":`...)
		dst = appendJSONString(dst, r.name())
		total, interval := p.sum.histogram(r.hist()), p.interval(r)
		if b == Detailed {
			dst = append(dst, `,"totals":[`...)
			dst = appendJSONBins(dst, total)
			dst = append(dst, `],"intervals":[`...)
			dst = appendJSONBins(dst, interval)
			dst = append(dst, `],"percentiles":[`...)
			dst = appendJSONQuantiles(dst, interval, total)
			dst = append(dst, "]}"...)
			continue
		}
		dst = append(dst, `,"buckets":[`...)
		bounds := p.store.bounds(r.name())
		all, last := total.counts(bounds, b), interval.counts(bounds, b)
		for i, bound := range bounds {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = append(dst, `{"upper_bound":`...)
			dst = strconv.AppendFloat(dst, bound, 'f', -1, 64)
			dst = append(dst, `,"interval":`...)
			dst = strconv.AppendUint(dst, last[i], 10)
			dst = append(dst, `,"cumulative":`...)
			dst = strconv.AppendUint(dst, all[i], 10)
			dst = append(dst, '}')
		}
		dst = append(dst, "]}"...)
	}
	return append(dst, end...)
}

func appendJSONBins(dst []byte, h *hist) []byte {
	if h == nil {
		return dst
	}
	first := true
	h.each(func(low, high float64, _ uint64, n uint64) {
		if !first {
			dst = append(dst, ',')
		}
		first = false
		dst = append(dst, `{"lower_bound":`...)
		dst = strconv.AppendFloat(dst, low, 'f', -1, 64)
		dst = append(dst, `,"width":`...)
		dst = strconv.AppendFloat(dst, width(low, high), 'f', -1, 64)
		dst = append(dst, `,"count":`...)
		dst = strconv.AppendUint(dst, n, 10)
		dst = append(dst, '}')
	})
	return dst
}

func appendJSONQuantiles(dst []byte, interval, total *hist) []byte {
	number := func(f float64) {
		if math.IsNaN(f) {
			dst = append(dst, "null"...)
			return
		}
		dst = strconv.AppendFloat(dst, f, 'g', -1, 64)
	}
	a, b := interval.quantiles(Quantiles), total.quantiles(Quantiles)
	for i := range Quantiles {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(dst, `{"interval":`...)
		number(a[i])
		dst = append(dst, `,"cumulative":`...)
		number(b[i])
		dst = append(dst, '}')
	}
	return dst
}
