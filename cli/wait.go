package cli

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/lateen-mesh/lateen/config"
	"github.com/lateen-mesh/lateen/config/statedir"
	"github.com/lateen-mesh/lateen/pkg/runfile"
)

const (
	// pollFirst and pollMost are how long a wait sleeps between two questions: as long as the one before and half of it, up to the most.
	pollFirst = 10 * time.Millisecond
	pollMost  = 500 * time.Millisecond
	// resourcesAtOnce is how many objects one question names: a URL has its bounds.
	resourcesAtOnce = 200
	// meshResource names the mesh configuration where objects are named as KIND/NAMESPACE/NAME.
	meshResource = "meshconfig"
)

// servedFlags are the flags of commands that may wait until the mesh serves what they have changed.
type servedFlags struct {
	wait    bool
	timeout time.Duration
	address string
}

func (f *servedFlags) register(cmd *cobra.Command) {
	cmd.Flags().BoolVar(&f.wait, "wait", false, "return when every proxy that the change concerns serves it")
	cmd.Flags().DurationVar(&f.timeout, "timeout", 30*time.Second, "with --wait: how long")
	cmd.Flags().StringVar(&f.address, "xds-debug-address", "", "with --wait: HTTP address of the control plane (default: that of the mesh in --state-dir)")
}

// served waits until every proxy serves a change, and says how many do. expected are the proxies that have to be there.
func (f *servedFlags) served(cmd *cobra.Command, mesh meshDebug, c change, expected []runfile.Proxy) error {
	ctx, cancel := context.WithTimeout(cmd.Context(), f.timeout)
	defer cancel()
	n, err := mesh.waitServed(ctx, c, expected)
	if err != nil {
		return err
	}
	fmt.Fprintf(cmd.OutOrStdout(), "served by %s\n", countOf(n, "proxy", "proxies"))
	return nil
}

// mesh returns whom to ask, and the proxies that the mesh in the state folder has. Without --wait there is nobody to ask.
func (f *servedFlags) mesh(cmd *cobra.Command) (meshDebug, []runfile.Proxy, error) {
	if !f.wait || f.address != "" {
		return meshDebug{address: f.address}, nil, nil
	}
	run, err := runfile.Read(stateDir(cmd))
	if err != nil {
		return meshDebug{}, nil, err
	}
	return meshDebug{address: run.Debug}, run.Proxies, nil
}

// change is what a command has written and waits for.
type change struct {
	verb string // "applied" or "deleted"
	// query is the key by which /debug/distribution is asked for the resources: "resource" for those that are to be there, each with a version,
	// "gone" for those that are not.
	query     string
	resources []string
}

// distribution is what the control plane's /debug/distribution says.
type distribution struct {
	Version uint64 `json:"version"`
	Missing []struct {
		Resource string `json:"resource"`
		Why      string `json:"why"`
	} `json:"missing"`
	Proxies []string `json:"proxies"`
	Behind  []struct {
		Proxy   string `json:"proxy"`
		Why     string `json:"why"`
		Refused bool   `json:"refused"`
	} `json:"behind"`
}

// deletion is the change that objects are gone.
func deletion(keys []config.Key) change {
	c := change{verb: "deleted", query: "gone"}
	for _, k := range keys {
		c.resources = append(c.resources, resourceName(k))
		if config.IsMeshConfig(k) {
			c.resources = append(c.resources, meshResource)
		}
	}
	return c
}

// application is the change that objects are there, each in the version of the file that it is in now. The caller holds the lock of the state
// folder.
func application(dir string, changes []statedir.Change) (change, error) {
	versions := map[string]string{}
	version := func(path string) (string, error) {
		if v := versions[path]; v != "" {
			return v, nil
		}
		raw, err := os.ReadFile(path)
		if err != nil {
			return "", err
		}
		versions[path] = config.FileVersion(sha256.Sum256(raw))
		return versions[path], nil
	}
	out := change{verb: "applied", query: "resource"}
	add := func(name, path string) error {
		v, err := version(path)
		out.resources = append(out.resources, name+"@"+v)
		return err
	}
	for _, c := range changes {
		key := c.Object.Key()
		path := statedir.Path(dir, key)
		if c.Verb == statedir.Unchanged {
			path = c.Object.Source.File // it may be one that was made by hand
		}
		if err := add(resourceName(key), path); err != nil {
			return change{}, err
		}
		if config.IsMeshConfig(key) && c.Verb != statedir.Unchanged {
			if err := add(meshResource, statedir.MeshFile(dir)); err != nil {
				return change{}, err
			}
		}
	}
	return out, nil
}

func resourceName(k config.Key) string { return k.Kind.Resource() + "/" + k.Namespace + "/" + k.Name }

// waitServed returns once every proxy serves a change, with the number of proxies. The error names the objects that the control plane
// does not have yet, or still has, or the proxies that lag; it comes early when all of those have refused what they were sent.
func (m meshDebug) waitServed(ctx context.Context, c change, expected []runfile.Proxy) (int, error) {
	version := uint64(0)
	for batch := range slices.Chunk(c.resources, resourcesAtOnce) {
		var last distribution
		err := m.poll(ctx, map[string][]string{c.query: batch}, &last, func() bool { return len(last.Missing) == 0 && last.Version > 0 })
		if err != nil {
			return 0, lagging(err, c.verb+", and not in force", len(last.Missing), func(i int) string { return last.Missing[i].Resource + ": " + last.Missing[i].Why })
		}
		version = max(version, last.Version)
	}
	var last distribution
	var absent []string
	refused := false
	err := m.poll(ctx, map[string][]string{"version": {fmt.Sprint(version)}}, &last, func() bool {
		absent = absent[:0]
		for _, p := range expected {
			if name := p.Name + "." + p.Namespace; !slices.Contains(last.Proxies, name) {
				absent = append(absent, name)
			}
		}
		refused = len(last.Behind) > 0 && len(absent) == 0
		for _, b := range last.Behind {
			refused = refused && b.Refused
		}
		return refused || len(absent)+len(last.Behind) == 0
	})
	if err == nil && !refused {
		return len(last.Proxies), nil
	}
	return 0, lagging(err, c.verb+", and not served by", len(last.Behind)+len(absent), func(i int) string {
		if i < len(last.Behind) {
			return last.Behind[i].Proxy + ": " + last.Behind[i].Why
		}
		return absent[i-len(last.Behind)] + ": it is not connected to the control plane"
	})
}

// poll asks until done says that the answer is what was waited for, or ctx ends.
func (m meshDebug) poll(ctx context.Context, query map[string][]string, answer *distribution, done func() bool) error {
	pause := pollFirst
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-timer.C:
		case <-ctx.Done():
			return ctx.Err()
		}
		raw, err := m.get(ctx, "/debug/distribution", query)
		if err != nil {
			return err
		}
		var next distribution
		if err := json.Unmarshal(raw, &next); err != nil {
			return fmt.Errorf("the control plane's answer at %s is not what this version reads: %w", m.address, err)
		}
		*answer = next
		if done() {
			return nil
		}
		timer.Reset(pause)
		pause = min(pause+pause/2, pollMost)
	}
}

// lagging makes the error of a wait: what is not there, by name, when that is known, and why it was not waited for any longer.
func lagging(err error, what string, n int, item func(int) string) error {
	if n == 0 || err != nil && !errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	lines := make([]string, n)
	for i := range lines {
		lines[i] = "\n  " + item(i)
	}
	when := ""
	if err != nil {
		when = " in time"
	}
	return fmt.Errorf("%s%s:%s", what, when, strings.Join(lines, ""))
}
