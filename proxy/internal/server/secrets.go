package server

import (
	"cmp"
	"log/slog"
	"math"
	"slices"
	"strings"
	"sync"
	"time"

	"google.golang.org/protobuf/types/known/anypb"

	"github.com/lateen-mesh/lateen/proxy/internal/transportsocket"
	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

// secretKey names a secret: the same name from two sources is two secrets.
type secretKey struct {
	source string // SDS cluster; "" for ADS, xdsresource.SDSStatic for the bootstrap
	name   string
}

// secrets keeps the values of SDS secrets and tells subscribers of new ones. It is
// transportsocket's SecretProvider and xdsclient's Secrets. Its methods may be called from
// any goroutine.
type secrets struct {
	log *slog.Logger
	// subscribe and unsubscribe reach the source of a secret: the first and the last
	// subscriber of a name causes a call.
	subscribe, unsubscribe func(secretKey)

	mu   sync.Mutex
	byID map[secretKey]*secret
	// audited are the live configurations of TLS, in the order in which they came.
	audited []*audit
}

type audit struct {
	inventory func() transportsocket.Inventory
}

// Audit implements transportsocket.Auditor.
func (s *secrets) Audit(inventory func() transportsocket.Inventory) (end func()) {
	a := &audit{inventory}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.audited = append(s.audited, a)
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.audited = slices.DeleteFunc(s.audited, func(b *audit) bool { return a == b })
	}
}

// Certificates lists what the live configurations of TLS show and trust.
func (s *Server) Certificates() []transportsocket.Inventory {
	s.secrets.mu.Lock()
	audited := slices.Clone(s.secrets.audited)
	s.secrets.mu.Unlock()
	out := make([]transportsocket.Inventory, len(audited))
	for i, a := range audited {
		out[i] = a.inventory()
	}
	return out
}

// noCertificate is what server.days_until_first_cert_expiring says when there is none.
const noCertificate = math.MaxUint32

// firstExpiry is in how many days the first certificate that is used or trusted expires, 0 when one has.
func (s *Server) firstExpiry(now time.Time) int {
	first := noCertificate
	for _, inv := range s.Certificates() {
		for _, b := range append(inv.Own, inv.Trusted) {
			for _, c := range b.Certificates {
				first = min(first, max(0, int(c.NotAfter.Sub(now)/(24*time.Hour))))
			}
		}
	}
	return first
}

type secret struct {
	value   *xdsresource.Secret // nil: not known yet
	version string
	updated time.Time
	raw     *anypb.Any
	// absent: the source says that there is none, or none that can be used.
	absent bool
	// notify serialises the calls of subscribers, which the interface promises.
	notify sync.Mutex
	subs   map[*subscription]struct{}
}

type subscription struct {
	certificate func(xdsresource.TLSCertificate)
	validation  func(xdsresource.ValidationContext)
	tickets     func(xdsresource.TicketKeys)
	any         func() // for warming
}

func newSecrets(log *slog.Logger) *secrets {
	return &secrets{log: log, byID: map[secretKey]*secret{}}
}

// Certificate subscribes to a certificate.
func (s *secrets) Certificate(source, name string, changed func(xdsresource.TLSCertificate)) func() {
	return s.add(secretKey{adsSource(source), name}, &subscription{certificate: changed})
}

// Validation subscribes to a validation context.
func (s *secrets) Validation(source, name string, changed func(xdsresource.ValidationContext)) func() {
	return s.add(secretKey{adsSource(source), name}, &subscription{validation: changed})
}

// TicketKeys subscribes to keys of session tickets.
func (s *secrets) TicketKeys(source, name string, changed func(xdsresource.TicketKeys)) func() {
	return s.add(secretKey{adsSource(source), name}, &subscription{tickets: changed})
}

// watch calls arrived whenever the secret has a value or its source says that there is none, the
// first time before it returns if there is a value already.
func (s *secrets) watch(key secretKey, arrived func()) func() {
	return s.add(key, &subscription{any: arrived})
}

func adsSource(source string) string {
	if source == "ads" {
		return ""
	}
	return source
}

