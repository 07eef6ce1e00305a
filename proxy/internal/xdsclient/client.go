package xdsclient

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	"google.golang.org/grpc"

	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

// Update is a resource that arrived and was found good.
type Update struct {
	xdsresource.Resource
	Version string
	// Aliases are further names that it answers to.
	Aliases []string
}

// Failure is a resource that arrived and was refused.
type Failure struct {
	Name    string
	Version string
	Aliases []string
	Err     error
	// Raw is the refused resource as it came, for the admin API.
	Raw xdsresource.Resource
}

// Batch is one response, judged.
type Batch struct {
	Type    string
	Version string // system version of the response
	Changed []Update
	Removed []string
	Failed  []Failure
	// Absent are names that were asked for and that there is nothing for: virtual hosts that came without
	// content, and what is not in a file. A stream does not tell of the others.
	Absent []string
}

// Handler receives what the control plane sends. Its methods are called from the client's
// goroutine, one at a time; they may call Subscribe and Unsubscribe.
type Handler interface {
	// Update applies a batch and returns, by name, what could not be applied after all; these
	// are refused towards the control plane like the Failed ones. What is applied and not in use yet
	// is acknowledged when warm is closed; nil: at once. A control plane that orders its pushes sends
	// nothing before that which leads there.
	Update(b Batch) (refused map[string]error, warm <-chan struct{})
	// Connected tells that the stream is up (first response seen) or down.
	Connected(up bool, err error)
	// Failed tells, for each type that was asked for, that the stream broke or the file could
	// not be read. What was delivered before stays.
	Failed(typeURL string, err error)
}

// Protocol selects the service and variant of a stream.
type Protocol uint8

// Protocols.
const (
	DeltaADS Protocol = iota
	SotwADS
	SotwSDS // envoy.service.secret.v3, state of the world, as Istio's agent serves
	SotwLDS
	DeltaLDS
	SotwCDS
	DeltaCDS
	SotwRDS
	DeltaRDS
	SotwEDS
	DeltaEDS
	SotwRTDS
	DeltaRTDS
	DeltaSDS
	DeltaVHDS
	SotwSRDS
	DeltaSRDS
	SotwECDS
	DeltaECDS
)

// Config is what a client needs. All fields but Call are required.
type Config struct {
	Node     *corev3.Node
	Protocol Protocol
	// Dial makes a connection for one attempt; the client closes it.
	Dial    func(ctx context.Context) (*grpc.ClientConn, error)
	Decoder *xdsresource.Decoder
	Handler Handler
	Log     *slog.Logger
	// Call says what is sent with the stream, and how long the pause between attempts is: 100 ms to 5 s
	// where it does not say.
	Call xdsresource.GRPCCall
}

// Client holds subscriptions over streams that come and go.
type Client struct {
	cfg Config
	// wake has one element when the stream should look at the subscriptions again.
	wake chan struct{}

	mu    sync.Mutex
	types map[string]*typeState // by type URL
	order []string              // in the order in which types were first subscribed
}

// typeState is what is wanted, held and still to be said for one type.
type typeState struct {
	wildcard bool              // everything of the type
	wanted   map[string]bool   // names, beside everything where the control plane keeps some for those who ask
	versions map[string]string // accepted resources, by name
	refused  map[string]bool   // names of which nothing was accepted
	version  string            // of the last accepted response, state of the world only

	// Of the current stream:
	started bool            // the first request went out
	named   bool            // a request had names, so that one without does not ask for everything
	nonce   string          // of the last response that was answered, state of the world only
	held    []*response     // applied, and to be acknowledged when they are warm, in order
	add     map[string]bool // to be subscribed with the next request
	remove  map[string]bool
	dirty   bool // state of the world: names changed
}

// New returns a client; it connects in Run.
func New(cfg Config) *Client {
	if cfg.Call.BackOffBase == 0 {
		cfg.Call.BackOffBase = 100 * time.Millisecond
	}
	if cfg.Call.BackOffMax == 0 {
		cfg.Call.BackOffMax = 5 * time.Second
	}
	return &Client{cfg: cfg, wake: make(chan struct{}, 1), types: map[string]*typeState{}}
}

// SubscribeAll asks for every resource of a type (LDS and CDS). It may be called at any time.
func (c *Client) SubscribeAll(typeURL string) {
	c.mu.Lock()
	c.state(typeURL).wildcard = true
	c.mu.Unlock()
	c.poke()
}

// Subscribe asks for a resource by name.
func (c *Client) Subscribe(typeURL, name string) {
	c.mu.Lock()
	t := c.state(typeURL)
	if !t.wanted[name] {
		t.wanted[name] = true
		delete(t.remove, name)
		t.add[name] = true
		t.dirty = true
	}
	c.mu.Unlock()
	c.poke()
}

// Unsubscribe takes a name back, or forgets a resource that came by another name that was taken back.
func (c *Client) Unsubscribe(typeURL, name string) {
	c.mu.Lock()
	t := c.state(typeURL)
	delete(t.versions, name)
	if t.wanted[name] {
		delete(t.wanted, name)
		delete(t.refused, name)
		// A name that was not sent yet need not be taken back either.
		if t.add[name] {
			delete(t.add, name)
		} else {
			t.remove[name] = true
		}
		t.dirty = true
	}
	c.mu.Unlock()
	c.poke()
}

func (c *Client) state(typeURL string) *typeState {
	t := c.types[typeURL]
	if t == nil {
		t = &typeState{
			wanted: map[string]bool{}, versions: map[string]string{}, refused: map[string]bool{},
			add: map[string]bool{}, remove: map[string]bool{},
		}
		c.types[typeURL] = t
		c.order = append(c.order, typeURL)
	}
	return t
}

func (c *Client) poke() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// Run keeps a stream open until ctx ends.
func (c *Client) Run(ctx context.Context) error {
	attempt := 0
	for {
		heard, err := c.stream(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if heard {
			attempt = 0
		}
		c.cfg.Handler.Connected(false, err)
		for _, url := range c.asked() {
			c.cfg.Handler.Failed(url, err)
		}
		pause := c.backOff(attempt)
		attempt++
		c.cfg.Log.Warn("xDS stream ended, will connect again", "error", err, "after", pause)
		timer := time.NewTimer(pause)
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil
		case <-timer.C:
		}
	}
}

// backOff is exponential with jitter over its upper half, so that proxies that lost the same
// control plane do not return at the same moment.
func (c *Client) backOff(attempt int) time.Duration {
	d := c.cfg.Call.BackOffBase << min(attempt, 16)
	if d > c.cfg.Call.BackOffMax || d <= 0 {
		d = c.cfg.Call.BackOffMax
	}
	return d/2 + rand.N(d/2+1)
}

// asked lists the types that the last stream asked for.
func (c *Client) asked() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(c.order), func(url string) bool { return !c.types[url].started })
}

// reset prepares the states for a new stream: everything is to be said again.
func (c *Client) reset() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, t := range c.types {
		t.started, t.named, t.nonce, t.dirty = false, false, "", false
		t.held = nil
		t.add, t.remove = map[string]bool{}, map[string]bool{}
	}
}

// subscribed returns the names of the first request of a stream, and of each in state of the world, in
// order. None asks for everything, as long as the stream has had none; else that is called "*". The
// caller holds mu.
func (t *typeState) subscribed() []string {
	names := slices.Sorted(maps.Keys(t.wanted))
	t.named = t.named || len(names) > 0
	if t.wildcard && t.named {
		names = slices.Insert(names, 0, "*")
	}
	return names
}

var errClosed = errors.New("the control plane closed the stream")
