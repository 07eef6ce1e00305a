package up

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"github.com/lateen-mesh/lateen/localmesh"
	"github.com/lateen-mesh/lateen/workload"
)

// maxWorkloads is how many addresses there are for proxies, and for programs outside.
const maxWorkloads = 254

// slots gives each instance a number, by which it has its addresses, and lets it keep the number as long as it is there.
type slots map[string]int

// assign gives numbers to all names, from 1, and forgets those that are not among them.
func (s slots) assign(names []string) error {
	wanted := map[string]bool{}
	for _, name := range names {
		wanted[name] = true
	}
	used := map[int]bool{}
	for name, n := range s {
		if !wanted[name] {
			delete(s, name)
			continue
		}
		used[n] = true
	}
	next := 1
	for _, name := range names {
		if s[name] != 0 {
			continue
		}
		for used[next] {
			next++
		}
		if next > maxWorkloads {
			return fmt.Errorf("there are more than %d instances", maxWorkloads)
		}
		s[name], used[next] = next, true
	}
	return nil
}

// workloads are the instances of the apps.
func (s slots) workloads(list []app, p localmesh.Place, dir string) ([]workload.Workload, error) {
	var names []string
	for _, a := range list {
		for n := range a.replicas() {
			names = append(names, fmt.Sprintf("%s-%d", a.Name, n+1))
		}
	}
	if err := s.assign(names); err != nil {
		return nil, err
	}
	var out []workload.Workload
	for _, a := range list {
		for n := range a.replicas() {
			slot := s[fmt.Sprintf("%s-%d", a.Name, n+1)]
			ip, appIP := p.Addresses(slot)
			if a.outside() {
				ip = p.Outside(slot)
			}
			w, err := a.workload(ip, appIP, n+1, dir)
			if err != nil {
				return nil, fmt.Errorf("app %s: %w", a.Name, err)
			}
			if len(w.Command) > 0 {
				w.Command[0] = program(w.Command[0], dir, p.Executable)
			}
			out = append(out, w)
		}
	}
	return out, nil
}

// absent names the apps whose program is not there, once each. They are not refused: it may come yet, and is tried again and again.
func absent(list []workload.Workload) []string {
	var out []string
	for _, w := range list {
		if len(w.Command) == 0 {
			continue
		}
		line := fmt.Sprintf("Warning: app %s: there is no program %s; it is tried again and again", w.Deployment, w.Command[0])
		if _, err := exec.LookPath(w.Command[0]); err != nil && !slices.Contains(out, line) {
			out = append(out, line)
		}
	}
	return out
}

// program finds what a command names: a path is relative to the folder, a bare name is looked up in PATH, and lateen is this program. One that is not found stays,
// for the log of its process to say so.
func program(name, dir, this string) string {
	if name == "lateen" && this != "" {
		return this
	}
	if strings.Contains(name, "/") {
		if filepath.IsAbs(name) {
			return name
		}
		return filepath.Join(dir, name)
	}
	if path, err := exec.LookPath(name); err == nil {
		return path
	}
	return name
}
