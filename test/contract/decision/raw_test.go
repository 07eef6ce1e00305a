package decision

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// write asks what a row has written itself, and reads all that comes back.
func (p place) write(c net.Conn, r *Row, out *answer) error {
	out.wrote = true
	var err error
	if r.Fields != nil {
		err = out.writeHTTP2(c, r)
	} else {
		err = out.writeHTTP1(c, r)
	}
	for _, s := range p.w.origin.asked(out.question) {
		out.app = s.app
	}
	return err
}

func (a *answer) writeHTTP1(c net.Conn, r *Row) error {
	text := r.Raw
	if !strings.Contains(text, "\r") {
		text = strings.ReplaceAll(text, "\n", "\r\n")
	}
	if _, err := io.WriteString(c, strings.ReplaceAll(text, "$(row)", rowHeader+": "+a.question)); err != nil {
		return err
	}
	in := bufio.NewReader(c)
	answers := 0
	for {
		resp, err := http.ReadResponse(in, nil)
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, syscall.ECONNRESET) {
			break
		}
		if err != nil {
			return fmt.Errorf("after %d answers: %w", answers, err)
		}
		body, err := io.ReadAll(resp.Body)
		if err != nil {
			return err
		}
		if answers++; answers == 1 {
			a.resp, a.body = resp, string(body)
		}
		if resp.Close { // nothing comes after it; Envoy waits for the client to hang up
			break
		}
	}
	if want := max(r.Answers, 1); answers != want && r.End == "" {
		return fmt.Errorf("%d answers, want %d", answers, want)
	}
	a.ended = answers == 0
	return nil
}

// writeHTTP2 sends the row's fields as the first request of a connection. What the library would refuse to send is sent too.
func (a *answer) writeHTTP2(c net.Conn, r *Row) error {
	var block bytes.Buffer
	enc := hpack.NewEncoder(&block)
	for _, f := range append(r.Fields[:len(r.Fields):len(r.Fields)], [2]string{rowHeader, a.question}) {
		if err := enc.WriteField(hpack.HeaderField{Name: f[0], Value: f[1]}); err != nil {
			return err
		}
	}
	if _, err := io.WriteString(c, http2.ClientPreface); err != nil {
		return err
	}
	f := http2.NewFramer(c, c)
	f.AllowIllegalWrites = true
	f.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	if err := errors.Join(f.WriteSettings(), f.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: block.Bytes(), EndStream: true, EndHeaders: true})); err != nil {
		return err
	}
	var body strings.Builder
	for {
		frame, err := f.ReadFrame()
		if errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET) {
			a.reset = a.resp == nil
			return nil
		}
		if err != nil {
			return err
		}
		switch frame := frame.(type) {
		case *http2.MetaHeadersFrame:
			status, err := strconv.Atoi(frame.PseudoValue("status"))
			if err != nil {
				return err
			}
			a.resp = &http.Response{StatusCode: status, Header: http.Header{}}
			for _, h := range frame.RegularFields() {
				a.resp.Header.Add(h.Name, h.Value)
			}
		case *http2.DataFrame:
			body.Write(frame.Data())
		case *http2.RSTStreamFrame, *http2.GoAwayFrame:
			a.reset, a.alert = a.resp == nil, frame.Header().Type.String()
			return nil
		}
		if a.body = body.String(); frame.Header().StreamID == 1 && frame.Header().Flags.Has(http2.FlagDataEndStream) {
			return nil
		}
	}
}
