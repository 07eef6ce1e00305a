package compressor

import (
	"strconv"
	"strings"
)

// verdict is what an accept-encoding header makes of the compressors at hand.
type verdict uint8

const (
	noHeader verdict = iota
	identity         // the client wants it as it is
	invalid          // it names nothing that we have
	wildcard         // "*": the first compressor
	named
)

// choose picks one of the codings offered, by the client's weights; of equal ones that which the
// client names first, unless one was configured to go first. i is its index, -1 for none.
func choose(accept string, present bool, offered []*Config) (i int, v verdict) {
	if !present {
		return -1, noHeader
	}
	best, bestQ := -1, 0.0
	v = invalid
	for token := range strings.SplitSeq(accept, ",") {
		name, params, _ := strings.Cut(token, ";")
		name = strings.TrimSpace(name) // as it is written: Envoy takes no "GZIP"
		q := weight(params)
		if name == "" || q <= 0 {
			continue
		}
		at, kind := -1, named
		switch name {
		case "identity":
			kind = identity
		case "*":
			kind, at = wildcard, 0
		default:
			if at = index(offered, name); at < 0 {
				continue
			}
		}
		if q > bestQ || q == bestQ && kind == named && offered[at].ChooseFirst {
			best, bestQ, v = at, q, kind
		}
	}
	return best, v
}

func index(offered []*Config, name string) int {
	for i, c := range offered {
		if c.Settings.Encoding.String() == name {
			return i
		}
	}
	return -1
}

// weight reads the q of a coding's parameters, 1 when there is none.
func weight(params string) float64 {
	for p := range strings.SplitSeq(params, ";") {
		k, v, ok := strings.Cut(p, "=")
		if ok && strings.EqualFold(strings.TrimSpace(k), "q") {
			q, err := strconv.ParseFloat(strings.TrimSpace(v), 64)
			if err != nil {
				return 0
			}
			return q
		}
	}
	return 1
}