func (s *secrets) add(key secretKey, sub *subscription) (cancel func()) {
	s.mu.Lock()
	e := s.byID[key]
	first := e == nil
	if first {
		e = &secret{subs: map[*subscription]struct{}{}}
		s.byID[key] = e
	}
	first = first || len(e.subs) == 0
	e.subs[sub] = struct{}{}
	s.mu.Unlock()
	if first && key.source != xdsresource.SDSStatic {
		s.subscribe(key)
	}
	e.notify.Lock()
	s.mu.Lock()
	v := e.value
	s.mu.Unlock()
	if v != nil {
		sub.tell(v)
	}
	e.notify.Unlock()
	return func() {
		s.mu.Lock()
		_, had := e.subs[sub]
		delete(e.subs, sub)
		last := had && len(e.subs) == 0 && key.source != xdsresource.SDSStatic
		if last {
			delete(s.byID, key)
		}
		s.mu.Unlock()
		if last {
			s.unsubscribe(key)
		}
	}
}

func (sub *subscription) tell(v *xdsresource.Secret) {
	switch {
	case sub.certificate != nil && v.Certificate != nil:
		sub.certificate(*v.Certificate)
	case sub.validation != nil && v.Validation != nil:
		sub.validation(*v.Validation)
	case sub.tickets != nil && v.Tickets != nil:
		sub.tickets(v.Tickets)
	case sub.any != nil:
		sub.any()
	}
}

// set stores a value and tells the subscribers. It reports whether anybody still wants the secret.
func (s *secrets) set(key secretKey, v *xdsresource.Secret, version string, raw *anypb.Any) bool {
	s.mu.Lock()
	e := s.byID[key]
	if e == nil {
		if key.source != xdsresource.SDSStatic {
			s.mu.Unlock() // nobody wants it any more
			return false
		}
		e = &secret{subs: map[*subscription]struct{}{}}
		s.byID[key] = e
	}
	s.mu.Unlock()
	e.notify.Lock()
	defer e.notify.Unlock()
	s.mu.Lock()
	rotated := e.value != nil
	e.value, e.version, e.updated, e.raw, e.absent = v, version, time.Now(), raw, false
	subs := make([]*subscription, 0, len(e.subs))
	for sub := range e.subs {
		subs = append(subs, sub)
	}
	s.mu.Unlock()
	if rotated {
		s.log.Info("secret rotated", "name", key.name)
	}
	for _, sub := range subs {
		sub.tell(v)
	}
	return true
}

// setAbsent notes that a secret's source has none of that name. What waits for it goes on without: its handshakes fail, by the
// name of the secret, and others are not held up. A value that was there before stays in use, as in Envoy: a certificate that is being
// replaced by deletion and creation must not cost a connection.
func (s *secrets) setAbsent(key secretKey) {
	s.mu.Lock()
	e := s.byID[key]
	if e == nil || e.value != nil {
		s.mu.Unlock()
		return
	}
	e.absent = true
	subs := make([]*subscription, 0, len(e.subs))
	for sub := range e.subs {
		subs = append(subs, sub)
	}
	s.mu.Unlock()
	s.log.Warn("there is no such secret, or none that can be used; connections that need it will fail", "name", key.name)
	for _, sub := range subs {
		if sub.any != nil {
			sub.any()
		}
	}
}

// answered reports whether a secret has a value, or will not have one for now.
func (s *secrets) answered(key secretKey) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.byID[key]
	return e != nil && (e.value != nil || e.absent)
}

// secretNeed is a secret that a listener waits for, and how long it does; 0: for ever.
type secretNeed struct {
	secretKey
	wait time.Duration
}

// serverSecrets lists the secrets that a server's TLS needs.
func serverSecrets(c *xdsresource.DownstreamTLS) []secretNeed {
	var out []secretNeed
	for _, cert := range c.Certificates {
		out = appendNeed(out, &cert)
	}
	return appendNeed(appendNeed(out, c.Validation), c.Tickets)
}

func appendNeed[T any](out []secretNeed, s *xdsresource.TLSSource[T]) []secretNeed {
	if s == nil || s.Inline != nil {
		return out
	}
	return append(out, secretNeed{secretKey{adsSource(s.SDSCluster), s.SDS}, s.FetchTimeout})
}

// view lists what is known and what is waited for, in order of name.
func (s *secrets) view() []SecretRecord {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []SecretRecord
	for k, e := range s.byID {
		r := SecretRecord{Source: k.source, Record: Record{
			Name: k.name, Static: k.source == xdsresource.SDSStatic, Version: e.version, Updated: e.updated, Raw: e.raw,
		}}
		if e.value == nil {
			r.State = Warming
		}
		out = append(out, r)
	}
	slices.SortFunc(out, func(a, b SecretRecord) int {
		return cmp.Or(strings.Compare(a.Name, b.Name), strings.Compare(a.Source, b.Source))
	})
	return out
}
