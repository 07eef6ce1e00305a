package differential

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/rogpeppe/go-internal/txtar"
	"golang.org/x/net/http2/hpack"
)

// subject is a file of testdata: a configuration and the cases that are run on it in order.
type subject struct {
	name   string
	config string // see config_test.go
	cases  []*testCase
}

// testCase is what a client does on one connection, what origins answer, and what is compared
// beside the usual.
type testCase struct {
	name      string
	to        string // listener
	tls       *tlsOptions
	steps     []step
	answers   map[string][]answer // by origin
	responses int                 // final responses that the client waits for
	logs      int                 // lines of access log that are waited for
	envoyLogs int                 // and of Envoy's, where it writes others
	requests  map[string]int      // requests of an origin that are waited for
	stats     []*regexp.Regexp    // counters beside the usual ones
	raw       bool                // what the client gets is not HTTP
	wait      time.Duration       // how long the client waits for its responses at most
	h2        bool                // the client speaks HTTP/2, and its lines are frames
	manual    bool                // it gives no flow control windows back by itself
	admin     *adminRequest
	publish   string // what the management server has before the case begins
}

// adminRequest is a request to the admin API instead of one through a listener.
type adminRequest struct {
	method, path string
	only         *regexp.Regexp // lines that are compared
	shape        bool           // of JSON only which fields there are is compared
}

type tlsOptions struct {
	sni, cert string
	alpn      []string
	version   string
}

// step is one thing that the client does.
type step struct {
	kind  stepKind
	bytes []byte
	pause time.Duration

	// Of HTTP/2.
	frame  *h2frame
	stream uint32
	what   string // that is awaited: interim, head, data, end, goaway, pong
	size   int
}

type stepKind int

const (
	stepSend  stepKind = iota
	stepRead           // wait for a complete response
	stepPause          // wait
	stepStay           // wait, though the other side may have ended
	stepEOF            // close the writing side
	stepClose          // close
	stepReset          // reset
	stepFrame          // send a frame
	stepAwait          // wait for something of a stream
)

// answer is what an origin does with one request.
type answer struct {
	bytes []byte
	delay time.Duration
	early bool // does not wait for the request's body
	close bool // closes the connection afterwards
	reset bool // resets the connection afterwards
	hang  bool // answers nothing
	echo  bool // sends back what comes after the head
	rest  []answerPart

	frames []h2frame // of an origin that speaks HTTP/2, instead of bytes
}

// answerPart is a later piece of an answer, after a pause.
type answerPart struct {
	pause  time.Duration
	bytes  []byte
	frames []h2frame
}

// readSubject parses a file of testdata.
func readSubject(path string) (*subject, error) {
	raw, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	s := &subject{name: strings.TrimSuffix(filepath.Base(path), ".txtar")}
	seen := map[string]bool{}
	for _, f := range txtar.Parse(raw).Files {
		if f.Name == "config.yaml" {
			s.config = string(f.Data)
			continue
		}
		if seen[f.Name] {
			return nil, fmt.Errorf("%s: case %q stands there twice", path, f.Name)
		}
		seen[f.Name] = true
		c, err := parseCase(f.Name, f.Data)
		if err != nil {
			return nil, fmt.Errorf("%s: case %q: %w", path, f.Name, err)
		}
		s.cases = append(s.cases, c)
	}
	if s.config == "" || len(s.cases) == 0 {
		return nil, fmt.Errorf("%s: needs a section config.yaml and at least one case", path)
	}
	return s, nil
}

