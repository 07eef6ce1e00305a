package peermetadata

// maxPeers bounds a worker's cache; Istio's default.
const maxPeers = 500

// Cache keeps decoded peers by id. It belongs to one worker. The encoded form is kept and
// compared, so that one caller cannot speak in the name of another's id.
type Cache struct {
	peers map[string]cached
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
	if c.peers == nil {
		c.peers = make(map[string]cached)
	}
	if len(c.peers) >= maxPeers {
		for k := range c.peers { // any one
			delete(c.peers, k)
			break
		}
	}
	key := string(id)
	p, err := Decode(key, encoded)
	if err != nil {
		p = nil
	}
	c.peers[key] = cached{string(encoded), p}
	return p
}
