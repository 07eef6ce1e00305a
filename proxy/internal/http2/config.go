package http2

import "time"

// Config is what the connections of one side have in common. It is not changed after use. Zero fields take the default,
// which is Envoy's unless it says otherwise.
type Config struct {
	// Server says which role this is.
	Server bool
	// MaxConcurrentStreams is how many streams the peer of a server may have open, and how many a client opens at most,
	// whatever the server allows; default 1024.
	MaxConcurrentStreams uint32
	// StreamWindow and ConnWindow are how many bytes the peer may send before we have passed them on; default 1 MiB and
	// 4 MiB. (Envoy's are 16 and 24 MiB, which one connection of a hostile peer can fill.)
	StreamWindow, ConnWindow uint32
	// HeaderTableSize bounds the dynamic tables of both directions; nil: 4096. 0 turns them off.
	HeaderTableSize *uint32
	// PlainStrings turns the Huffman code off.
	PlainStrings bool
	// AllowConnect offers extended CONNECT (RFC 8441).
	AllowConnect bool
	// MaxHeaderBytes bounds names and values of one message; default 60 KiB. MaxHeaders is their number; default 100.
	MaxHeaderBytes, MaxHeaders int
	// StreamErrors ends the stream alone when a message is malformed; otherwise the connection ends with it.
	StreamErrors bool
	// SendLimit is how many bytes of one stream wait for the peer's window before the stream counts as blocked; default
	// 64 KiB.
	SendLimit int
	// Keepalive asks the peer for signs of life; nil: never.
	Keepalive *Keepalive
	// FlushTimeout is how long a stream that its owner is done with may wait for the peer to take its last bytes; 0: for
	// ever.
	FlushTimeout time.Duration

	// Limits on abuse; see abuse.go. Nil pointers take the default, because 0 has a meaning.
	MaxOutboundFrames           uint32  // 10000
	MaxOutboundControlFrames    uint32  // 1000
	MaxEmptyFrames              *uint32 // 1
	MaxPriorityFramesPerStream  *uint32 // 100
	MaxWindowUpdatesPerDataSent uint32  // 10
	// MaxPrematureResets is the number of streams after which half of them must not have been reset early; default 500.
	MaxPrematureResets uint32
}

// Defaults of Config.
const (
	DefaultMaxConcurrentStreams = 1024
	DefaultStreamWindow         = 1 << 20
	DefaultConnWindow           = 4 << 20
	defaultHeaderBytes          = 60 << 10
	defaultHeaders              = 100
	defaultSendLimit            = 64 << 10
)

// limits is a Config with its defaults applied.
type limits struct {
	streams                  uint32
	streamWindow, connWindow uint32
	table                    uint32
	headerBytes, headers     int
	sendLimit                int
	outFrames, outControl    uint32
	empty, priority, windows uint32
	premature                uint32
}

func or[T uint32 | int](v, d T) T {
	if v == 0 {
		return d
	}
	return v
}

func orPtr(v *uint32, d uint32) uint32 {
	if v == nil {
		return d
	}
	return *v
}

// maxTable bounds the dynamic tables whatever is configured: indices of larger ones could not be read back.
const maxTable = 1 << 26

func (c *Config) limits() limits {
	return limits{
		streams:      or(c.MaxConcurrentStreams, DefaultMaxConcurrentStreams),
		streamWindow: min(or(c.StreamWindow, DefaultStreamWindow), maxWindow),
		connWindow:   min(max(or(c.ConnWindow, DefaultConnWindow), defaultWindow), maxWindow),
		table:        min(orPtr(c.HeaderTableSize, 4096), maxTable),
		headerBytes:  or(c.MaxHeaderBytes, defaultHeaderBytes),
		headers:      or(c.MaxHeaders, defaultHeaders),
		sendLimit:    or(c.SendLimit, defaultSendLimit),
		outFrames:    or(c.MaxOutboundFrames, 10000),
		outControl:   or(c.MaxOutboundControlFrames, 1000),
		empty:        orPtr(c.MaxEmptyFrames, 1),
		priority:     orPtr(c.MaxPriorityFramesPerStream, 100),
		windows:      or(c.MaxWindowUpdatesPerDataSent, 10),
		premature:    or(c.MaxPrematureResets, 500),
	}
}