func parseCase(name string, text []byte) (*testCase, error) {
	c := &testCase{
		name: name, to: "main", responses: -1, logs: -1, envoyLogs: -1,
		answers: map[string][]answer{}, requests: map[string]int{}, wait: 3 * time.Second,
	}
	var sending, answering *[]byte
	var cur *answer
	origin := ""
	finish := func() {
		if cur != nil {
			c.answers[origin] = append(c.answers[origin], *cur)
			cur = nil
		}
	}
	for n, line := range strings.Split(strings.TrimRight(string(text), "\n"), "\n") {
		fail := func(err error) error { return fmt.Errorf("line %d %q: %w", n+1, line, err) }
		switch {
		case c.h2 && strings.HasPrefix(line, "> "):
			f, err := parseFrame(line[2:], false)
			if err != nil {
				return nil, fail(err)
			}
			c.steps = append(c.steps, step{kind: stepFrame, frame: &f})
			continue
		case cur != nil && speaksH2(origin) && strings.HasPrefix(line, "< "):
			f, err := parseFrame(line[2:], true)
			if err != nil {
				return nil, fail(err)
			}
			if n := len(cur.rest); n > 0 {
				cur.rest[n-1].frames = append(cur.rest[n-1].frames, f)
			} else {
				cur.frames = append(cur.frames, f)
			}
			continue
		case line == ">" || strings.HasPrefix(line, "> "):
			b, err := lineBytes(strings.TrimPrefix(strings.TrimPrefix(line, ">"), " "))
			if err != nil {
				return nil, fail(err)
			}
			if sending == nil {
				c.steps = append(c.steps, step{kind: stepSend})
				sending = &c.steps[len(c.steps)-1].bytes
			}
			*sending = append(*sending, b...)
			continue
		case line == "<" || strings.HasPrefix(line, "< "):
			b, err := lineBytes(strings.TrimPrefix(strings.TrimPrefix(line, "<"), " "))
			if err != nil {
				return nil, fail(err)
			}
			if cur == nil {
				origin, cur = "origin", &answer{}
			}
			if answering == nil {
				answering = &cur.bytes
				if n := len(cur.rest); n > 0 {
					answering = &cur.rest[n-1].bytes
				}
			}
			*answering = append(*answering, b...)
			continue
		}
		sending, answering = nil, nil
		words := strings.Fields(line)
		if len(words) == 0 || strings.HasPrefix(line, "#") {
			continue
		}
		word, args := words[0], words[1:]
		arg := strings.TrimSpace(strings.TrimPrefix(line, word))
		var err error
		switch word {
		case "answer":
			finish()
			if cur, origin, err = parseAnswer(args); err != nil {
				return nil, fail(err)
			}
		case "then": // the answer goes on after a pause
			if cur == nil {
				return nil, fail(fmt.Errorf("stands outside of an answer"))
			}
			d, err := time.ParseDuration(arg)
			if err != nil {
				return nil, fail(err)
			}
			cur.rest = append(cur.rest, answerPart{pause: d})
		default:
			if err = c.directive(word, arg, args); err != nil {
				return nil, fail(err)
			}
		}
	}
	finish()
	if c.responses < 0 {
		c.responses = 1
	}
	if c.logs < 0 {
		c.logs = c.responses
	}
	if c.envoyLogs < 0 {
		c.envoyLogs = c.logs
	}
	if c.admin == nil && len(c.steps) == 0 {
		return nil, fmt.Errorf("does nothing")
	}
	return c, nil
}

