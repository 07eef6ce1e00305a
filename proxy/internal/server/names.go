package server

import (
	"cmp"

	"github.com/lateen-mesh/lateen/proxy/internal/cluster"
	"github.com/lateen-mesh/lateen/proxy/internal/dnscache"
	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

// newNames makes the DNS caches of dynamic forward proxies. They ask name servers themselves, which tell how long an answer is good.
func (s *Server) newNames() *dnscache.Set {
	var loops []dnscache.Loop
	for _, l := range s.loops {
		loops = append(loops, l)
	}
	return dnscache.NewSet(dnscache.Deps{
		Loops: loops, Stats: s.stats, Logger: s.logger("forward_proxy"),
		Resolver: func(o *xdsresource.DNSResolver) dnscache.Resolver {
			return cluster.AskingResolver(cmp.Or(o, s.boot.Resolver))
		},
	})
}

// useNames is the cache of a filter, until the chain is given back.
func (s *Server) useNames(cfg *xdsresource.DNSCache, has *holdings) (*dnscache.Cache, error) {
	c, done, err := s.names.Use(cfg)
	if err != nil {
		return nil, err
	}
	has.add(done)
	return c, nil
}
