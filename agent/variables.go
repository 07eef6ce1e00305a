package agent

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// How Istio's variables of the node's metadata begin: ISTIO_META_KEY is text, ISTIO_METAJSON_KEY is JSON.
const (
	metaPrefix     = "ISTIO_META_"
	metaJSONPrefix = "ISTIO_METAJSON_"
	// dualStack is "false" for a workload with addresses of both families that is served by IPv4 alone.
	dualStack = "ISTIO_DUAL_STACK"
)

// hasEffect reports whether a variable is one of those that MetadataOf reads.
func hasEffect(name string) bool {
	return strings.HasPrefix(name, metaPrefix) || strings.HasPrefix(name, metaJSONPrefix) || name == dualStack
}

// MetadataOf returns the node's metadata that environment variables give. The error names a variable that is not JSON.
func MetadataOf(env map[string]string) (map[string]any, error) {
	meta := map[string]any{}
	for _, key := range slices.Sorted(maps.Keys(env)) { // ISTIO_METAJSON_ after ISTIO_META_, whatever the order of the environment
		if name, ok := strings.CutPrefix(key, metaJSONPrefix); ok {
			var value any
			if err := json.Unmarshal([]byte(env[key]), &value); err != nil {
				return nil, fmt.Errorf("%s: %w", key, err)
			}
			meta[name] = value
		} else if name, ok := strings.CutPrefix(key, metaPrefix); ok {
			meta[name] = env[key]
		} else if key == dualStack {
			meta["DUAL_STACK"] = env[key]
		}
	}
	return meta, nil
}
