package lb

import (
	"encoding/binary"

	"github.com/cespare/xxhash/v2"
)

// Hash is Envoy's hash of a policy's value, and XX_HASH of a ring.
func Hash(b []byte) uint64 { return xxhash.Sum64(b) }

// HashAll is Envoy's hash of several values: that of each is the seed of the next.
func HashAll(values [][]byte) uint64 {
	var n uint64
	for _, v := range values {
		d := xxhash.NewWithSeed(n)
		_, _ = d.Write(v) // never fails
		n = d.Sum64()
	}
	return n
}

// murmurSeed is the seed of std::hash in libstdc++, whose values MURMUR_HASH_2 repeats.
const murmurSeed = 0xc70f6907

// Murmur2 is MurmurHash64A as libstdc++'s std::hash computes it.
func Murmur2(b []byte) uint64 {
	const mul = 0xc6a4a7935bd1e995
	mix := func(v uint64) uint64 { return v ^ v>>47 }
	h := uint64(murmurSeed) ^ uint64(len(b))*mul
	for ; len(b) >= 8; b = b[8:] {
		h = (h ^ mix(binary.LittleEndian.Uint64(b)*mul)*mul) * mul
	}
	if len(b) > 0 {
		var tail uint64
		for i, c := range b {
			tail |= uint64(c) << (8 * i)
		}
		h = (h ^ tail) * mul
	}
	return mix(mix(h) * mul)
}
