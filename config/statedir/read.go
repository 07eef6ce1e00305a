package statedir

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	mesh "istio.io/api/mesh/v1alpha1"

	"github.com/lateen-mesh/lateen/config"
)

// clusterFolder stands in for the namespace of kinds that have none. No namespace begins with an
// underscore.
const clusterFolder = "_cluster"

// ConfigDir is the folder of users' objects.
func ConfigDir(dir string) string { return filepath.Join(dir, "config") }

// WorkloadsDir is the folder of the WorkloadEntries of running workloads.
func WorkloadsDir(dir string) string { return filepath.Join(dir, "workloads") }

// MeshFile is the file of the mesh's settings (istio.mesh.v1alpha1.MeshConfig).
func MeshFile(dir string) string { return filepath.Join(dir, "mesh.yaml") }

// Path returns the file in which an applied object is kept.
func Path(dir string, k config.Key) string {
	ns := k.Namespace
	if ns == "" {
		ns = clusterFolder
	}
	return filepath.Join(ConfigDir(dir), ns, k.Kind.Folder(), k.Name+".yaml")
}

// Read returns the users' objects, with their text. A folder that does not exist holds none.
// Mistakes in files are returned as config.Problems together with the set of what is right.
func Read(dir string) (*config.Set, error) { return read(ConfigDir(dir)) }

// ReadAll returns the users' objects and the WorkloadEntries of running workloads.
func ReadAll(dir string) (*config.Set, error) {
	users, err := Read(dir)
	if users == nil {
		return nil, err
	}
	running, runErr := read(WorkloadsDir(dir))
	if running == nil {
		return nil, runErr
	}
	return running.With(users), append(config.AsProblems(err), config.AsProblems(runErr)...).Err()
}

func read(folder string) (*config.Set, error) {
	if _, err := os.Stat(folder); errors.Is(err, fs.ErrNotExist) {
		return config.NewSet(), nil
	}
	files, err := config.ReadTree(folder)
	if err != nil {
		return nil, err
	}
	return config.Load(files, config.LoadOptions{KeepText: true})
}

// Mesh returns the mesh's settings; nil if there is no file, or if it is wrong, which is for the
// control plane to report.
func Mesh(dir string) *mesh.MeshConfig {
	b, err := os.ReadFile(MeshFile(dir))
	if err != nil {
		return nil
	}
	mc, err := config.ParseMeshConfig(config.File{Name: MeshFile(dir), Data: b})
	if err != nil {
		return nil
	}
	return mc
}
