package status

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// Variable is the variable in which Istio's injector gives a workload's annotations prometheus.io/ to its agent.
const Variable = "ISTIO_PROMETHEUS_ANNOTATIONS"

// Annotations are a workload's annotations prometheus.io/scrape, path and port, as they stand in Variable.
type Annotations struct {
	// Scrape "false" is for an application without metrics.
	Scrape string `json:"scrape,omitempty"`
	// Path of the metrics, with a query if there is one. Default /metrics.
	Path string `json:"path,omitempty"`
	// Port of the workload. Default 80.
	Port string `json:"port,omitempty"`
}

// Application is where an application's metrics are.
type Application struct {
	Port uint16
	// Path begins with a slash and may have a query.
	Path string
}

// ParseAnnotations reads Annotations in JSON. nil: the application has no metrics. The error says what is wrong with which annotation.
func ParseAnnotations(text string) (*Application, error) {
	var a Annotations
	dec := json.NewDecoder(strings.NewReader(text))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&a); err != nil {
		return nil, fmt.Errorf("%w; want {\"scrape\": ..., \"path\": ..., \"port\": ...}, all text", err)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("something stands after the object")
	}
	return a.Application()
}

// Application is what the annotations say, nil for no metrics.
func (a Annotations) Application() (*Application, error) {
	if a.Scrape == "false" {
		return nil, nil
	}
	out := &Application{Port: 80, Path: a.Path}
	if a.Port != "" {
		n, err := strconv.ParseUint(a.Port, 10, 16)
		if err != nil || n == 0 {
			return nil, fmt.Errorf("prometheus.io/port: %q is no port", a.Port)
		}
		out.Port = uint16(n)
	}
	if out.Path == "" {
		out.Path = "/metrics"
	}
	if !strings.HasPrefix(out.Path, "/") {
		out.Path = "/" + out.Path
	}
	u, err := url.ParseRequestURI(out.Path)
	if err != nil || u.Host != "" {
		return nil, fmt.Errorf("prometheus.io/path: %q is no path", a.Path)
	}
	return out, nil
}

// ParseApplication reads where metrics are as users write it, "PORT" or "PORT/PATH".
func ParseApplication(text string) (*Application, error) {
	port, path, given := strings.Cut(text, "/")
	if given {
		path = "/" + path
	}
	out, err := Annotations{Path: path, Port: port}.Application()
	if err != nil || port == "" {
		return nil, fmt.Errorf("metrics %q: want PORT or PORT/PATH, such as 9102/metrics", text)
	}
	return out, nil
}

// Setting is the application in an environment, NAME=VALUE, for an agent.
func (a *Application) Setting() string {
	text, err := json.Marshal(Annotations{Scrape: "true", Path: a.Path, Port: strconv.Itoa(int(a.Port))})
	if err != nil {
		panic("BUG: three texts are no JSON: " + err.Error())
	}
	return Variable + "=" + string(text)
}

// maxMetrics is the largest text of an application's metrics, in bytes, after decompression.
const maxMetrics = 16 << 20

// maxRedirects is how often an application may send its scraper elsewhere.
const maxRedirects = 3

// The forms that merged metrics can have.
const (
	textFormat     = "text/plain; version=0.0.4; charset=utf-8"
	openMetrics001 = "application/openmetrics-text; version=0.0.1; charset=utf-8"
	openMetrics100 = "application/openmetrics-text; version=1.0.0; charset=utf-8"
)

// applicationClient asks applications. A connection is for one scrape, so that an idle workload keeps none. Redirects stay at the application: anything else could be the agent itself.
func applicationClient() *http.Client {
	return &http.Client{
		Transport: &http.Transport{DisableKeepAlives: true, MaxResponseHeaderBytes: 64 << 10},
		CheckRedirect: func(req *http.Request, via []*http.Request) error {
			if req.URL.Host != via[0].URL.Host || req.URL.Scheme != via[0].URL.Scheme {
				return fmt.Errorf("it sends on to %s, which is elsewhere", req.URL.Redacted())
			}
			if len(via) > maxRedirects {
				return fmt.Errorf("it sends on more than %d times", maxRedirects)
			}
			return nil
		},
	}
}

