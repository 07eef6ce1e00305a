package methodstats

import (
	"bytes"
	"strconv"
	"strings"
	"time"

	"github.com/lateen-mesh/lateen/proxy/internal/cluster"
	"github.com/lateen-mesh/lateen/proxy/internal/stats"
)

// Protocol is how calls are spoken, a part of the names.
type Protocol string

// Protocols.
const (
	GRPC Protocol = "grpc"
	Web  Protocol = "grpc-web"
)

// Bounds of what clients can make us keep.
const (
	maxMethods  = 1000 // of a cluster, for each worker
	maxName     = 256  // bytes of a service with its method
	maxStatuses = 16   // of a method that gRPC does not define
)

// Name is a service with its method; the zero Name stands for all.
type Name struct{ Service, Method string }

// Split takes a request's path apart: "/service/method", whatever its query. false: it is none.
func Split(path []byte) (service, method []byte, ok bool) {
	path, _, _ = bytes.Cut(path, []byte("?"))
	for part := range bytes.SplitSeq(path, []byte("/")) {
		switch {
		case len(part) == 0:
		case service == nil:
			service = part
		case method == nil:
			method = part
		default:
			return nil, nil, false
		}
	}
	return service, method, method != nil
}

// Counters are one worker's of a cluster.
type Counters struct {
	local   *cluster.Local
	methods map[string]*Method
	named   int
	key     []byte
}

type counters struct{}

// Of returns the worker's counters of a cluster.
func Of(l *cluster.Local) *Counters {
	return l.Beside(counters{}, func() any { return &Counters{local: l, methods: map[string]*Method{}} }).(*Counters)
}

// All returns what counts without service and method.
func (c *Counters) All(p Protocol) *Method { return c.method(p, nil, nil, false) }

// Method returns the counters of a method. underscores: for the dots in the service's name.
func (c *Counters) Method(p Protocol, service, method []byte, underscores bool) *Method {
	if len(service)+len(method) > maxName {
		return c.All(p)
	}
	return c.method(p, service, method, underscores)
}

func (c *Counters) method(p Protocol, service, method []byte, underscores bool) *Method {
	c.key = append(c.key[:0], p...)
	if service != nil {
		c.key = append(append(append(append(c.key, '/'), service...), '/'), method...)
	}
	if underscores {
		c.key = append(c.key, '/') // no path ends so: its parts hold no slash
	}
	if m := c.methods[string(c.key)]; m != nil {
		return m
	}
	if service != nil {
		if c.named >= maxMethods {
			return c.All(p)
		}
		c.named++
	}
	m := &Method{local: c.local, scope: scopeOf(c.local, p, string(service), string(method), underscores)}
	c.methods[string(c.key)] = m
	return m
}

func scopeOf(l *cluster.Local, p Protocol, service, method string, underscores bool) stats.Scope {
	sc := l.Scope().Scope(string(p))
	if service == "" {
		return sc
	}
	if underscores {
		service = strings.ReplaceAll(service, ".", "_")
	}
	if p == Web { // Envoy finds no tags in these
		return sc.Scope(service).Scope(method)
	}
	return sc.Tagged("envoy.grpc_bridge_service", service).Tagged("envoy.grpc_bridge_method", method)
}

// Method is one worker's counters of a method.
type Method struct {
	local *cluster.Local
	scope stats.Scope

	success, failure, total, requests, responses stats.Counter
	time                                         stats.Histogram
	codes                                        [17]stats.Counter
	others                                       map[uint64]stats.Counter // codes that gRPC does not define
}

func (m *Method) add(c *stats.Counter, name string, n uint64) {
	if *c == 0 {
		*c = m.scope.Counter(name)
	}
	m.local.Shard().Add(*c, n)
}

// Status counts a call that ended with a grpc-status header.
func (m *Method) Status(v []byte) {
	// Numbers only: what a host writes there becomes a name.
	if n, err := strconv.ParseUint(string(v), 10, 32); err == nil && strconv.FormatUint(n, 10) == string(v) {
		m.code(n)
	}
	if string(v) == "0" {
		m.add(&m.success, "success", 1)
	} else {
		m.add(&m.failure, "failure", 1)
	}
	m.add(&m.total, "total", 1)
}

func (m *Method) code(n uint64) {
	if n < uint64(len(m.codes)) {
		m.add(&m.codes[n], strconv.FormatUint(n, 10), 1)
		return
	}
	c, ok := m.others[n]
	if !ok {
		if len(m.others) >= maxStatuses {
			return
		}
		if m.others == nil {
			m.others = map[uint64]stats.Counter{}
		}
		c = m.scope.Counter(strconv.FormatUint(n, 10))
		m.others[n] = c
	}
	m.local.Shard().Inc(c)
}

// Requests counts messages of the client.
func (m *Method) Requests(n int) { m.add(&m.requests, "request_message_count", uint64(n)) }

// Responses counts messages of the server.
func (m *Method) Responses(n int) { m.add(&m.responses, "response_message_count", uint64(n)) }

// Time records how long a server took.
func (m *Method) Time(d time.Duration) {
	if m.time == 0 {
		m.time = m.scope.Histogram("upstream_rq_time")
	}
	m.local.Shard().Record(m.time, uint64(max(d, 0)/time.Millisecond))
}