func (c *testCase) directive(word, arg string, args []string) (err error) {
	add := func(s step) { c.steps = append(c.steps, s) }
	switch word {
	case "to":
		c.to = arg
	case "read":
		add(step{kind: stepRead})
	case "pause":
		d, err := time.ParseDuration(arg)
		add(step{kind: stepPause, pause: d})
		return err
	case "stay":
		d, err := time.ParseDuration(arg)
		add(step{kind: stepStay, pause: d})
		return err
	case "eof":
		add(step{kind: stepEOF})
	case "close":
		add(step{kind: stepClose})
	case "reset":
		add(step{kind: stepReset})
	case "raw":
		c.raw = true
	case "publish":
		c.publish = arg
	case "h2":
		c.h2, c.manual = true, arg == "manual"
	case "await": // await STREAM interim|head|data N|end, await goaway, await pong
		s := step{kind: stepAwait, what: arg}
		if len(args) > 1 {
			n, err := strconv.ParseUint(args[0], 10, 31)
			if err != nil {
				return err
			}
			s.stream, s.what = uint32(n), args[1]
		}
		if len(args) > 2 {
			if s.size, err = strconv.Atoi(args[2]); err != nil {
				return err
			}
		}
		add(s)
	case "responses":
		c.responses, err = strconv.Atoi(arg)
	case "logs":
		if len(args) == 0 {
			return fmt.Errorf("wants a number")
		}
		if c.logs, err = strconv.Atoi(args[0]); err == nil && len(args) > 1 {
			c.envoyLogs, err = strconv.Atoi(args[1])
		}
	case "wait":
		c.wait, err = time.ParseDuration(arg)
	case "requests":
		if len(args) != 2 {
			return fmt.Errorf("wants an origin and a number")
		}
		c.requests[args[0]], err = strconv.Atoi(args[1])
	case "stats":
		var re *regexp.Regexp
		re, err = regexp.Compile(arg)
		c.stats = append(c.stats, re)
	case "tls":
		c.tls = &tlsOptions{}
		for _, a := range args {
			k, v, _ := strings.Cut(a, "=")
			switch k {
			case "sni":
				c.tls.sni = v
			case "cert":
				c.tls.cert = v
			case "alpn":
				c.tls.alpn = strings.Split(v, ",")
			case "version":
				c.tls.version = v
			default:
				return fmt.Errorf("%q is none of sni, cert, alpn, version", k)
			}
		}
	case "repeat": // the last piece once more, so many times in all
		n, err := strconv.Atoi(arg)
		if err != nil || len(c.steps) == 0 {
			return fmt.Errorf("wants a number, after bytes to send")
		}
		s := &c.steps[len(c.steps)-1]
		if s.frame != nil {
			for range n - 1 {
				add(*s)
			}
			return nil
		}
		s.bytes = bytes.Repeat(s.bytes, n)
	case "admin":
		if len(args) < 2 {
			return fmt.Errorf("wants a method and a path")
		}
		c.admin = &adminRequest{method: args[0], path: args[1]}
		c.responses = 0
	case "only":
		if c.admin == nil {
			return fmt.Errorf("stands outside of an admin request")
		}
		c.admin.only, err = regexp.Compile(arg)
	case "shape":
		if c.admin == nil {
			return fmt.Errorf("stands outside of an admin request")
		}
		c.admin.shape = true
	default:
		return fmt.Errorf("unknown word")
	}
	return err
}

// parseAnswer reads "answer [origin=NAME] [STATUS] [delay=D] [early] [close] [reset] [hang] [echo]".
func parseAnswer(args []string) (*answer, string, error) {
	a, origin := &answer{}, "origin"
	for _, w := range args {
		k, v, _ := strings.Cut(w, "=")
		switch k {
		case "origin":
			origin = v
		case "delay":
			d, err := time.ParseDuration(v)
			if err != nil {
				return nil, "", err
			}
			a.delay = d
		case "early":
			a.early = true
		case "close":
			a.close = true
		case "reset":
			a.reset = true
		case "hang":
			a.hang = true
		case "echo":
			a.echo = true
		default:
			status, err := strconv.Atoi(w)
			if err != nil || status < 100 || status > 599 {
				return nil, "", fmt.Errorf("%q is neither a status nor a word of answers", w)
			}
			if speaksH2(origin) {
				a.frames = []h2frame{
					{kind: "headers", fields: []hpack.HeaderField{{Name: ":status", Value: w}}}, {kind: "data", data: []byte(w), end: true},
				}
				continue
			}
			a.bytes = fmt.Appendf(nil, "HTTP/1.1 %d Because\r\ncontent-length: 3\r\n\r\n%d", status, status)
		}
	}
	return a, origin, nil
}

// lineBytes is a line as it goes over the wire: with CRLF, unless it ends in \c. \r, \n, \t,
// \\ and \xNN stand for bytes.
func lineBytes(s string) ([]byte, error) {
	s, bare := strings.CutSuffix(s, `\c`)
	out := make([]byte, 0, len(s)+2)
	for i := 0; i < len(s); i++ {
		if s[i] != '\\' || i+1 == len(s) {
			out = append(out, s[i])
			continue
		}
		i++
		switch s[i] {
		case 'r':
			out = append(out, '\r')
		case 'n':
			out = append(out, '\n')
		case 't':
			out = append(out, '\t')
		case '\\':
			out = append(out, '\\')
		case 'x':
			if i+2 >= len(s) {
				return nil, fmt.Errorf(`\x wants two digits`)
			}
			v, err := strconv.ParseUint(s[i+1:i+3], 16, 8)
			if err != nil {
				return nil, err
			}
			out = append(out, byte(v))
			i += 2
		default:
			return nil, fmt.Errorf(`\%c is no escape`, s[i])
		}
	}
	if !bare {
		out = append(out, '\r', '\n')
	}
	return out, nil
}
