package up

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"sigs.k8s.io/yaml"

	"github.com/lateen-mesh/lateen/agent/status"
	"github.com/lateen-mesh/lateen/config"
	"github.com/lateen-mesh/lateen/workload"
)

// AppsFile is the file, at the top of the folder, that names the apps. It holds no objects.
const AppsFile = "lateen.yaml"

// appsFile is the content of AppsFile.
type appsFile struct {
	Apps []app `json:"apps"`
	// Images says which program stands for a container image, by which the Deployments among the objects become apps. A key without a tag is for all tags.
	Images map[string]image `json:"images"`
	// Objects are the files and folders, below the folder, whose objects the mesh has. Default all.
	Objects []string `json:"objects"`
}

// image is the program that stands for a container image.
type image struct {
	// Command and Env as an app's.
	Command []string          `json:"command"`
	Env     map[string]string `json:"env"`
}

// app is a program of the user's, with a proxy beside each of its instances.
type app struct {
	// Name of the workload, as a Deployment's. Instances are NAME-1, NAME-2 and so on.
	Name string `json:"name"`
	// Namespace. Default "default".
	Namespace string `json:"namespace"`
	// ServiceAccount. Default Name.
	ServiceAccount string `json:"serviceAccount"`
	// Labels, by which Services select it. Default app: NAME.
	Labels map[string]string `json:"labels"`
	// Ports, as workload.ParsePort reads them.
	Ports []port `json:"ports"`
	// Metrics is where it serves metrics for Prometheus, PORT or PORT/PATH of the workload; port 15020 has them with the proxy's. "" for none.
	Metrics port `json:"metrics"`
	// Command is the program and its arguments; $(NAME) is replaced by a variable of its environment, as in a Pod. It runs in the folder.
	Command []string `json:"command"`
	// Env is added to its environment.
	Env map[string]string `json:"env"`
	// Replicas is the number of instances. Default 1.
	Replicas *int `json:"replicas"`
	// Gateway true is for a gateway of its own instead of a program: it has no command, and opens the ports of the Gateways that select its labels at its own address.
	Gateway bool `json:"gateway"`
	// Sidecar false is for a program outside the mesh. Default true.
	Sidecar *bool `json:"sidecar"`

	mergeMetrics *bool // of a Deployment's annotation
}

// port is a port in YAML: a number, or text.
type port string

func (p *port) UnmarshalJSON(raw []byte) error {
	var n uint16
	if json.Unmarshal(raw, &n) == nil {
		*p = port(strconv.Itoa(int(n)))
		return nil
	}
	var s string
	if err := json.Unmarshal(raw, &s); err != nil {
		return fmt.Errorf("port %s: want a number, or text such as \"80=9000\"", raw)
	}
	*p = port(s)
	return nil
}

// maxReplicas is how many instances an app may have: all are processes of this machine.
const maxReplicas = 32

// readApps reads AppsFile; a folder without one has no apps.
func readApps(dir string) (*appsFile, error) {
	path := filepath.Join(dir, AppsFile)
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return &appsFile{}, nil
	}
	if err != nil {
		return nil, err
	}
	if info.Size() > config.MaxFileSize {
		return nil, fmt.Errorf("%s: has %d bytes, more than %d", path, info.Size(), config.MaxFileSize)
	}
	raw, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	return parseApps(path, raw)
}

// parseApps reads the apps and reports every mistake in them.
func parseApps(path string, raw []byte) (*appsFile, error) {
	var file appsFile
	if err := unknownFields(path, raw); err != nil {
		return nil, err
	}
	if err := yaml.UnmarshalStrict(raw, &file); err != nil {
		text := strings.TrimPrefix(err.Error(), "error unmarshaling JSON: while decoding JSON: ")
		return nil, fmt.Errorf("%s: %s", path, strings.TrimPrefix(text, "json: "))
	}
	var errs []error
	seen := map[string]bool{}
	for i := range file.Apps {
		a := &file.Apps[i]
		a.setDefaults()
		if seen[a.Name] {
			errs = append(errs, fmt.Errorf("%s: apps[%d]: there is another app %q", path, i, a.Name))
		}
		seen[a.Name] = true
		if err := a.validate(); err != nil {
			errs = append(errs, fmt.Errorf("%s: apps[%d] (%s): %w", path, i, a.Name, err))
		}
	}
	for name, img := range file.Images {
		if len(img.Command) == 0 {
			errs = append(errs, fmt.Errorf("%s: images: %s: command is missing: the program and its arguments, as a list", path, name))
		}
	}
	for _, name := range file.Objects {
		if !filepath.IsLocal(name) {
			errs = append(errs, fmt.Errorf("%s: objects: %q: want a file or folder below this folder", path, name))
		}
	}
	return &file, errors.Join(errs...)
}

