package peermetadata

// maxPeers bounds a worker's cache; Istio's default.
const maxPeers = 500

// Cache keeps decoded peers by id, or by preamble. It belongs to one worker. The encoded form is kept and
// compared, so that one caller cannot speak in the name of another's id.
type Cache struct {
	peers     map[string]cached
	preambles map[string]*Peer // by their bytes
}

type cached struct {
	encoded string
	peer    *Peer // nil: it could not be decoded
}

// Get returns the peer for the two header values, nil when they are damaged. A hit
// allocates nothing.
func (c *Cache) Get(id, encoded []byte) *Peer {
	if e, ok := c.peers[string(id)]; ok && e.encoded == string(encoded) {
		return e.peer
	}
	key := string(id)
	p, err := Decode(key, encoded)
	if err != nil {
		p = nil
	}
	room(&c.peers)
	c.peers[key] = cached{string(encoded), p}
	return p
}

// Preamble returns the peer that the bytes of a preamble describe, nil when they are damaged. A
// hit allocates nothing.
func (c *Cache) Preamble(body []byte) *Peer {
	if p, ok := c.preambles[string(body)]; ok {
		return p
	}
	p, err := decodePreamble(body)
	if err != nil {
		p = nil
	}
	room(&c.preambles)
	c.preambles[string(body)] = p
	return p
}

// room makes a place in a map, that of any one entry when it is full.
func room[V any](m *map[string]V) {
	if *m == nil {
		*m = make(map[string]V)
	}
	if len(*m) < maxPeers {
		return
	}
	for k := range *m {
		delete(*m, k)
		return
	}
}
