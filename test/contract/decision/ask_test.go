package decision

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/lateen-mesh/lateen/agent"
	"github.com/lateen-mesh/lateen/pkg/spiffe"
	"github.com/lateen-mesh/lateen/test/internal/testnet"
)

// answer is what came back for one question.
type answer struct {
	question string // its id
	from     string // the client's ip:port, by which the access log knows it
	app      string // who answered
	resp     *http.Response
	body     string
	took     time.Duration
	ended    bool // without a byte
	refused  bool // TLS did not come about
	reset    bool // by an error of HTTP/2
	wrote    bool // the row had written its request itself
	alert    string
	tls      *tls.ConnectionState
}

// patience is how long a client waits for an answer.
const patience = 20 * time.Second

// place is where a row's client is, and so how it connects.
type place struct {
	w     *world
	where string
}

// dial connects as the row's client would to host:port.
func (p place) dial(t *testing.T, r *Row, hostPort string) (net.Conn, error) {
	t.Helper()
	dialer, target := testnet.Dialer(testnet.Outbound), ""
	source := outsideAddress
	switch name, inbound := at(p.where); {
	case p.where == "gateway" || strings.HasPrefix(p.where, "gateway "):
		dialer = &net.Dialer{}
		_, port, err := net.SplitHostPort(hostPort)
		if err != nil {
			return nil, err
		}
		if to := gatewayPorts[port]; to != "" {
			port = to
		}
		target = net.JoinHostPort(gatewayAddress, port)
	case inbound:
		dialer = testnet.Dialer(testnet.Inbound)
		_, port, err := net.SplitHostPort(hostPort)
		if err != nil {
			return nil, err
		}
		a := p.w.app(t, name)
		target = net.JoinHostPort(a.Address, a.targetPort(t, port))
	default:
		source = p.w.nodeAt(t, p.where).address
		var err error
		if target, err = p.w.leads(hostPort); err != nil {
			return nil, err
		}
	}
	if r.To != "" {
		target = r.To
	}
	if strings.HasPrefix(target, "[") {
		source = testnet.Address6
	}
	if r.Directly {
		dialer.Control, dialer.ControlContext = nil, nil
	}
	network := "tcp"
	if path, socket := strings.CutPrefix(target, "unix://"); socket {
		dialer, network, target = &net.Dialer{}, "unix", path
	}
	var c net.Conn
	var err error
	for range 100 { // a port may have another user, such as one of a row of listeners of the gateway
		if network == "tcp" {
			dialer.LocalAddr = &net.TCPAddr{IP: net.ParseIP(source), Port: p.w.ports.next()}
		}
		if c, err = dialer.DialContext(t.Context(), network, target); !errors.Is(err, syscall.EADDRINUSE) {
			break
		}
	}
	if err != nil || r.Proxy == "" {
		return c, err
	}
	host, port, err := net.SplitHostPort(r.Proxy)
	if err == nil {
		_, err = fmt.Fprintf(c, "PROXY TCP4 %s 10.0.0.1 %s 443\r\n", host, port)
	}
	return c, err
}

// tls is the row's client, for host.
func (p place) tls(t *testing.T, r *Row, host string) (*tls.Config, error) {
	return p.w.table.certs.tlsConfig(r, host, func(who spiffe.ID) (tls.Certificate, error) {
		if who.TrustDomain != "" {
			return p.w.table.certs.ofAnotherDomain(p.w.ca, who)
		}
		id, err := agent.Join(t.Context(), p.w.joins(t, who.Namespace, who.ServiceAccount))
		if err != nil {
			return tls.Certificate{}, err
		}
		return id.Certificate, nil
	})
}

// end is how it ended where nothing came.
func (a *answer) end() string {
	switch {
	case a.refused:
		return "refused"
	case a.ended:
		return "closed"
	case a.reset:
		return "reset"
	}
	return ""
}

// failed judges an error of a row that expects one.
func (a *answer) failed(r *Row, err error) bool {
	// The server's alert, or what the client has against the server's certificate.
	a.refused = strings.Contains(err.Error(), "tls: ") || strings.Contains(err.Error(), "x509: ")
	a.ended, a.alert = !a.refused, err.Error()
	return r.End != ""
}

