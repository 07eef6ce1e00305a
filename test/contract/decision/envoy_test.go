package decision

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/lateen-mesh/lateen/test/internal/envoybin"
)

// envoy is the real Envoy.
func envoy(program string) proxyKind { return envoyOn(program, func(f func()) { f() }) }

// envoyOn is the real Envoy on a machine, on which do runs functions.
func envoyOn(program string, do func(func())) proxyKind {
	return proxyKind{differs: true, run: func(ctx context.Context, t *testing.T, bootstrap []byte, ready chan<- struct{}) error {
		dir := t.TempDir()
		file, logFile := filepath.Join(dir, "bootstrap.json"), filepath.Join(dir, "envoy.log")
		if err := os.WriteFile(file, bootstrap, 0o600); err != nil {
			return err
		}
		log, err := os.Create(logFile)
		if err != nil {
			return err
		}
		defer log.Close()
		defer func() {
			if text, err := os.ReadFile(logFile); t.Failed() && err == nil {
				t.Logf("envoy says:\n%s", text[max(0, len(text)-4000):])
			}
		}()
		cmd := exec.CommandContext(ctx, program, "-c", file, "--concurrency", "1", "--disable-hot-restart", "-l", "warning", "--file-flush-interval-msec", "10")
		cmd.Stdout, cmd.Stderr = log, log
		if do(func() { err = cmd.Start() }); err != nil {
			return err
		}
		ended := make(chan error, 1)
		go func() { ended <- cmd.Wait() }()
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		for waiting := true; waiting; {
			select {
			case err := <-ended:
				return says(ctx, err, logFile)
			case <-tick.C:
				if _, err := getFrom(ctx, do, proxyAdmin+"/ready"); err == nil {
					close(ready)
					waiting = false
				}
			}
		}
		return says(ctx, <-ended, logFile)
	}}
}

// says is why a program ended, with the end of its log; nil when it was told to.
func says(ctx context.Context, err error, logFile string) error {
	if ctx.Err() != nil {
		return nil
	}
	text, readErr := os.ReadFile(logFile)
	if err == nil {
		err = errors.New("it ended by itself")
	}
	return errors.Join(fmt.Errorf("envoy: %w:\n%s", err, text[max(0, len(text)-4000):]), readErr)
}

// get reads a page that answers 200.
func get(ctx context.Context, url string) ([]byte, error) {
	return getFrom(ctx, func(f func()) { f() }, url)
}

// getFrom reads a page as get does, from a machine.
func getFrom(ctx context.Context, do func(func()), url string) ([]byte, error) {
	transport := &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, network, address string) (c net.Conn, err error) {
		do(func() { c, err = (&net.Dialer{}).DialContext(ctx, network, address) })
		return c, err
	}}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	resp, err := (&http.Client{Transport: transport}).Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s: %.200s", url, resp.Status, body)
	}
	return body, err
}

// runEnvoy asks the rows of a real Envoy, as a sidecar and as a gateway of the same control plane: its answers are those of our proxy, and it refuses
// nothing that it is sent.
func runEnvoy(t *testing.T, p *ports, each func(*testing.T, func(*testing.T, *Table))) {
	program, err := envoybin.Find(t.Context())
	if err != nil {
		t.Skip("no Envoy: ", err, "; to install one: ", envoybin.Command)
	}
	each(t, func(t *testing.T, table *Table) {
		w := startWorld(t, table, p)
		for _, where := range w.places() {
			w.runAt(t, where, w.nodeAt(t, where).with("LATEEN_ON_DEMAND", "false"), " envoy", envoy(program))
			w.checkRefusals(t)
		}
	})
}

// checkRefusals fails for what proxies have refused.
func (w *world) checkRefusals(t *testing.T) {
	t.Helper()
	raw, err := get(t.Context(), w.debug+"/debug/syncz")
	if err != nil {
		t.Fatal(err)
	}
	var proxies []struct {
		Proxy string
		Types []struct{ Type, Error string }
	}
	if err := json.Unmarshal(raw, &proxies); err != nil {
		t.Fatal(err)
	}
	for _, p := range proxies {
		for _, kind := range p.Types {
			if kind.Error != "" {
				t.Errorf("%s refuses %s: %s", p.Proxy, kind.Type, strings.TrimSpace(kind.Error))
			}
		}
	}
}