func (a *app) setDefaults() {
	if a.Namespace == "" {
		a.Namespace = "default"
	}
	if a.ServiceAccount == "" {
		a.ServiceAccount = a.Name
	}
	if a.Labels == nil {
		a.Labels = map[string]string{"app": a.Name}
	}
}

func (a *app) replicas() int {
	if a.Replicas == nil {
		return 1
	}
	return *a.Replicas
}

func (a *app) outside() bool { return a.Sidecar != nil && !*a.Sidecar }

func (a *app) validate() error {
	if a.Gateway && (len(a.Command) > 0 || len(a.Ports) > 0 || len(a.Env) > 0 || a.Sidecar != nil || a.Metrics != "") {
		return errors.New("a gateway has neither command, ports, env, metrics nor sidecar: Gateways and Services say what it serves")
	}
	if len(a.Command) == 0 && !a.Gateway {
		return errors.New("command is missing: the program and its arguments, as a list")
	}
	if n := a.replicas(); n < 0 || n > maxReplicas {
		return fmt.Errorf("replicas is %d: want 0 to %d", n, maxReplicas)
	}
	for key := range a.Env {
		if key == "" || strings.ContainsAny(key, "=\x00") {
			return fmt.Errorf("env: %q is no name of a variable", key)
		}
	}
	if a.replicas() > 1 && slices.ContainsFunc(a.Ports, func(p port) bool { return strings.Contains(string(p), "=") }) {
		return errors.New("instances cannot share a port of 127.0.0.1: leave =APP-PORT out and have the app listen on $(HOST):$(PORT)")
	}
	_, err := a.workload("127.0.0.2", "127.0.0.3", 1, "")
	return err
}

// workload is the n-th instance.
func (a *app) workload(ip, appIP string, n int, dir string) (workload.Workload, error) {
	w := workload.Workload{
		Name: a.Name + "-" + strconv.Itoa(n), Deployment: a.Name, Namespace: a.Namespace, ServiceAccount: a.ServiceAccount, Labels: a.Labels,
		Type: workload.Sidecar, IP: ip, AppIP: appIP, App: a.Name, Dir: dir,
	}
	if a.Gateway {
		w.Type, w.Bind, w.App = workload.Router, ip, ""
		return w, w.Validate()
	}
	if name := a.Labels["app"]; name != "" {
		w.App = name
	}
	if a.outside() {
		w.Type, appIP = workload.Outside, ip
	}
	for _, text := range a.Ports {
		p, err := workload.ParsePort(string(text), appIP)
		if err != nil {
			return w, err
		}
		w.Ports = append(w.Ports, p)
	}
	if a.Metrics != "" {
		var err error
		if w.Metrics, err = status.ParseApplication(string(a.Metrics)); err != nil {
			return w, err
		}
	}
	w.MergeMetrics = a.mergeMetrics
	for key, value := range a.Env {
		w.Env = append(w.Env, key+"="+value)
	}
	slices.Sort(w.Env)
	for _, arg := range a.Command {
		w.Command = append(w.Command, expand(arg, w.AppEnvironment()))
	}
	return w, w.Validate()
}

// expand replaces $(NAME) by the variable's value, as Kubernetes does in a container's command: $$(NAME) stands for $(NAME), and what names no variable
// stays as it is (https://kubernetes.io/docs/tasks/inject-data-application/define-interdependent-environment-variables).
func expand(text string, environ []string) string {
	values := map[string]string{}
	for _, pair := range environ {
		key, value, _ := strings.Cut(pair, "=")
		values[key] = value
	}
	var b strings.Builder
	for {
		before, after, found := strings.Cut(text, "$")
		b.WriteString(before)
		if !found {
			return b.String()
		}
		if rest, ok := strings.CutPrefix(after, "$"); ok {
			b.WriteByte('$')
			text = rest
			continue
		}
		if name, ok := strings.CutPrefix(after, "("); ok {
			if name, rest, closed := strings.Cut(name, ")"); closed {
				if value, known := values[name]; known {
					b.WriteString(value)
					text = rest
					continue
				}
			}
		}
		b.WriteByte('$')
		text = after
	}
}
