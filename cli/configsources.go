package cli

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	meshconfig "istio.io/api/mesh/v1alpha1"

	"github.com/lateen-mesh/lateen/config"
	"github.com/lateen-mesh/lateen/controlplane"
)

// configSources are where the mesh's settings say that its objects are (MeshConfig's configSources), as flags would.
type configSources struct {
	// given are the addresses, as they stand there.
	given []string
	// configDir and kubernetes are fs:///PATH and k8s://.
	configDir  string
	kubernetes bool
}

// readConfigSources reads them from a file of the mesh's settings. One that there is not, or that is not valid, which the control plane tells by itself, has none.
func readConfigSources(meshFile string) (configSources, error) {
	if meshFile == "" {
		return configSources{}, nil
	}
	info, err := os.Stat(meshFile)
	if errors.Is(err, fs.ErrNotExist) || err == nil && info.Size() > config.MaxFileSize {
		return configSources{}, nil
	}
	if err != nil {
		return configSources{}, err
	}
	raw, err := os.ReadFile(meshFile)
	if err != nil {
		return configSources{}, err
	}
	mesh, err := config.ParseMeshConfig(config.File{Name: meshFile, Data: raw})
	if err != nil {
		return configSources{}, nil
	}
	out, err := parseConfigSources(mesh.GetConfigSources())
	if err != nil {
		return out, fmt.Errorf("%s: %w", meshFile, err)
	}
	return out, nil
}

// parseConfigSources refuses what is no source here. https://istio.io/latest/docs/reference/config/istio.mesh.v1alpha1/#ConfigSource
func parseConfigSources(list []*meshconfig.ConfigSource) (out configSources, err error) {
	for i, s := range list {
		at := fmt.Sprintf("configSources[%d].address", i)
		out.given = append(out.given, s.GetAddress())
		u, err := url.Parse(s.GetAddress())
		switch {
		case err != nil:
			return out, fmt.Errorf("%s: %q is no address of a source: want fs:///PATH or k8s://", at, s.GetAddress())
		case u.Scheme == "fs":
			if u.Host != "" || !filepath.IsAbs(u.Path) || u.RawQuery != "" || u.Fragment != "" {
				return out, fmt.Errorf("%s: %q: want fs:// and the absolute path of a folder, such as fs:///etc/mesh", at, s.GetAddress())
			}
			if out.configDir != "" {
				return out, fmt.Errorf("%s: %q: there is a folder of objects already, %s; put both into one", at, s.GetAddress(), out.configDir)
			}
			out.configDir = u.Path
		case u.Scheme == "k8s":
			if u.Host != "" || u.Path != "" && u.Path != "/" {
				return out, fmt.Errorf("%s: %q: want k8s://, which is the cluster that this runs in, else that of $KUBECONFIG; --kubeconfig names another", at, s.GetAddress())
			}
			out.kubernetes = true
		default:
			return out, fmt.Errorf("%s: %q is not supported: objects come from a folder (fs:///PATH) or from Kubernetes (k8s://), not from another server", at, s.GetAddress())
		}
	}
	return out, nil
}

// apply puts them in the place of flags that are not given. A flag wins, and what has no effect for it is told.
func (s configSources) apply(f *controlPlaneFlags, logger *slog.Logger, getenv func(string) string) error {
	if s.configDir != "" {
		if f.configDir == "" {
			f.configDir = s.configDir
		} else if f.configDir != s.configDir {
			logger.Warn("the mesh's configSources name another folder than --config-dir, which counts", "configSources", s.configDir, "flag", f.configDir)
		}
	}
	if !s.kubernetes || f.kubeconfig != "" {
		return nil
	}
	switch list := getenv("KUBECONFIG"); {
	case getenv("KUBERNETES_SERVICE_HOST") != "":
		f.kubeconfig = controlplane.InCluster
	case strings.Contains(list, string(filepath.ListSeparator)):
		return errors.New("configSources: k8s://: $KUBECONFIG names several files; say with --kubeconfig which one")
	case list != "":
		f.kubeconfig = list
	default:
		f.kubeconfig = filepath.Join(getenv("HOME"), ".kube", "config")
	}
	return nil
}
