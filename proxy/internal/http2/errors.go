package http2

import "strconv"

// Code is an error code on the wire (RFC 9113, 7).
type Code uint32

// Codes.
const (
	NoError            Code = 0x0
	ProtocolError      Code = 0x1
	InternalError      Code = 0x2
	FlowControlError   Code = 0x3
	SettingsTimeout    Code = 0x4
	StreamClosed       Code = 0x5
	FrameSizeError     Code = 0x6
	RefusedStream      Code = 0x7
	Cancel             Code = 0x8
	CompressionError   Code = 0x9
	ConnectError       Code = 0xa
	EnhanceYourCalm    Code = 0xb
	InadequateSecurity Code = 0xc
	HTTP11Required     Code = 0xd
)

var codeNames = [...]string{
	"NO_ERROR", "PROTOCOL_ERROR", "INTERNAL_ERROR", "FLOW_CONTROL_ERROR", "SETTINGS_TIMEOUT", "STREAM_CLOSED",
	"FRAME_SIZE_ERROR", "REFUSED_STREAM", "CANCEL", "COMPRESSION_ERROR", "CONNECT_ERROR", "ENHANCE_YOUR_CALM",
	"INADEQUATE_SECURITY", "HTTP_1_1_REQUIRED",
}

func (c Code) String() string {
	if int(c) < len(codeNames) {
		return codeNames[c]
	}
	return "code " + strconv.FormatUint(uint64(c), 10)
}

// ConnError is a fault of the peer that ends the connection: we say GOAWAY with the code. Values are shared; compare with
// ==. A code that the peer sent to us is a plain Code.
type ConnError struct {
	Code    Code
	Details string // Envoy's response_code_details
	Stat    Stat   // what it counts as
	text    string
}

func (e *ConnError) Error() string { return "http2: " + e.text }

// StreamError is a fault of the peer that ends one stream: we say RST_STREAM with the code. Values are shared.
type StreamError struct {
	Code    Code
	Details string
	Stat    Stat
	text    string
}

func (e *StreamError) Error() string { return "http2: " + e.text }

// Response code details, which are Envoy's.
const (
	detailsHeader    = "http2.invalid.header.field"
	detailsMessaging = "http2.violation.of.messaging.rule"
	detailsProtocol  = "http2.protocol_error"
	detailsTooMany   = "http2.too_many_headers"
)

func connErr(c Code, text string) *ConnError {
	return &ConnError{c, detailsProtocol, StatProtocolError, text}
}

func flood(details string, s Stat, text string) *ConnError {
	return &ConnError{EnhanceYourCalm, details, s, text}
}

// Faults that end the connection.
var (
	ErrPreface            = connErr(ProtocolError, "the connection does not begin with the preface and SETTINGS (RFC 9113, 3.4)")
	ErrFrameSize          = connErr(FrameSizeError, "frame is larger than announced, or of the wrong size for its type (RFC 9113, 4.2)")
	ErrStreamZero         = connErr(ProtocolError, "frame of a stream on stream 0 (RFC 9113, 6)")
	ErrNotStreamZero      = connErr(ProtocolError, "frame of the connection on a stream (RFC 9113, 6)")
	ErrPadding            = connErr(ProtocolError, "padding is longer than the frame (RFC 9113, 6.1)")
	ErrIdleStream         = connErr(ProtocolError, "frame on a stream that was never opened (RFC 9113, 5.1)")
	ErrStreamID           = connErr(ProtocolError, "stream identifier is of the wrong parity (RFC 9113, 5.1.1)")
	ErrHeadersClosed      = connErr(StreamClosed, "HEADERS on a closed stream (RFC 9113, 5.1)")
	ErrContinuation       = connErr(ProtocolError, "CONTINUATION missing, or without a header block (RFC 9113, 6.10)")
	ErrCompression        = connErr(CompressionError, "header block cannot be decoded (RFC 9113, 4.3)")
	ErrSettingValue       = connErr(ProtocolError, "value of a setting is not allowed (RFC 9113, 6.5.2)")
	ErrSettingWindow      = connErr(FlowControlError, "SETTINGS_INITIAL_WINDOW_SIZE is too large (RFC 9113, 6.5.2)")
	ErrSettingsAck        = connErr(FrameSizeError, "SETTINGS acknowledgement with a payload (RFC 9113, 6.5)")
	ErrPush               = connErr(ProtocolError, "PUSH_PROMISE, which we have turned off, or from a client (RFC 9113, 6.6, 8.4)")
	ErrWindowZero         = connErr(ProtocolError, "WINDOW_UPDATE of the connection by 0 (RFC 9113, 6.9)")
	ErrWindowOverflow     = connErr(FlowControlError, "WINDOW_UPDATE beyond the largest window (RFC 9113, 6.9.1)")
	ErrConnWindowExceeded = connErr(FlowControlError, "DATA beyond the connection's window (RFC 9113, 6.9.1)")
	ErrGoAwayRaised       = connErr(ProtocolError, "GOAWAY with a higher last stream than before (RFC 9113, 6.8)")

	ErrHeaderBlock       = flood("http2.header_block_too_large", StatHeaderOverflow, "header block goes on beyond every limit on headers")
	ErrContinuationFlood = flood("http2.continuation_flood", StatHeaderOverflow, "too many CONTINUATION frames in one header block")
	ErrSettingsFlood     = flood("http2.settings_flood", StatProtocolError, "too many settings in one frame")
	ErrEmptyFrames       = flood("http2.inbound_empty_frames_flood", StatEmptyFramesFlood, "too many empty frames in a row")
	ErrPriorityFlood     = flood("http2.inbound_priority_frames_flood", StatPriorityFlood, "too many PRIORITY frames")
	ErrWindowUpdateFlood = flood("http2.inbound_window_update_frames_flood", StatWindowUpdateFlood, "too many WINDOW_UPDATE frames")
	ErrOutboundFlood     = flood("http2.outbound_frames_flood", StatOutboundFlood, "too many frames wait to be read by the peer")
	ErrControlFlood      = flood("http2.outbound_control_frames_flood", StatOutboundControlFlood, "too many answers to PING, SETTINGS and faults wait to be read by the peer")
	ErrPrematureResets   = flood("too_many_premature_resets", StatPrematureResets, "too many streams were reset before their answer began")
)

