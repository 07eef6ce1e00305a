// Package local is the registry of workloads that run on this machine without Kubernetes: a folder with one WorkloadEntry for each, written
// by whoever starts them (`lateen demo`, `lateen run`).
//
// It is a config store of that one kind, so that what starts a workload needs no connection to the control plane, and a control plane that
// restarts knows at once what runs. It does not check whether a workload lives; its supervisor takes the file away. Only package
// controlplane imports it.
package local

import (
	"fmt"
	"log/slog"

	"github.com/lateen-mesh/lateen/config/schema"
	"github.com/lateen-mesh/lateen/controlplane/internal/configstore/file"
)

// Source is the registry's name as a source of objects.
const Source = "local"

// New returns the registry of a folder; Run on what it returns watches it. Any kind but WorkloadEntry is a mistake.
func New(dir string, log *slog.Logger) *file.Store {
	return file.New(file.Options{Dir: dir, Logger: log, Accept: accept})
}

func accept(k *schema.Kind) error {
	if k.Name != "WorkloadEntry" {
		return fmt.Errorf("a %s does not belong into the folder of workloads, only WorkloadEntry does; use `lateen apply`", k.Name)
	}
	return nil
}
