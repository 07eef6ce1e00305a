package jwtauthn

import "github.com/lateen-mesh/lateen/proxy/internal/jwt"

// cache remembers the tokens that one worker has verified for one provider, the latest used of them
// up to a number. What was not verified never enters it, so that strangers cannot fill it.
type cache struct {
	max, maxToken int
	entries       map[string]*verified
	// newest and oldest are the ends of the list in order of use.
	newest, oldest *verified
}

// verified is a token whose signature was good.
type verified struct {
	raw     string
	token   *jwt.Token
	outcome outcome
	keys    *jwt.KeySet // by which it was verified

	newer, older *verified
}

// get returns a token that is not expired and was verified by these keys; nil otherwise. With
// other keys, which a fetch has brought, its own may be gone, and it is verified again.
func (c *cache) get(raw []byte, keys *jwt.KeySet, now, skew uint64) *verified {
	v := c.entries[string(raw)]
	if v == nil {
		return nil
	}
	if v.keys != keys || v.token.ExpiredAt(now, skew) {
		c.drop(v)
		return nil
	}
	if c.newest != v {
		c.unlink(v)
		c.link(v)
	}
	return v
}

// put remembers a token, and forgets the one that was not used for longest when there are too many.
func (c *cache) put(v *verified) {
	if len(v.raw) > c.maxToken {
		return
	}
	if c.entries == nil {
		c.entries = map[string]*verified{}
	}
	if old := c.entries[v.raw]; old != nil {
		c.drop(old)
	}
	if len(c.entries) >= c.max {
		c.drop(c.oldest)
	}
	c.entries[v.raw] = v
	c.link(v)
}

func (c *cache) drop(v *verified) {
	delete(c.entries, v.raw)
	c.unlink(v)
}

func (c *cache) link(v *verified) {
	v.older, v.newer = c.newest, nil
	if c.newest != nil {
		c.newest.newer = v
	} else {
		c.oldest = v
	}
	c.newest = v
}

func (c *cache) unlink(v *verified) {
	if v.newer != nil {
		v.newer.older = v.older
	} else {
		c.newest = v.older
	}
	if v.older != nil {
		v.older.newer = v.newer
	} else {
		c.oldest = v.newer
	}
	v.newer, v.older = nil, nil
}
