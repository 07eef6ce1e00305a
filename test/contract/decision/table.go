// Package decision reads the decision table: what a mesh decides for a request or a connection, in files that people read. A file holds a
// world, which is objects as a user writes them, and rows: who asks what, and what must come of it. The tests of this package run every row
// through a control plane and a proxy. How a file is written stands in ../testdata/decisions/README.md.
//
// A row speaks of what can be seen from outside alone: status, headers, the application that answered, and the access log's cluster, route
// and response flags. So the table holds for any proxy that the control plane serves. Only tests import this package.
package decision

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"time"

	"sigs.k8s.io/yaml"

	"github.com/lateen-mesh/lateen/config"
)

// Dir is where the files are, seen from a package beside this one.
const Dir = "../testdata/decisions"

// Table is one file.
type Table struct {
	Name string `json:"-"` // the file's, without its ending
	Head
	Rows    []Row       `json:"rows"`
	Objects *config.Set `json:"-"`
	// Refused are the mistakes in objects that are not right; Text is all objects as written.
	Refused config.Problems `json:"-"`
	Text    []byte          `json:"-"`

	certs *certificates
}

// Head is what a file says before its objects.
type Head struct {
	About   string              `json:"about"`
	Mesh    json.RawMessage     `json:"mesh"`    // the mesh configuration
	Apps    []App               `json:"apps"`    // applications that run
	Clients []Client            `json:"clients"` // besides "client"
	Names   map[string][]string `json:"names"`   // what DNS says

	Certificates []Certificate `json:"certificates"`
	Tokens       []Token       `json:"tokens"`
	System       string        `json:"system"`   // the authority that proxies' systems trust; default: those of this one
	Gateways     []Client      `json:"gateways"` // besides the one in istio-system
}

// App is an application that runs. In short form it is its name: "catalog-v1" is version v1 of service catalog.
type App struct {
	Name      string            `json:"name"`
	Namespace string            `json:"namespace"` // default: "default"
	Labels    map[string]string `json:"labels"`    // default: app and version, of the name
	Address   string            `json:"address"`   // default: one of its own
	Ports     []AppPort         `json:"ports"`     // default: http on 80
	Outside   bool              `json:"outside"`   // no object is made for it: the mesh does not know it
}

// AppPort is a port of an application's service, and what the application speaks there.
type AppPort struct {
	Name   string `json:"name"`
	Port   uint32 `json:"port"`   // of the service
	Target uint32 `json:"target"` // of the application; default: the service's plus 3000
	Speaks string `json:"speaks"` // http (default), https, tcp, banner, tls, tunnel, keys, authorizer
	// Of https and tls, and of keys, which is in plaintext without: the certificate that it shows, default one that nobody vouches for; and the authority that clients' must be of,
	// default none.
	Certificate string `json:"certificate"`
	Clients     string `json:"clients"`
	Keys        string `json:"keys"`   // of keys: whose it serves, for jwksUri
	Socket      string `json:"socket"` // "@name": it listens at this abstract Unix socket, not at Target
}

// UnmarshalJSON takes the short form as well.
func (a *App) UnmarshalJSON(b []byte) error {
	if len(b) > 0 && b[0] == '"' {
		return json.Unmarshal(b, &a.Name)
	}
	type plain App
	return strict(b, (*plain)(a))
}

// Service is the name of an app's service: its own without the version.
func (a *App) Service() string {
	if i := strings.LastIndexByte(a.Name, '-'); i > 0 {
		return a.Name[:i]
	}
	return a.Name
}

func (a *App) complete(n int) {
	if a.Namespace == "" {
		a.Namespace = "default"
	}
	if a.Labels == nil {
		a.Labels = map[string]string{"app": a.Service()}
		if version, ok := strings.CutPrefix(a.Name, a.Service()+"-"); ok {
			a.Labels["version"] = version
		}
	}
	if a.Address == "" {
		a.Address = fmt.Sprintf("10.10.2.%d", n+1)
	}
	if len(a.Ports) == 0 {
		a.Ports = []AppPort{{Name: "http", Port: 80}}
	}
	for i := range a.Ports {
		p := &a.Ports[i]
		if p.Target == 0 {
			p.Target = p.Port + 3000
		}
		if p.Speaks == "" {
			p.Speaks = "http"
		}
	}
}

// Client is who asks: a workload with a sidecar in front of it, whose connections are captured.
type Client struct {
	Name      string            `json:"name"`
	Namespace string            `json:"namespace"` // default: "default"
	Labels    map[string]string `json:"labels"`    // default: app, the name
	Locality  string            `json:"locality"`  // region/zone/subzone; default: not known
	Metadata  map[string]any    `json:"metadata"`  // of the node, besides what every client says
	IPv6      string            `json:"ipv6"`      // an address of that family, besides the one that every client has
}

