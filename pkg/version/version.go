// Package version says which Lateen this is and which Istio it speaks as.
//
// It holds constants and what the Go toolchain recorded in the binary. It reads nothing else and imports the standard library only.
// Any package may import it.
package version

import "runtime/debug"

// IstioCompat is the Istio release whose API and wire forms this version follows. Proxies send it as the node metadata
// ISTIO_VERSION, and the control plane's debug pages show it as the proxy's version, since tools compare it with Istio's releases.
const IstioCompat = "1.24.1"

// Number is the release of Lateen. Builds from a checkout keep the suffix "-dev".
const Number = "0.1.0-dev"

// Info is what a build knows about itself.
type Info struct {
	// Version is Number.
	Version string `json:"version"`
	// Revision is the commit that was built, with "-dirty" after it when the tree had changes; "unknown" without version control.
	Revision string `json:"revision"`
	// GolangVersion is the toolchain, such as "go1.26.8".
	GolangVersion string `json:"golang_version"`
	// IstioCompat is the constant of that name.
	IstioCompat string `json:"istio_compat"`
}

// Version returns the release with the first 12 digits of the commit when they are known, such as "0.1.0-dev+4030848ab12c".
func Version() string {
	info := Get()
	if info.Revision == "unknown" {
		return Number
	}
	rev := info.Revision
	if len(rev) > 12 {
		rev = rev[:12]
	}
	return Number + "+" + rev
}

// Get returns what this build knows about itself.
func Get() Info {
	info := Info{Version: Number, Revision: "unknown", IstioCompat: IstioCompat}
	build, ok := debug.ReadBuildInfo()
	if !ok {
		return info
	}
	info.GolangVersion = build.GoVersion
	dirty := false
	for _, s := range build.Settings {
		switch s.Key {
		case "vcs.revision":
			info.Revision = s.Value
		case "vcs.modified":
			dirty = s.Value == "true"
		}
	}
	if dirty && info.Revision != "unknown" {
		info.Revision += "-dirty"
	}
	return info
}
