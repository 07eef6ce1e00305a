package conn

import (
	"errors"
	"fmt"
	"syscall"
)

// Kind says how a connection ended, for retries, response flags and statistics.
type Kind uint8

// Kinds of errors.
const (
	_                Kind = iota
	ConnectTimeout        // no connection within DialOptions.Timeout
	ConnectRefused        // the peer's system answered with a reset
	ConnectFailed         // any other failure to connect: unreachable, no such socket, bad source
	TLS                   // handshake or record failed, or the certificate was not accepted
	HandshakeTimeout      // the TLS handshake took too long
	PeerReset             // RST, or another error from the network
	PeerClosed            // the peer ended without the protocol's orderly end (TLS without close_notify)
	Local                 // we lack something: descriptors, memory, ports
	Stopped               // the worker ended
)

var kindNames = [...]string{
	ConnectTimeout: "connection timeout", ConnectRefused: "connection refused",
	ConnectFailed: "connection failure", TLS: "TLS error", HandshakeTimeout: "TLS handshake timeout",
	PeerReset: "connection reset", PeerClosed: "connection termination", Local: "local resource failure",
	Stopped: "worker stopped",
}

func (k Kind) String() string {
	if int(k) < len(kindNames) {
		return kindNames[k]
	}
	return fmt.Sprintf("Kind(%d)", k)
}

// Error is why a connection ended without our closing it.
type Error struct {
	Kind Kind
	Op   string // "connect to 10.0.0.1:80", "read", "write", "TLS handshake"
	Err  error
}

func (e *Error) Error() string {
	if e.Err == nil {
		return e.Op + ": " + e.Kind.String()
	}
	return fmt.Sprintf("%s: %v", e.Op, e.Err)
}

func (e *Error) Unwrap() error { return e.Err }

// ConnectPhase reports whether the connection never came to carry data, so that a request
// given to it has certainly not been seen by the peer.
func (e *Error) ConnectPhase() bool {
	switch e.Kind {
	case ConnectTimeout, ConnectRefused, ConnectFailed, HandshakeTimeout:
		return true
	case TLS:
		return e.Op == opHandshake
	}
	return false
}

// TransportFailureReason is Envoy's upstream transport failure reason: empty where Envoy has
// none.
func (e *Error) TransportFailureReason() string {
	switch e.Kind {
	case ConnectRefused, ConnectFailed:
		var errno syscall.Errno
		if errors.As(e.Err, &errno) {
			return "delayed connect error: " + sentence(errno.Error())
		}
		return "delayed connect error"
	case TLS:
		return fmt.Sprintf("TLS_error:|%v:TLS_error_end", e.Err)
	case PeerClosed, PeerReset:
		if e.Op == opHandshake {
			return "TLS_error: connection closed during the handshake"
		}
	}
	return ""
}

// sentence gives Go's lower-case errno texts the C library's form, as Envoy prints them.
func sentence(s string) string {
	if s == "" || s[0] < 'a' || s[0] > 'z' {
		return s
	}
	return string(s[0]-'a'+'A') + s[1:]
}

const (
	opRead      = "read"
	opWrite     = "write"
	opHandshake = "TLS handshake"
)

// connectError classifies the error of connect(2).
func connectError(op string, err error) *Error {
	e := &Error{Kind: ConnectFailed, Op: op, Err: err}
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		e.Kind = ConnectRefused
	case errors.Is(err, syscall.ETIMEDOUT):
		e.Kind = ConnectTimeout
	case errors.Is(err, syscall.EMFILE), errors.Is(err, syscall.ENFILE), errors.Is(err, syscall.ENOMEM), errors.Is(err, syscall.ENOBUFS):
		e.Kind = Local
	}
	return e
}