// Row is one decision.
type Row struct {
	Name string `json:"name"`

	// From is who asks: a client's name (default "client"), or "gateway" for somebody outside who asks at the gateway, "gateway NAME" for
	// one of the head. At is an application
	// at whose sidecar the request arrives, sent by somebody without a sidecar. Together with one of these comes Request or Connect.
	From string `json:"from"`
	At   string `json:"at"`

	Request string            `json:"request"` // METHOD URL
	HTTP    string            `json:"http"`    // "1.1" (default) or "2"
	Headers map[string]string `json:"headers"`
	Do      string            `json:"do"` // what the application does: "503", "503 twice" (then 200), "sleep 1s"

	Connect string `json:"connect"` // host:port, for a connection of bytes
	Say     string `json:"say"`     // what the client says first; empty: it waits for the server
	SNI     string `json:"sni"`     // the client speaks TLS and asks for this name

	// Instead of Say: exactly these bytes, "$(row)" standing for the row's header and each line ending in CRLF unless they have a CR themselves;
	// or the fields of one request of HTTP/2, as the client's HPACK has them.
	Raw    string      `json:"raw"`
	Fields [][2]string `json:"fields"`

	TLS   *ClientTLS `json:"tls"`   // how the client speaks TLS; a connection of bytes does so only with this or sni
	Proxy string     `json:"proxy"` // the address of which a PROXY protocol header speaks

	To string `json:"to"` // where the connection goes, ip:port or unix://@name; default: where the name leads
	// Directly: the client calls To itself, which is a socket of its sidecar: nothing is captured.
	Directly bool `json:"directly"`
	Times    int  `json:"times"` // default once
	// Envoy says why a real Envoy decides otherwise; "" where it must not.
	Envoy string `json:"envoy"`
	// Honest marks, among attacks, a request that must pass, so that refusing the others says something.
	Honest bool `json:"honest"`

	// What must come of it; what is not given is not checked.
	Status   int               `json:"status"`
	App      string            `json:"app"`   // who answered
	Split    map[string]int    `json:"split"` // who answered, in per cent of Times
	Cluster  string            `json:"cluster"`
	Route    string            `json:"route"`
	Flags    string            `json:"flags"`
	By       string            `json:"by"`      // the rule that refused it, "none" where no rule allowed it, "-" where no rule refused it
	Details  string            `json:"details"` // part of what the access log has of why it ended
	Logged   *bool             `json:"logged"`  // whether the access log has a line for it
	Answers  int               `json:"answers"` // to raw, how many; default: one
	Alert    string            `json:"alert"`   // of TLS, by which the other side refused, as crypto/tls says it
	Location string            `json:"location"`
	Response map[string]string `json:"response"` // headers of the answer; "" for one that must be absent
	Body     string            `json:"body"`
	Seen     map[string]string `json:"seen"`     // what the application saw: path, host, or a header; "" for one that must be absent
	Spelled  []string          `json:"spelled"`  // names of headers, in the case in which the application saw them, in HTTP/1
	Tries    *int              `json:"tries"`    // how often applications were asked
	Mirrored map[string]int    `json:"mirrored"` // who got copies, and how many
	After    Duration          `json:"after"`    // the answer takes at least so long
	Within   Duration          `json:"within"`   // and at most so long
	End      string            `json:"end"`      // "closed": without a byte; "refused": TLS does not come about; "reset": an error of HTTP/2
	Shows    string            `json:"shows"`    // the certificate that the server showed, by its common name
	Speaks   string            `json:"speaks"`   // what ALPN came to; "none" for nothing
	Version  string            `json:"version"`  // of TLS
	Suite    string            `json:"suite"`    // of TLS, in IANA's name

	// Instead of asking: an object that is refused, or of which something is reported. The text is part of the message.
	Object   string `json:"object"` // Kind namespace/name
	Field    string `json:"field"`
	Refused  string `json:"refused"`
	Reported string `json:"reported"`
}

// Duration is written as Go writes it.
type Duration time.Duration

// UnmarshalJSON reads "1.5s".
func (d *Duration) UnmarshalJSON(b []byte) error {
	var s string
	if err := json.Unmarshal(b, &s); err != nil {
		return err
	}
	v, err := time.ParseDuration(s)
	*d = Duration(v)
	return err
}

// asksHTTP says that the row writes its request of HTTP itself.
func (r *Row) asksHTTP() bool { return r.Raw != "" || r.Fields != nil }

// Where says at which proxy a row is decided: rows of one place share a proxy.
func (r *Row) Where() string {
	switch {
	case r.Object != "":
		return ""
	case r.At != "":
		return "at " + r.At
	case r.From == "":
		return "client"
	}
	return r.From
}

// ReadAll reads every file of a folder, by name.
func ReadAll(dir string) ([]*Table, error) {
	files, err := filesOf(dir)
	if err != nil {
		return nil, err
	}
	var out []*Table
	for _, f := range files {
		t, err := Read(f)
		if err != nil {
			return nil, err
		}
		out = append(out, t)
	}
	return out, nil
}