func at(where string) (name string, ok bool) { return strings.CutPrefix(where, "at ") }

// ask makes one request or connection.
func (p place) ask(t *testing.T, r *Row, id string) (answer, error) {
	t.Helper()
	if r.Connect != "" {
		return p.connect(t, r, id)
	}
	return p.request(t, r, id)
}

func (p place) request(t *testing.T, r *Row, id string) (answer, error) {
	t.Helper()
	method, target, ok := strings.Cut(r.Request, " ")
	if !ok {
		return answer{}, fmt.Errorf("request %q is not METHOD URL", r.Request)
	}
	u, err := url.Parse(target)
	if err != nil {
		return answer{}, err
	}
	out := answer{question: id}
	cfg, err := p.tls(t, r, u.Hostname())
	if err != nil {
		return answer{}, err
	}
	transport := &http.Transport{DisableKeepAlives: true, Protocols: new(http.Protocols), TLSClientConfig: cfg}
	transport.Protocols.SetHTTP1(r.HTTP != "2")
	transport.Protocols.SetUnencryptedHTTP2(r.HTTP == "2")
	transport.Protocols.SetHTTP2(r.HTTP == "2")
	transport.DialContext = func(_ context.Context, _, hostPort string) (net.Conn, error) {
		c, err := p.dial(t, r, hostPort)
		if err == nil {
			out.from = c.LocalAddr().String()
		}
		return c, err
	}
	defer transport.CloseIdleConnections()
	req, err := http.NewRequestWithContext(t.Context(), method, u.String(), nil)
	if err != nil {
		return answer{}, err
	}
	for k, v := range r.Headers {
		if strings.EqualFold(k, "host") {
			req.Host = v
			continue
		}
		req.Header.Set(k, v)
	}
	req.Header.Set(rowHeader, id)
	if r.Do != "" {
		req.Header.Set(doHeader, r.Do)
	}
	client := &http.Client{Transport: transport, Timeout: patience,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	begin := time.Now()
	resp, err := client.Do(req)
	if err != nil {
		if out.failed(r, err) {
			return out, nil
		}
		return answer{}, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	out.resp, out.body, out.took, out.tls = resp, string(body), time.Since(begin), resp.TLS
	for _, s := range p.w.origin.asked(id) {
		if !s.mirrored() {
			out.app = s.app // the last try
		}
	}
	return out, err
}

func (p place) connect(t *testing.T, r *Row, id string) (answer, error) {
	t.Helper()
	c, err := p.dial(t, r, r.Connect)
	if failed, ok := errors.AsType[*net.OpError](err); ok && errors.Is(err, syscall.ECONNRESET) && r.End == "closed" && failed.Source != nil {
		return answer{question: id, from: failed.Source.String(), ended: true}, nil // before the client knew that it had begun
	}
	if err != nil {
		return answer{}, err
	}
	defer c.Close()
	out := answer{question: id, from: c.LocalAddr().String()}
	begin := time.Now()
	if err := c.SetDeadline(begin.Add(patience)); err != nil {
		return answer{}, err
	}
	if r.SNI != "" || r.TLS != nil {
		cfg, err := p.tls(t, r, r.SNI)
		if err != nil {
			return answer{}, err
		}
		tc := tls.Client(c, cfg)
		if err := tc.HandshakeContext(t.Context()); err != nil {
			if out.failed(r, err) {
				return out, nil
			}
			return answer{}, err
		}
		state := tc.ConnectionState()
		c, out.tls = tc, &state
	}
	if r.asksHTTP() {
		return out, p.write(c, r, &out)
	}
	if r.Say != "" || r.SNI != "" {
		if _, err := fmt.Fprintln(c, r.Say); err != nil && r.End == "" {
			return answer{}, err
		}
	}
	line, err := bufio.NewReader(c).ReadString('\n')
	out.app, out.took = strings.TrimSpace(line), time.Since(begin)
	if timeout, ok := err.(net.Error); ok && timeout.Timeout() {
		return answer{}, err
	}
	if err != nil && line == "" {
		out.failed(r, err)
	}
	return out, nil
}
