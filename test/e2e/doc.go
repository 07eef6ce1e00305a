// Package e2e builds cmd/lateen, starts `lateen demo --detach` with every process real, and drives it as a user would: through its
// commands, its files and its gateway. Each scenario of the sample shop is one test; the scenarios share one mesh, and each takes back
// what it has applied.
//
// The package holds tests only and imports no part of the mesh that would run in the test's own process, except for what a user's
// program would import (agent.Join, pkg/runfile, sample's client).
package e2e
