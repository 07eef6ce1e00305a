package http2

import "encoding/binary"

// Preface is what a client's connection begins with.
const Preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

// Frame types (RFC 9113, 6).
const (
	frameData byte = iota
	frameHeaders
	framePriority
	frameRSTStream
	frameSettings
	framePushPromise
	framePing
	frameGoAway
	frameWindowUpdate
	frameContinuation
)

// Flags.
const (
	flagAck        byte = 0x1 // SETTINGS, PING
	flagEndStream  byte = 0x1
	flagEndHeaders byte = 0x4
	flagPadded     byte = 0x8
	flagPriority   byte = 0x20
)

// Settings (RFC 9113, 6.5.2; RFC 8441, 3).
const (
	settingHeaderTableSize      = 0x1
	settingEnablePush           = 0x2
	settingMaxConcurrentStreams = 0x3
	settingInitialWindowSize    = 0x4
	settingMaxFrameSize         = 0x5
	settingMaxHeaderListSize    = 0x6
	settingEnableConnect        = 0x8
)

const (
	frameHeaderLen = 9
	// Of whole frames.
	resetLen        = frameHeaderLen + 4
	windowUpdateLen = frameHeaderLen + 4
	defaultWindow   = 65535
	maxWindow       = 1<<31 - 1
	// ourFrameSize is the largest frame that we take: the least that there is. Larger ones win nothing, and hold up
	// other streams.
	ourFrameSize = 16384
	maxStreamID  = 1<<31 - 1
)

// frame is a frame's header.
type frame struct {
	length uint32
	kind   byte
	flags  byte
	stream uint32
}

func parseFrame(p []byte) frame {
	return frame{
		length: uint32(p[0])<<16 | uint32(p[1])<<8 | uint32(p[2]),
		kind:   p[3],
		flags:  p[4],
		stream: binary.BigEndian.Uint32(p[5:]) & maxStreamID,
	}
}

func (f frame) has(flag byte) bool { return f.flags&flag != 0 }

// putFrame writes a frame's header into the first nine bytes of p.
func putFrame(p []byte, length int, kind, flags byte, stream uint32) {
	_ = p[8]
	p[0], p[1], p[2] = byte(length>>16), byte(length>>8), byte(length)
	p[3], p[4] = kind, flags
	binary.BigEndian.PutUint32(p[5:], stream)
}
