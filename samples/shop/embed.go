// Package shop holds the manifests of the sample shop, for `lateen demo` to seed a mesh with and
// for tests to apply. Base is what the demo starts with; the other folders are one step each of
// the tour in the README: routing at the gateway and in the mesh, resilience, egress, security,
// telemetry, and a mistake to be found.
//
// The package reads no objects; config does. Anyone may import it.
package shop

import (
	"bytes"
	"embed"
)

// FS holds all manifests by their path below samples/shop, for example base/webapp.yaml and
// mesh/catalog-90-10.yaml.
//
//go:embed base gateway mesh resilience egress security telemetry mistakes
var FS embed.FS

// sampleBlock is the loopback block that the files name. A running mesh has one of its own.
const sampleBlock = "127.77."

// ForBlock returns a manifest with the addresses of a mesh whose loopback block is, for
// example, "127.80" (run.json's "block").
func ForBlock(path, block string) ([]byte, error) {
	b, err := FS.ReadFile(path)
	if err != nil {
		return nil, err
	}
	return bytes.ReplaceAll(b, []byte(sampleBlock), []byte(block+".")), nil
}
