package runner

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/lateen-mesh/lateen/config/statedir"
	"github.com/lateen-mesh/lateen/pkg/jointoken"
	"github.com/lateen-mesh/lateen/pkg/runfile"
	"github.com/lateen-mesh/lateen/workload"
)

// membership is a workload's place in a mesh.
type membership struct {
	site     workload.Site
	workload workload.Workload
	flags    []string // of the proxy, beyond those of the site
	// refresh writes a new join token; nil where the token is the user's to keep fresh.
	refresh func(now time.Time) error
	// leave takes the workload out of the registry: nobody new is sent to it.
	leave func() error
	// forget removes every trace.
	forget func() error
}

// join finds the mesh and the workload's addresses in it.
func (c Config) join() (*membership, error) {
	if c.Discovery != "" {
		return c.joinRemote()
	}
	run, err := runfile.Read(c.StateDir)
	if errors.Is(err, runfile.ErrNotRunning) {
		return nil, fmt.Errorf("%w; --discovery-address names a control plane elsewhere", err)
	}
	if err != nil {
		return nil, err
	}
	return c.joinLocal(run)
}

// joinLocal makes the workload a member of a mesh that runs on this machine: with two addresses of its loopback block, and a WorkloadEntry in its registry.
func (c Config) joinLocal(run *runfile.Run) (*membership, error) {
	switch {
	case c.TokenFile != "" || c.RootCert != "":
		return nil, errors.New("--token-file and --root-cert are for a control plane elsewhere: give its --discovery-address too, or leave them out")
	case c.IP != "":
		return nil, errors.New("--ip is for a control plane elsewhere: in the mesh of this machine the workload gets an address of " + run.Block + ".0.0/16")
	case c.Group != "":
		return nil, errors.New("--group is for a control plane elsewhere: in the mesh of this machine the workload has the labels that are given here")
	}
	m := &membership{site: workload.Site{
		Executable: c.Executable, Discovery: run.XDSTLS, RootCert: filepath.Join(c.StateDir, "ca", "root-cert.pem"), Dir: c.StateDir,
	}}
	err := runfile.Join(c.StateDir, c.Name, func(slot int) (*runfile.Member, error) {
		if slot > 254 {
			return nil, errors.New("254 workloads have joined the mesh, and there is no address for another")
		}
		last := "." + strconv.Itoa(slot)
		w, err := c.workload(run.Block+".4"+last, run.Block+".5"+last)
		if err != nil {
			return nil, err
		}
		m.workload = w
		return m.member(slot), nil
	})
	if err != nil {
		return nil, err
	}
	entry := filepath.Join(statedir.WorkloadsDir(c.StateDir), c.Name+".yaml")
	m.leave = func() error { return removed(os.Remove(entry)) }
	m.forget = func() error {
		return errors.Join(m.leave(), removed(os.Remove(m.site.TokenFile(m.workload))), runfile.Leave(c.StateDir, c.Name))
	}
	m.refresh = func(now time.Time) error {
		key, err := jointoken.ReadKey(filepath.Join(c.StateDir, "ca"))
		if err != nil {
			return err
		}
		return m.site.WriteToken(key, m.workload, now)
	}
	m.flags = m.workload.ExplicitFlags()
	text, err := m.workload.Entry()
	if err == nil {
		err = runfile.WriteFile(entry, text, 0o644)
	}
	if err == nil {
		err = m.refresh(time.Now())
	}
	if err != nil {
		return nil, errors.Join(err, m.forget())
	}
	return m, nil
}

// member is what other commands see of the workload.
func (m *membership) member(slot int) *runfile.Member {
	w := m.workload
	return &runfile.Member{
		PID: os.Getpid(), Slot: slot,
		Proxy:     runfile.Proxy{Name: w.Name, Namespace: w.Namespace, Workload: w.Deployment, Type: w.Type, Admin: w.Admin()},
		App:       &runfile.App{Name: w.Name, App: w.App, Version: w.Labels["version"], Address: w.AppAddress()},
		Processes: []runfile.Process{{Name: w.Name, PID: os.Getpid()}},
	}
}

// joinRemote makes the workload one of a control plane elsewhere, as a host of its own: the proxy has the host's address, the application 127.0.0.1.
func (c Config) joinRemote() (*membership, error) {
	if c.TokenFile == "" || c.RootCert == "" {
		return nil, errors.New("a control plane elsewhere needs proof of who joins and must prove itself: give --token-file and --root-cert")
	}
	for flag, path := range map[string]string{"token-file": c.TokenFile, "root-cert": c.RootCert} {
		if _, err := os.Stat(path); err != nil {
			return nil, fmt.Errorf("--%s: %w", flag, err)
		}
	}
	ip := c.IP
	if ip == "" {
		var err error
		if ip, err = addressTowards(c.Discovery); err != nil {
			return nil, err
		}
	}
	w, err := c.workload(ip, "127.0.0.1")
	if err != nil {
		return nil, err
	}
	w.LocalIP = "127.0.0.1" // others reach ip
	m := &membership{
		site:     workload.Site{Executable: c.Executable, Discovery: c.Discovery, RootCert: c.RootCert, Dir: c.StateDir},
		workload: w, flags: append(w.ExplicitFlags(), "--token-file", c.TokenFile),
		leave: func() error { return nil }, forget: func() error { return nil },
	}
	if c.Group != "" {
		// The agent sees that its proxy is to go, and tells the control plane.
		m.leave = func() error { return post(w, "/healthcheck/fail") }
		if c.ExecProbes {
			m.flags = append(m.flags, "--exec-probes")
		}
	}
	return m, nil
}

// workload is the command as a workload with these addresses.
func (c Config) workload(ip, appIP string) (workload.Workload, error) {
	w := workload.Workload{
		Name: c.Name, Deployment: c.Deployment, Namespace: c.Namespace, ServiceAccount: c.ServiceAccount, Labels: c.Labels, Type: workload.Sidecar,
		IP: ip, AppIP: appIP, App: c.Labels["app"], Command: c.Command, Metrics: c.Metrics,
	}
	for _, text := range c.Ports {
		p, err := workload.ParsePort(text, appIP)
		if err != nil {
			return w, err
		}
		w.Ports = append(w.Ports, p)
	}
	return w, w.Validate()
}

// addressTowards is this host's address on the way to another; no packet is sent.
func addressTowards(address string) (string, error) {
	conn, err := net.Dial("udp", address)
	if err != nil {
		return "", fmt.Errorf("--discovery-address %s: %w; say with --ip which address of this host the workload has", address, err)
	}
	defer conn.Close()
	return conn.LocalAddr().(*net.UDPAddr).IP.String(), nil
}

// removed is the error of a removal, unless there was nothing to remove.
func removed(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}
