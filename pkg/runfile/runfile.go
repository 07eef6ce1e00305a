// Package runfile reads and writes run.json, the one file of a state folder that says what runs: where the control plane answers,
// which proxies and apps there are, and which processes carry them. Every command finds a running mesh through it.
//
// It knows the file's format and nothing of what the addresses mean. It starts nothing and asks no process whether it lives, except
// for the writer's process id (Alive). Any package may import it.
package runfile

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// Name is the file's name inside the state folder.
const Name = "run.json"

// Run is what run.json holds. Addresses are "IP:PORT".
type Run struct {
	// PID is the process that wrote the file and that owns all Processes.
	PID int `json:"pid"`
	// Block is the first two bytes of the loopback /16 of this mesh, such as "127.77".
	Block string `json:"block"`
	// Gateway is where the ingress gateway's plain HTTP listener answers.
	Gateway string `json:"gateway"`
	// GatewayTLS and GatewayTCP are where it answers on ports 443 and 31400 of the mesh, once a Gateway asks for them.
	GatewayTLS string `json:"gatewayTLS,omitempty"`
	GatewayTCP string `json:"gatewayTCP,omitempty"`
	// XDS is the control plane's plaintext xDS address, loopback only.
	XDS string `json:"xds"`
	// XDSTLS is the control plane's mutually authenticated xDS and CA address.
	XDSTLS string `json:"xdsTLS"`
	// Debug is the control plane's HTTP address for debugging pages and metrics.
	Debug string `json:"debug"`
	// Proxies lists the sidecars and gateways.
	Proxies []Proxy `json:"proxies"`
	// Apps lists the applications, those outside the mesh too.
	Apps []App `json:"apps,omitempty"`
	// Processes lists every process that the writer started, and in what Read returns those of members.
	Processes []Process `json:"processes"`
}

// Proxy is one data plane process.
type Proxy struct {
	// Name is the pod-like name, such as "catalog-v1-1".
	Name string `json:"name"`
	// Namespace of the workload.
	Namespace string `json:"namespace"`
	// Workload is the deployment-like name, such as "catalog-v1"; "deploy/catalog-v1.istioinaction" finds it.
	Workload string `json:"workload"`
	// Type is "sidecar" or "router", as in the node id.
	Type string `json:"type"`
	// Admin is the address of the Envoy admin API.
	Admin string `json:"admin"`
}

// App is one application process.
type App struct {
	// Name is the pod-like name, equal to its proxy's.
	Name string `json:"name"`
	// App and Version are the labels of the same name; Version may be empty.
	App     string `json:"app"`
	Version string `json:"version,omitempty"`
	// Address is where the app itself listens, behind its proxy.
	Address string `json:"address"`
}

// Process is one process of the mesh.
type Process struct {
	Name string `json:"name"`
	// PID is 0 while the process waits to be started again.
	PID int `json:"pid"`
	// Log is the path of the file with the process's output.
	Log string `json:"log"`
}

// ErrNotRunning says that the state folder has no run.json, or that its writer is gone. errors.Is finds it in what Read returns.
var ErrNotRunning = errors.New("no mesh runs")

// Read returns the run.json of a state folder. The error is ErrNotRunning, wrapped with what to do, when there is no mesh.
func Read(stateDir string) (*Run, error) {
	path := filepath.Join(stateDir, Name)
	raw, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w in %s: start one with `lateen demo` or `lateen up`, or name its folder with --state-dir", ErrNotRunning, stateDir)
	}
	if err != nil {
		return nil, fmt.Errorf("read the state of the running mesh: %w", err)
	}
	var run Run
	if err := json.Unmarshal(raw, &run); err != nil {
		return nil, fmt.Errorf("%s: %w; remove the file and start the mesh again", path, err)
	}
	if !run.Alive() {
		return nil, fmt.Errorf("%w in %s: its process %d is gone; start it again with `lateen demo` or `lateen up`", ErrNotRunning, stateDir, run.PID)
	}
	for _, m := range Members(stateDir) {
		run.Proxies = append(run.Proxies, m.Proxy)
		if m.App != nil {
			run.Apps = append(run.Apps, *m.App)
		}
		run.Processes = append(run.Processes, m.Processes...)
	}
	return &run, nil
}

// Alive says whether the process that wrote the file still exists.
func (r *Run) Alive() bool { return alive(r.PID) }

func alive(pid int) bool {
	if pid <= 0 {
		return false
	}
	if err := syscall.Kill(pid, 0); err != nil && !errors.Is(err, syscall.EPERM) {
		return false
	}
	// A process that was killed and that nobody has waited for still has its number, as a zombie (proc(5): the state follows the last
	// parenthesis of the command's name). Where there is no /proc the number decides.
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	end := bytes.LastIndexByte(stat, ')')
	return err != nil || end < 0 || !bytes.HasPrefix(stat[end:], []byte(") Z"))
}

// Write replaces the file in one step: a reader sees the old content or the new one.
func Write(stateDir string, run *Run) error {
	raw, err := json.MarshalIndent(run, "", "  ")
	if err != nil {
		return fmt.Errorf("encode %s: %w", Name, err)
	}
	return WriteFile(filepath.Join(stateDir, Name), append(raw, '\n'), 0o644)
}

// Remove deletes the file; a missing one is no error.
func Remove(stateDir string) error {
	err := os.Remove(filepath.Join(stateDir, Name))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// WriteFile writes a file under a temporary name in the same folder and renames it over path, so that no reader sees half of it.
func WriteFile(path string, content []byte, mode fs.FileMode) error {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // fails after the rename, which is what it should do
	if err := f.Chmod(mode); err != nil {
		f.Close()
		return err
	}
	if _, err := f.Write(content); err != nil {
		f.Close()
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}