// scrape asks for the application's metrics at HOST:PORT, with what the scraper takes and has said of itself. It returns them and their form; the error says why they
// could not be part of an answer.
func (a *Application) scrape(ctx context.Context, client *http.Client, at string, scraper http.Header, timeout time.Duration) ([]byte, string, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+at+a.Path, nil)
	if err != nil {
		return nil, "", err
	}
	req.Header.Set("Accept", accept(scraper.Values("Accept")))
	req.Header.Set(timeoutHeader, strconv.FormatFloat(timeout.Seconds(), 'f', -1, 64))
	if agent := scraper.Get("User-Agent"); agent != "" {
		req.Header.Set("User-Agent", agent)
	}
	resp, err := client.Do(req)
	if err != nil {
		return nil, "", err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, "", fmt.Errorf("%s answers %d", req.URL, resp.StatusCode)
	}
	text, err := io.ReadAll(io.LimitReader(resp.Body, maxMetrics+1))
	if err != nil {
		return nil, "", fmt.Errorf("%s: %w", req.URL, err)
	}
	if len(text) > maxMetrics {
		return nil, "", fmt.Errorf("%s answers with more than %d bytes", req.URL, maxMetrics)
	}
	format, err := formatOf(resp.Header.Get("Content-Type"))
	if err == nil {
		text, err = complete(text, format)
	}
	if err != nil {
		return nil, "", fmt.Errorf("%s: %w", req.URL, err)
	}
	return text, format, nil
}

// accept is what of a scraper's Accept the merged metrics can be: they are text, so that the proxy's fit in front of the application's. Without any such it is Prometheus' text.
func accept(values []string) string {
	var out []string
	for _, value := range values {
		for _, part := range strings.Split(value, ",") {
			kind, params, err := mime.ParseMediaType(part)
			if err != nil {
				continue
			}
			switch kind {
			case "text/plain", "text/*", "*/*":
			case "application/openmetrics-text":
				if v := params["version"]; v != "" && v != "0.0.1" && v != "1.0.0" {
					continue
				}
			default:
				continue
			}
			out = append(out, strings.TrimSpace(part))
		}
	}
	if len(out) == 0 {
		return "text/plain;version=0.0.4"
	}
	return strings.Join(out, ",")
}

// formatOf is the form of metrics with a content type. What names no form of metrics is taken for Prometheus' text, as in Istio: small applications say text/html or nothing.
func formatOf(contentType string) (string, error) {
	kind, params, err := mime.ParseMediaType(contentType)
	switch {
	case err != nil:
		return textFormat, nil
	case kind == "application/vnd.google.protobuf":
		return "", errors.New("it answers with protobuf, which it was not asked for")
	case kind != "application/openmetrics-text":
		return textFormat, nil
	}
	switch v := params["version"]; v {
	case "1.0.0":
		return openMetrics100, nil
	case "", "0.0.1":
		return openMetrics001, nil
	default:
		return "", fmt.Errorf("it answers with version %q of OpenMetrics, which it was not asked for", v)
	}
}

var endOfFile = []byte("# EOF")

// complete looks at metrics from outside, as far as it takes to know that they do not spoil those of the proxy: text of lines that may be metrics, and OpenMetrics to its end.
func complete(text []byte, format string) ([]byte, error) {
	if !utf8.Valid(text) {
		return nil, errors.New("it answers with bytes that are no text")
	}
	number := 0
	for line := range bytes.Lines(text) {
		number++
		if line = bytes.TrimSpace(line); len(line) > 0 && !begins(line[0]) {
			return nil, fmt.Errorf("line %d of its answer is no metric", number)
		}
	}
	if format != textFormat {
		if !bytes.HasSuffix(bytes.TrimRight(text, "\n"), endOfFile) {
			return nil, errors.New("its OpenMetrics do not end with # EOF, so something is missing")
		}
		return text, nil
	}
	if n := len(text); n > 0 && text[n-1] != '\n' {
		text = append(text, '\n')
	}
	return text, nil
}

// begins says that a line of metrics may begin with a byte: a comment, a name, or a name in braces.
func begins(b byte) bool {
	return b == '#' || b == '{' || b == '_' || b == ':' || b >= 'a' && b <= 'z' || b >= 'A' && b <= 'Z'
}
