package peermetadata

import (
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/structpb"
)

// Peers of a TCP connection whose TLS has agreed on the ALPN of Istio's metadata exchange say who
// they are at the head of the stream, each side before its first byte (istio/proxy,
// source/extensions/filters/network/metadata_exchange): a magic number and a length, four bytes
// each in network order, and that many bytes of an Any with a Struct.
const (
	preambleMagic  = 0x3D230467
	preambleHeader = 8
	// MaxPreamble bounds the bytes behind the header. Istio's proxies send some hundreds.
	MaxPreamble = 64 << 10

	preambleID       = "x-envoy-peer-metadata-id"
	preambleMetadata = "x-envoy-peer-metadata"
)

// What is wrong with a preamble.
var (
	// ErrNoPreamble: the stream begins otherwise; its bytes belong to the application.
	ErrNoPreamble = errors.New("the stream does not begin with peer metadata")
	// ErrPreambleTooLarge: it says that it is larger than MaxPreamble.
	ErrPreambleTooLarge = errors.New("the peer metadata at the head of the stream are too large")
)

// Preamble is what our side sends: the node's id and its metadata as Encode made them.
func Preamble(id, encoded string) ([]byte, error) {
	raw, err := base64.StdEncoding.DecodeString(encoded)
	if err != nil {
		return nil, fmt.Errorf("peer metadata of %q: %w", id, err)
	}
	metadata := &structpb.Struct{}
	if err := proto.Unmarshal(raw, metadata); err != nil {
		return nil, fmt.Errorf("peer metadata of %q: %w", id, err)
	}
	sorted := proto.MarshalOptions{Deterministic: true}
	any := &anypb.Any{}
	err = anypb.MarshalFrom(any, &structpb.Struct{Fields: map[string]*structpb.Value{
		preambleID:       structpb.NewStringValue(id),
		preambleMetadata: structpb.NewStructValue(metadata),
	}}, sorted)
	if err != nil {
		return nil, fmt.Errorf("peer metadata of %q: %w", id, err)
	}
	body, err := sorted.Marshal(any)
	if err != nil {
		return nil, fmt.Errorf("peer metadata of %q: %w", id, err)
	}
	if len(body) > MaxPreamble {
		return nil, fmt.Errorf("peer metadata of %q: %d bytes, more than the %d that a peer accepts", id, len(body), MaxPreamble)
	}
	out := binary.BigEndian.AppendUint32(nil, preambleMagic)
	out = binary.BigEndian.AppendUint32(out, uint32(len(body)))
	return append(out, body...), nil
}

// TakePreamble looks for a preamble at the start of b. It returns its length and the bytes
// behind its header, for Cache.Preamble; n is 0 without an error while more of it is to come.
func TakePreamble(b []byte) (n int, body []byte, err error) {
	var magic [4]byte
	binary.BigEndian.PutUint32(magic[:], preambleMagic)
	for i := range min(len(b), len(magic)) {
		if b[i] != magic[i] {
			return 0, nil, ErrNoPreamble
		}
	}
	if len(b) < preambleHeader {
		return 0, nil, nil
	}
	size := binary.BigEndian.Uint32(b[4:])
	if size > MaxPreamble {
		return 0, nil, ErrPreambleTooLarge
	}
	n = preambleHeader + int(size)
	if len(b) < n {
		return 0, nil, nil
	}
	return n, b[preambleHeader:n], nil
}

// decodePreamble reads the bytes behind the header.
func decodePreamble(body []byte) (*Peer, error) {
	any, s := &anypb.Any{}, &structpb.Struct{}
	if err := proto.Unmarshal(body, any); err != nil {
		return nil, fmt.Errorf("peer metadata at the head of a stream: %w", err)
	}
	if err := any.UnmarshalTo(s); err != nil {
		return nil, fmt.Errorf("peer metadata at the head of a stream: %w", err)
	}
	id := s.GetFields()[preambleID].GetStringValue()
	return FromNode(id, s.GetFields()[preambleMetadata].GetStructValue().AsMap()), nil
}