// filesOf are a folder's tables, in order.
func filesOf(dir string) ([]string, error) {
	files, err := filepath.Glob(filepath.Join(dir, "*.yaml"))
	sort.Strings(files)
	return files, err
}

// nameOf is the name of a file's table.
func nameOf(path string) string { return strings.TrimSuffix(filepath.Base(path), ".yaml") }

// Read reads one file and checks what can be checked without running it.
func Read(path string) (*Table, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	t := &Table{Name: nameOf(path)}
	var objects [][]byte
	t.certs = &certificates{}
	for i, doc := range bytes.Split(text, []byte("\n---\n")) {
		var keys map[string]any
		if err := yaml.Unmarshal(doc, &keys); err != nil {
			return nil, fmt.Errorf("%s: document %d: %w", path, i, err)
		}
		if _, object := keys["kind"]; object {
			if doc, err = t.certs.fill(doc); err != nil {
				return nil, fmt.Errorf("%s: document %d: %w", path, i, err)
			}
			objects = append(objects, doc)
			continue
		}
		if _, rows := keys["rows"]; rows {
			if doc, err = t.certs.fill(doc); err != nil {
				return nil, fmt.Errorf("%s: document %d: %w", path, i, err)
			}
		}
		js, err := yaml.YAMLToJSONStrict(doc)
		if err != nil {
			return nil, fmt.Errorf("%s: document %d: %w", path, i, err)
		}
		if err := strict(js, t); err != nil {
			return nil, fmt.Errorf("%s: document %d: %w", path, i, err)
		}
		if t.certs.issued == nil {
			if t.certs, err = newCertificates(t.Name, t.Certificates, t.Tokens); err != nil {
				return nil, fmt.Errorf("%s: %w", path, err)
			}
			if t.Mesh, err = t.certs.fill(t.Mesh); err != nil {
				return nil, fmt.Errorf("%s: mesh: %w", path, err)
			}
		}
	}
	t.Text = bytes.Join(objects, []byte("\n---\n"))
	set, err := config.Load([]config.File{{Name: t.Name + ".yaml", Data: t.Text}}, config.LoadOptions{})
	t.Objects, t.Refused = set, config.AsProblems(err)
	t.Clients = append([]Client{{Name: "client"}}, t.Clients...)
	for _, list := range [][]Client{t.Clients, t.Gateways} {
		for i := range list {
			c := &list[i]
			if c.Namespace == "" {
				c.Namespace = "default"
			}
			if c.Labels == nil {
				c.Labels = map[string]string{"app": c.Name}
			}
		}
	}
	for i := range t.Apps {
		t.Apps[i].complete(i)
	}
	if err := t.check(); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return t, nil
}

func strict(js []byte, into any) error {
	d := json.NewDecoder(bytes.NewReader(js))
	d.DisallowUnknownFields()
	return d.Decode(into)
}

// check finds what would make a row pass without having asked anything.
func (t *Table) check() error {
	var found []error
	bad := func(format string, args ...any) { found = append(found, fmt.Errorf(format, args...)) }
	if t.About == "" {
		bad("there is no about: say what the file decides")
	}
	if len(t.Rows) == 0 {
		bad("there are no rows")
	}
	names := map[string]bool{}
	refusals := map[string]bool{}
	for i := range t.Rows {
		r := &t.Rows[i]
		if r.Name == "" || names[r.Name] {
			bad("row %d: its name %q is missing or was given before", i, r.Name)
		}
		names[r.Name] = true
		asks := 0
		for _, s := range []string{r.Request, r.Connect, r.Object} {
			if s != "" {
				asks++
			}
		}
		if asks != 1 {
			bad("row %q needs one of request, connect and object", r.Name)
		}
		if r.From != "" && r.At != "" {
			bad("row %q has both from and at", r.Name)
		}
		switch {
		case r.Object != "" && (r.Refused == "") == (r.Reported == ""):
			bad("row %q needs refused or reported", r.Name)
		case r.Request != "" && r.Status == 0 && r.End == "":
			bad("row %q needs a status, or end", r.Name)
		case r.End != "" && r.End != "closed" && r.End != "refused" && r.End != "reset":
			bad("row %q: end %q is none of closed, refused and reset", r.Name, r.End)
		case r.asksHTTP() && (r.Connect == "" || r.Status == 0 && r.End == ""):
			bad("row %q: raw and fields need connect, and a status or end", r.Name)
		case r.Connect != "" && !r.asksHTTP() && r.App == "" && r.Split == nil && r.End == "":
			bad("row %q needs app, split or end", r.Name)
		}
		if r.Refused != "" {
			refusals[r.Object] = true
		}
	}
	for _, p := range t.Refused {
		if p.Key.Kind == nil || !refusals[p.Key.String()] {
			bad("%w (and no row says that it is refused)", p)
		}
	}
	return errors.Join(found...)
}
