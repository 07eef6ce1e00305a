package xdsserver

import (
	"errors"
	"fmt"
	"unicode/utf8"

	corepb "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	statuspb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/lateen-mesh/lateen/controlplane/internal/xdscache"
)

// A proxy that reconnects states the version of all that it has: thousands of entries, from thousands of proxies at once when a control
// plane was restarted. Decoded into a map, as the generated type does, they cost more than everything else together. So delta requests
// are read by hand, their strings being parts of one copy of the message. A fuzz test holds this against the generated type.

// wireRequest is a DeltaDiscoveryRequest as Codec decodes it.
type wireRequest struct {
	node                   *corepb.Node
	typeURL, nonce         string
	subscribe, unsubscribe []string
	initial                []xdscache.Stated
	refused                *statuspb.Status
}

// The field numbers of DeltaDiscoveryRequest.
const (
	requestNode, requestTypeURL, requestSubscribe, requestUnsubscribe, requestInitial, requestNonce, requestError = 1, 2, 3, 4, 5, 6, 7
	entryKey, entryValue                                                                                          = 1, 2
)

var (
	errWire = errors.New("the request is not a valid protobuf message")
	errUTF8 = errors.New("the request has a string that is not UTF-8")
)

// unmarshal reads a message. What it keeps refers to text.
func (r *wireRequest) unmarshal(text string) error {
	return eachField(text, func(number protowire.Number, value string) error {
		switch number {
		case requestNode:
			if r.node == nil {
				r.node = &corepb.Node{}
			}
			return proto.UnmarshalOptions{Merge: true}.Unmarshal([]byte(value), r.node)
		case requestError:
			if r.refused == nil {
				r.refused = &statuspb.Status{}
			}
			return proto.UnmarshalOptions{Merge: true}.Unmarshal([]byte(value), r.refused)
		case requestInitial:
			if r.initial == nil {
				r.initial = make([]xdscache.Stated, 0, countEntries(text))
			}
			s, err := readEntry(value)
			r.initial = append(r.initial, s)
			return err
		}
		if number <= requestNonce && !utf8.ValidString(value) {
			return errUTF8
		}
		switch number {
		case requestTypeURL:
			r.typeURL = value
		case requestNonce:
			r.nonce = value
		case requestSubscribe:
			r.subscribe = append(r.subscribe, value)
		case requestUnsubscribe:
			r.unsubscribe = append(r.unsubscribe, value)
		}
		return nil
	})
}

// countEntries says how many versions a message states, so that their list is made once: it is most of what such a message costs.
func countEntries(text string) (n int) {
	_ = eachField(text, func(number protowire.Number, _ string) error { // whoever asks reads it himself
		if number == requestInitial {
			n++
		}
		return nil
	})
	return n
}

func readEntry(text string) (xdscache.Stated, error) {
	var s xdscache.Stated
	err := eachField(text, func(number protowire.Number, value string) error {
		if number <= entryValue && !utf8.ValidString(value) {
			return errUTF8
		}
		switch number {
		case entryKey:
			s.Name = value
		case entryValue:
			s.Version = value
		}
		return nil
	})
	return s, err
}

// eachField calls f for every length-delimited field, and passes over the others: the message has none that matter.
func eachField(text string, f func(protowire.Number, string) error) error {
	for len(text) > 0 {
		tag, n := varint(text)
		number, kind := protowire.DecodeTag(tag)
		if n == 0 || number < protowire.MinValidNumber || number > protowire.MaxValidNumber {
			return errWire
		}
		if kind != protowire.BytesType {
			skip := protowire.ConsumeFieldValue(number, kind, []byte(text[n:]))
			if skip < 0 {
				return errWire
			}
			text = text[n+skip:]
			continue
		}
		text = text[n:]
		size, n := varint(text)
		if n == 0 || size > uint64(len(text)-n) {
			return errWire
		}
		end := n + int(size)
		if err := f(number, text[n:end]); err != nil {
			return err
		}
		text = text[end:]
	}
	return nil
}

// varint reads a number and how many bytes it takes, 0 bytes when there is none
// (https://protobuf.dev/programming-guides/encoding/#varints).
func varint(text string) (v uint64, n int) {
	for i := 0; i < len(text) && i < 10; i++ {
		b := text[i]
		if i == 9 && b > 1 {
			return 0, 0
		}
		v |= uint64(b&0x7f) << (7 * i)
		if b < 0x80 {
			return v, i + 1
		}
	}
	return 0, 0
}

func (r *wireRequest) request() (request, error) {
	req := request{typeURL: r.typeURL, nonce: r.nonce, subscribe: r.subscribe, unsubscribe: r.unsubscribe, initial: r.initial}
	if r.refused != nil {
		req.refusal = refusalText(r.refused.GetMessage())
	}
	if err := errors.Join(checkNames(req.subscribe), checkNames(req.unsubscribe), checkCount(len(req.initial))); err != nil {
		return req, err
	}
	for _, s := range req.initial {
		if len(s.Name) > maxNameBytes || len(s.Version) > maxNameBytes {
			return req, fmt.Errorf("request states a name or version of more than %d bytes", maxNameBytes)
		}
	}
	return req, nil
}
