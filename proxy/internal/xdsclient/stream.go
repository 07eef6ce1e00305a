package xdsclient

import (
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"sync"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	statuspb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc/metadata"
)

// response is a received message in the form that both variants share.
type response struct {
	typeURL   string
	nonce     string
	version   string
	resources []rawResource
	removed   []string
	sotw      bool
}

// transport hides which variant a stream speaks.
type transport interface {
	// request tells the state of one type: what is new in it (delta) or all of it.
	request(t *typeState, typeURL string, first bool) error
	// ack answers a response; detail nil accepts.
	ack(t *typeState, r *response, detail *statuspb.Status) error
	recv() (*response, error)
}

// stream runs one stream to its end. heard tells whether anything was received.
func (c *Client) stream(ctx context.Context) (heard bool, err error) {
	ctx, cancel := context.WithCancel(ctx)
	conn, err := c.cfg.Dial(ctx)
	if err != nil {
		cancel()
		return false, err
	}
	var wg sync.WaitGroup
	defer wg.Wait()
	defer conn.Close()
	defer cancel()
	if kv := c.cfg.Call.Pairs(); len(kv) > 0 {
		ctx = metadata.AppendToOutgoingContext(ctx, kv...)
	}
	tr, err := c.open(ctx, conn)
	if err != nil {
		return false, err
	}
	c.reset()

	received := make(chan *response)
	failed := make(chan error, 1)
	inUse := make(chan *response) // held ones that are warm
	wg.Go(func() {
		for {
			r, err := tr.recv()
			if err != nil {
				failed <- err
				return
			}
			select {
			case received <- r:
			case <-ctx.Done():
				return
			}
		}
	})
	for {
		if err := c.sendPending(tr); err != nil {
			return heard, sendError(err, failed)
		}
		select {
		case <-ctx.Done():
			return heard, ctx.Err()
		case err := <-failed:
			return heard, err
		case <-c.wake:
		case r := <-received:
			if !heard {
				heard = true
				c.cfg.Handler.Connected(true, nil)
			}
			warm, err := c.respond(tr, r)
			if err != nil {
				return heard, sendError(err, failed)
			}
			if warm != nil {
				wg.Go(func() { tellWarm(ctx, warm, r, inUse) })
			}
		case r := <-inUse:
			if err := c.release(tr, r); err != nil {
				return heard, sendError(err, failed)
			}
		}
	}
}

// tellWarm waits until what a response brought is in use.
func tellWarm(ctx context.Context, warm <-chan struct{}, r *response, inUse chan<- *response) {
	select {
	case <-warm:
	case <-ctx.Done():
		return
	}
	select {
	case inUse <- r:
	case <-ctx.Done():
	}
}

// release acknowledges a response that was held.
func (c *Client) release(tr transport, r *response) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.acknowledge(tr, c.types[r.typeURL], r)
}

// sendError prefers what the receiver saw: Send reports only io.EOF when the peer ended the stream.
func sendError(err error, failed <-chan error) error {
	if err != io.EOF {
		return err
	}
	select {
	case err = <-failed:
		return err
	default:
		return errClosed
	}
}

// sendPending says what has changed in the subscriptions since the last call.
func (c *Client) sendPending(tr transport) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	first := !slices.ContainsFunc(c.order, func(u string) bool { return c.types[u].started })
	for _, url := range c.order {
		t := c.types[url]
		if !t.wildcard && len(t.wanted) == 0 && !t.started {
			continue
		}
		if t.started && len(t.add) == 0 && len(t.remove) == 0 && !t.dirty {
			continue
		}
		if err := tr.request(t, url, first); err != nil {
			return fmt.Errorf("request %s: %w", url, err)
		}
		first = false
		t.started, t.dirty = true, false
		clear(t.add)
		clear(t.remove)
	}
	return nil
}

type deltaTransport struct {
	c *Client
	s deltaStream
}

func (d *deltaTransport) request(t *typeState, typeURL string, first bool) error {
	req := &discoveryv3.DeltaDiscoveryRequest{TypeUrl: typeURL}
	if first { // the protocol wants the node on the first message only
		req.Node = d.c.cfg.Node
	}
	if !t.started {
		req.InitialResourceVersions = maps.Clone(t.versions)
		req.ResourceNamesSubscribe = t.subscribed()
	} else {
		req.ResourceNamesSubscribe = slices.Sorted(maps.Keys(t.add))
		req.ResourceNamesUnsubscribe = slices.Sorted(maps.Keys(t.remove))
	}
	return d.s.Send(req)
}

func (d *deltaTransport) ack(_ *typeState, r *response, detail *statuspb.Status) error {
	return d.s.Send(&discoveryv3.DeltaDiscoveryRequest{TypeUrl: r.typeURL, ResponseNonce: r.nonce, ErrorDetail: detail})
}

func (d *deltaTransport) recv() (*response, error) {
	m, err := d.s.Recv()
	if err != nil {
		return nil, err
	}
	r := &response{typeURL: m.GetTypeUrl(), nonce: m.GetNonce(), version: m.GetSystemVersionInfo(), removed: m.GetRemovedResources()}
	for _, res := range m.GetResources() {
		r.resources = append(r.resources, rawResource{name: res.GetName(), version: res.GetVersion(), aliases: res.GetAliases(), body: res.GetResource()})
	}
	return r, nil
}

type sotwTransport struct {
	c *Client
	s sotwStream
}

func (s *sotwTransport) request(t *typeState, typeURL string, first bool) error {
	if len(t.held) > 0 {
		return nil // it would acknowledge; the acknowledgement to come carries the names
	}
	req := &discoveryv3.DiscoveryRequest{TypeUrl: typeURL, VersionInfo: t.version, ResponseNonce: t.nonce}
	if first {
		req.Node = s.c.cfg.Node
	}
	req.ResourceNames = t.subscribed()
	return s.s.Send(req)
}

func (s *sotwTransport) ack(t *typeState, r *response, detail *statuspb.Status) error {
	req := &discoveryv3.DiscoveryRequest{TypeUrl: r.typeURL, ResponseNonce: r.nonce, VersionInfo: t.version, ErrorDetail: detail}
	req.ResourceNames = t.subscribed()
	t.dirty = false // this request carries the names, too
	return s.s.Send(req)
}

func (s *sotwTransport) recv() (*response, error) {
	m, err := s.s.Recv()
	if err != nil {
		return nil, err
	}
	r := &response{typeURL: m.GetTypeUrl(), nonce: m.GetNonce(), version: m.GetVersionInfo(), sotw: true}
	for _, body := range m.GetResources() {
		r.resources = append(r.resources, rawResource{version: m.GetVersionInfo(), body: body})
	}
	return r, nil
}
