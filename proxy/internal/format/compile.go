package format

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/lateen-mesh/lateen/proxy/internal/header"
	"github.com/lateen-mesh/lateen/proxy/internal/streaminfo"
)

// Context is what operators read. Any part may be missing: its operators print "-".
type Context struct {
	Request  *header.Map
	Response *header.Map
	Trailers *header.Map // of the response
	Info     *streaminfo.Info
	// LocalReply is the body of a local reply, for %LOCAL_REPLY_BODY%.
	LocalReply []byte
	// LogType says which entry of an access log this is.
	LogType LogType
}

// LogType is data.accesslog.v3.AccessLogType.
type LogType uint8

// Types of access log entries, with Envoy's numbers.
const (
	NotSet LogType = iota
	TCPUpstreamConnected
	TCPPeriodic
	TCPConnectionEnd
	DownstreamStart
	DownstreamPeriodic
	DownstreamEnd
	UpstreamPoolReady
	UpstreamPeriodic
	UpstreamEnd
	DownstreamTunnelEstablished
	_ // of UDP, which is not proxied
	_
	_
	TCPConnectionStart
)

var logTypes = [...]string{
	"NotSet", "TcpUpstreamConnected", "TcpPeriodic", "TcpConnectionEnd", "DownstreamStart", "DownstreamPeriodic",
	"DownstreamEnd", "UpstreamPoolReady", "UpstreamPeriodic", "UpstreamEnd", "DownstreamTunnelSuccessfullyEstablished",
	"UdpTunnelUpstreamConnected", "UdpPeriodic", "UdpSessionEnd", "TcpConnectionStart",
}

// String is Envoy's name.
func (t LogType) String() string { return logTypes[t] }

// Formatter is a compiled format string; immutable.
type Formatter struct {
	parts []part
	// literal is the whole text when nothing depends on the request.
	literal  string
	constant bool
}

// part is literal text or an operator.
type part struct {
	text string // literal when op is nil
	op   operator
	max  int // ":Z": at most that many bytes; 0: all
}

// operator appends its value; false (and nothing appended) when there is none.
type operator interface {
	append(dst []byte, c *Context) ([]byte, bool)
}

// Compile parses a format string. "%%" is a percent sign.
func Compile(s string) (*Formatter, error) {
	f := &Formatter{constant: true}
	var lit strings.Builder
	for i := 0; i < len(s); {
		if s[i] != '%' {
			lit.WriteByte(s[i])
			i++
			continue
		}
		if i+1 < len(s) && s[i+1] == '%' {
			lit.WriteByte('%')
			i += 2
			continue
		}
		end, err := operatorEnd(s, i)
		if err != nil {
			return nil, err
		}
		p, err := compileOperator(s[i+1 : end])
		if err != nil {
			return nil, fmt.Errorf("format operator %s: %w", s[i:end+1], err)
		}
		if lit.Len() > 0 {
			f.parts = append(f.parts, part{text: lit.String()})
			lit.Reset()
		}
		f.parts = append(f.parts, p)
		f.constant = false
		i = end + 1
	}
	if lit.Len() > 0 {
		f.parts = append(f.parts, part{text: lit.String()})
	}
	if f.constant {
		f.literal = lit.String()
	}
	return f, nil
}

// operatorEnd finds the percent sign that ends the operator beginning at i. An argument goes up to the first closing
// parenthesis that such a sign, or a length and such a sign, comes after: START_TIME's format has percent signs in it, an
// expression may have any sign.
func operatorEnd(s string, i int) (int, error) {
	argument := false
	behind := 0 // the first sign behind a closing parenthesis, whatever is between them: it is said what is wrong there
	for j := i + 1; j < len(s); j++ {
		switch s[j] {
		case '(':
			argument = true
		case ')':
			if n := strings.IndexByte(s[j:], '%'); behind == 0 && n > 0 {
				behind = j + n
			}
			k := j + 1
			if k < len(s) && s[k] == ':' {
				for k++; k < len(s) && s[k] >= '0' && s[k] <= '9'; k++ {
				}
			}
			if argument && k < len(s) && s[k] == '%' {
				return k, nil
			}
		case '%':
			if !argument {
				return j, nil
			}
		}
	}
	if behind > 0 {
		return behind, nil
	}
	return 0, fmt.Errorf("format string: no closing %% for %q; write %%%% for a percent sign", s[i:])
}

// compileOperator compiles "NAME", "NAME(ARG)", "NAME:Z" and "NAME(ARG):Z".
func compileOperator(s string) (part, error) {
	name, arg, hasArg := s, "", false
	limit := 0
	if i := strings.IndexByte(s, '('); i >= 0 {
		j := strings.LastIndexByte(s, ')')
		if j < i {
			return part{}, errors.New("no closing parenthesis")
		}
		name, arg, hasArg = s[:i], s[i+1:j], true
		rest := s[j+1:]
		if rest != "" {
			n, err := parseLimit(rest)
			if err != nil {
				return part{}, err
			}
			limit = n
		}
	} else if i := strings.IndexByte(s, ':'); i >= 0 {
		n, err := parseLimit(s[i:])
		if err != nil {
			return part{}, err
		}
		name, limit = s[:i], n
	}
	op, err := newOperator(name, arg, hasArg)
	return part{op: op, max: limit}, err
}

func parseLimit(s string) (int, error) {
	n, err := strconv.Atoi(strings.TrimPrefix(s, ":"))
	if err != nil || !strings.HasPrefix(s, ":") || n <= 0 {
		return 0, fmt.Errorf("%q is not a length like :10", s)
	}
	return n, nil
}

// Constant returns the text of a format that does not depend on the request.
func (f *Formatter) Constant() (string, bool) { return f.literal, f.constant }

// Single reports whether the format is one operator and nothing else.
func (f *Formatter) Single() bool { return len(f.parts) == 1 && f.parts[0].op != nil }

// Append prints to dst; operators without a value print "-".
func (f *Formatter) Append(dst []byte, c *Context) []byte { return f.appendOr(dst, c, "-") }

// AppendOrEmpty prints to dst; operators without a value print nothing (header values, and
// logs with omit_empty_values).
func (f *Formatter) AppendOrEmpty(dst []byte, c *Context) []byte { return f.appendOr(dst, c, "") }

func (f *Formatter) appendOr(dst []byte, c *Context, missing string) []byte {
	for i := range f.parts {
		p := &f.parts[i]
		if p.op == nil {
			dst = append(dst, p.text...)
			continue
		}
		n := len(dst)
		var ok bool
		if dst, ok = p.op.append(dst, c); !ok {
			dst = append(dst, missing...)
		} else if p.max > 0 && len(dst)-n > p.max {
			dst = dst[:n+p.max]
		}
	}
	return dst
}