func streamErr(c Code, text string) *StreamError {
	return &StreamError{c, detailsProtocol, StatProtocolError, text}
}

func malformed(details, text string) *StreamError {
	return &StreamError{ProtocolError, details, StatMessagingError, text}
}

// Faults that end a stream.
var (
	ErrDataClosed           = streamErr(StreamClosed, "DATA on a stream that its sender has ended (RFC 9113, 5.1)")
	ErrStreamWindowExceeded = streamErr(FlowControlError, "DATA beyond the stream's window (RFC 9113, 6.9.1)")
	ErrStreamWindowZero     = streamErr(ProtocolError, "WINDOW_UPDATE of a stream by 0 (RFC 9113, 6.9)")
	ErrStreamWindowOverflow = streamErr(FlowControlError, "WINDOW_UPDATE of a stream beyond the largest window (RFC 9113, 6.9.1)")
	ErrPrioritySize         = streamErr(FrameSizeError, "PRIORITY is not of 5 bytes (RFC 9113, 6.3)")
	ErrDependsOnItself      = streamErr(ProtocolError, "stream depends on itself (RFC 7540, 5.3.1)")
	ErrTooManyStreams       = &StreamError{RefusedStream, "http2.too_many_streams", StatStreamRefused, "more streams than SETTINGS_MAX_CONCURRENT_STREAMS (RFC 9113, 5.1.2)"}
	ErrHeaderListSize       = &StreamError{InternalError, "http2.header_list_size_too_large", StatHeaderListSize, "header list is too large"}
	ErrHeaderCount          = &StreamError{InternalError, detailsTooMany, StatHeaderOverflow, "too many headers"}

	ErrName             = malformed(detailsHeader, "header name is not a token in lower case (RFC 9113, 8.2.1)")
	ErrValue            = malformed(detailsHeader, "header value has a character that is not allowed (RFC 9113, 8.2.1)")
	ErrConnectionHeader = malformed(detailsHeader, "header of a connection, or TE other than trailers (RFC 9113, 8.2.2)")
	ErrPseudo           = malformed(detailsHeader, "pseudo-header that is unknown, not for this message, or doubled (RFC 9113, 8.3)")
	ErrPseudoLate       = malformed(detailsHeader, "pseudo-header behind a header (RFC 9113, 8.3)")
	ErrPseudoMissing    = malformed(detailsMessaging, "pseudo-header is missing, or not for this method (RFC 9113, 8.3.1, 8.5)")
	ErrMethod           = malformed(detailsHeader, "method is not a token (RFC 9110, 9.1)")
	ErrPath             = malformed(detailsHeader, ":path is empty or malformed (RFC 9113, 8.3.1)")
	ErrPathStart        = malformed(detailsMessaging, ":path does not begin with a slash (RFC 9113, 8.3.1)")
	ErrScheme           = malformed(detailsHeader, ":scheme is malformed (RFC 3986, 3.1)")
	ErrAuthority        = malformed(detailsHeader, ":authority is malformed (RFC 9113, 8.3.1)")
	ErrHost             = malformed(detailsHeader, "host differs from :authority, or is doubled (RFC 9113, 8.3.1)")
	ErrProtocolOff      = malformed(detailsHeader, ":protocol, which we have not offered (RFC 8441, 3)")
	ErrStatus           = malformed(detailsHeader, ":status is not a number of three digits that is allowed (RFC 9113, 8.3.2)")
	ErrLength           = malformed(detailsHeader, "content-length is malformed or doubled (RFC 9110, 8.6)")
	ErrLengthMismatch   = malformed(detailsMessaging, "DATA is not of content-length (RFC 9113, 8.1.1)")
	ErrInterim          = malformed(detailsMessaging, "interim response ends the stream, or DATA before the response (RFC 9113, 8.1)")
	ErrTrailers         = malformed(detailsMessaging, "trailers that do not end the stream (RFC 9113, 8.1)")
	ErrTrailerField     = malformed(detailsHeader, "field that is not allowed in trailers (RFC 9110, 6.5.1)")
)

// Stat is what the codec counts; the names are Envoy's, below "http2.".
type Stat uint8

// Stats.
const (
	StatNone                 Stat = iota
	StatProtocolError             // has no counter of its own in Envoy
	StatMessagingError            // rx_messaging_error
	StatHeaderOverflow            // header_overflow
	StatHeaderListSize            // header_list_size_too_large
	StatStreamRefused             // stream_refused_errors
	StatEmptyFramesFlood          // inbound_empty_frames_flood
	StatPriorityFlood             // inbound_priority_frames_flood
	StatWindowUpdateFlood         // inbound_window_update_frames_flood
	StatOutboundFlood             // outbound_flood
	StatOutboundControlFlood      // outbound_control_flood
	StatPrematureResets           // the connection manager's downstream_rq_too_many_premature_resets
	StatRxReset                   // rx_reset
	StatTxReset                   // tx_reset
	StatTrailers                  // trailers
	StatGoAwaySent                // goaway_sent
	StatTxFlushTimeout            // tx_flush_timeout
	StatKeepaliveTimeout          // keepalive_timeout
	StatStreamsActive             // streams_active, a gauge
	NumStats
)
