package xdsresource

import (
	"fmt"
	"io"
	"os"
	"strings"
)

// enrichmentFiles are what Dynatrace's agent tells of a process and its host (envoy.tracers.opentelemetry.resource_detectors.dynatrace). The first lies in the
// working directory of the process, or seems to: the agent makes it up. It holds the path of the file that counts.
// https://docs.dynatrace.com/docs/extend-dynatrace/extend-data
var enrichmentFiles = []string{
	indirectionPrefix + "e617c525669e072eebe3d0f08212e8f2.properties",
	"/var/lib/dynatrace/enrichment/dt_metadata.properties",
	"/var/lib/dynatrace/enrichment/dt_host_metadata.properties",
}

const (
	indirectionPrefix = "dt_metadata_"
	maxEnrichment     = 64 << 10
)

// dynatraceResource reads attributes from files, as many of them as there are. As in Envoy a file that cannot be read has none.
func dynatraceResource(files []string) (out [][2]string) {
	for _, name := range files {
		text, err := readEnrichment(name)
		if err == nil && strings.HasPrefix(name, indirectionPrefix) {
			text, err = readEnrichment(text)
		}
		if err == nil {
			out = append(out, enrichment(text)...)
		}
	}
	return out
}

// enrichment reads lines of name=value. One without just these two is passed over, as in Envoy, to which several signs are one.
func enrichment(text string) (out [][2]string) {
	for line := range strings.SplitSeq(text, "\n") {
		parts := strings.FieldsFunc(strings.Trim(line, " \t\f\v\r"), func(r rune) bool { return r == '=' })
		if len(parts) == 2 {
			out = append(out, [2]string{parts[0], parts[1]})
		}
	}
	return out
}

// readEnrichment reads a regular file of up to 64 KiB, all of it.
func readEnrichment(name string) (string, error) {
	st, err := os.Stat(name)
	if err != nil {
		return "", err
	}
	if !st.Mode().IsRegular() || st.Size() > maxEnrichment {
		return "", fmt.Errorf("%s is no regular file of up to %d bytes", name, maxEnrichment)
	}
	f, err := os.Open(name)
	if err != nil {
		return "", err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxEnrichment))
	return string(text), err
}
