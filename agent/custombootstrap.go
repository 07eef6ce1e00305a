package agent

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"go.yaml.in/yaml/v3"
)

// maxBootstrap is the largest custom bootstrap, in bytes.
const maxBootstrap = 4 << 20

// customBootstrap is the bootstrap in c.BootstrapFile, YAML or JSON, as JSON. It is taken as it is: what it has of this agent (the admin API's
// port, the socket of secrets) is for who writes it.
func (c Config) customBootstrap() ([]byte, error) {
	fail := func(err error) ([]byte, error) {
		return nil, fmt.Errorf("customConfigFile %s: %w", c.BootstrapFile, err)
	}
	f, err := os.Open(c.BootstrapFile)
	if err != nil {
		return nil, fmt.Errorf("customConfigFile: %w", err)
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxBootstrap+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("customConfigFile: %w", err)
	case len(text) > maxBootstrap:
		return fail(fmt.Errorf("is larger than %d bytes", maxBootstrap))
	}
	var doc map[string]any
	if err := yaml.Unmarshal(text, &doc); err != nil {
		return fail(err)
	}
	if len(doc) == 0 {
		return fail(errors.New("is empty"))
	}
	out, err := json.Marshal(doc)
	if err != nil { // a number such as .nan
		return fail(err)
	}
	if c.CheckBootstrap != nil {
		if err := c.CheckBootstrap(out); err != nil {
			return fail(err)
		}
	}
	if c.patch != nil {
		c.Logger.Warn("patches of the bootstrap (EnvoyFilter, applyTo BOOTSTRAP) have no effect on a custom one", "customConfigFile", c.BootstrapFile)
	}
	return out, nil
}
