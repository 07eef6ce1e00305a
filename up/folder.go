package up

import (
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/lateen-mesh/lateen/config"
	"github.com/lateen-mesh/lateen/config/analyze"
	"github.com/lateen-mesh/lateen/config/schema"
	"github.com/lateen-mesh/lateen/localmesh"
	"github.com/lateen-mesh/lateen/workload"
)

const (
	// lookInterval is how often the folder is looked at. A change counts when two looks have found the same, so that no half-written file does.
	lookInterval = 300 * time.Millisecond
	// appPatience is how long a start waits for apps to listen. One that needs longer is none the worse for it.
	appPatience = 10 * time.Second
)

// Folder is the content of an `up` mesh.
type Folder struct {
	dir       string
	out       io.Writer // told of changes
	slots     slots
	workloads []workload.Workload
	seen      [sha256.Size]byte // what is in force, or was found wrong
}

// New returns the content for a folder, which must exist. What changes while the mesh runs is said on out.
func New(dir string, out io.Writer) (*Folder, error) {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	info, err := os.Stat(abs)
	if err != nil {
		return nil, fmt.Errorf("the mesh's folder: %w", err)
	}
	if !info.IsDir() {
		return nil, fmt.Errorf("%s is no folder: name the one with the mesh's YAML", dir)
	}
	return &Folder{dir: abs, out: out, slots: slots{}}, nil
}

// Prepare implements localmesh.Content.
func (f *Folder) Prepare(p localmesh.Place) ([]workload.Workload, error) {
	if err := p.WriteConfig([]config.File{p.GatewayService()}, localmesh.RootNamespace); err != nil {
		return nil, err
	}
	var err error
	if f.seen, err = f.fingerprint(); err != nil {
		return nil, err
	}
	workloads, done, err := f.load(p)
	if err != nil {
		return nil, err
	}
	for _, line := range append(done.warned(), absent(workloads)...) {
		f.say(line)
	}
	f.workloads = workloads
	return workloads, nil
}

// load reads the folder and puts its objects in force. With a mistake anywhere nothing changes.
func (f *Folder) load(p localmesh.Place) ([]workload.Workload, *outcome, error) {
	file, err := readApps(f.dir)
	if err != nil {
		return nil, nil, err
	}
	files, err := readObjects(f.dir, file.Objects)
	if err != nil {
		return nil, nil, err
	}
	if err := settings(f.dir, p.StateDir); err != nil {
		return nil, nil, err
	}
	var workloads []workload.Workload
	var idle []analyze.Message
	done, err := apply(p.StateDir, files, func(objects []*config.Object) error {
		list := file.Apps
		for _, o := range objects {
			if o.Kind != schema.Deployment {
				continue
			}
			a, why := fromDeployment(o, file.Images)
			idle = append(idle, why...)
			if a != nil {
				list = append(list, *a)
			}
		}
		if err := distinct(list); err != nil {
			return err
		}
		workloads, err = f.slots.workloads(list, p, f.dir)
		return err
	})
	if err != nil {
		return nil, nil, err
	}
	done.warnings = append(done.warnings, idle...)
	return workloads, done, nil
}

// Serves implements localmesh.Content: every app that has a port listens, or has had time to.
func (f *Folder) Serves(ctx context.Context, p localmesh.Place) error {
	if time.Since(p.Begun) > appPatience {
		return nil
	}
	for _, w := range f.workloads {
		if w.AppAddress() == "" {
			continue
		}
		if err := localmesh.Accepts(ctx, w.AppAddress()); err != nil {
			return fmt.Errorf("the app %s: %w", w.Name, err)
		}
	}
	return nil
}

// Table implements localmesh.Content.
func (f *Folder) Table(out io.Writer, p localmesh.Place) error {
	var rows []localmesh.Row
	for _, w := range f.workloads {
		row := localmesh.Row{What: w.Name, Where: "-", Admin: "http://" + w.Admin()}
		if w.Type == workload.Outside {
			row.What, row.Admin = w.Name+", outside the mesh", "-"
		}
		var where []string
		for _, port := range w.Ports {
			where = append(where, net.JoinHostPort(w.IP, strconv.Itoa(int(port.Number))))
		}
		if len(where) > 0 {
			row.Where = strings.Join(where, ", ")
		}
		rows = append(rows, row)
	}
	return p.WriteTable(out, rows)
}

// Keep implements localmesh.Content: it follows the folder until ctx ends.
func (f *Folder) Keep(ctx context.Context, m *localmesh.Members) error {
	ticker := time.NewTicker(lookInterval)
	defer ticker.Stop()
	last := f.seen
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
		now, err := f.fingerprint()
		if err != nil {
			continue // a file that went while it was listed; the next look finds it gone
		}
		if settled := now == last; now != f.seen && settled {
			f.seen = now
			f.follow(m)
		}
		last = now
	}
}

// follow takes over what the folder says now, and says so.
func (f *Folder) follow(m *localmesh.Members) {
	workloads, done, err := f.load(m.Place)
	if err == nil {
		for _, line := range append(done.describe(), absent(workloads)...) {
			f.say(line)
		}
		f.workloads = workloads
		if err = m.Set(workloads); err == nil {
			return
		}
	}
	problems := config.AsProblems(err)
	for _, p := range problems {
		f.say(p.Error())
	}
	if len(problems) == 0 {
		f.say(err.Error())
	}
	f.say("the mesh goes on as it was")
}

func (f *Folder) say(line string) {
	// Whoever does not read any more needs no answer.
	_, _ = fmt.Fprintln(f.out, line)
}

// fingerprint changes with the folder's files.
func (f *Folder) fingerprint() ([sha256.Size]byte, error) {
	var sum [sha256.Size]byte
	files, err := config.ReadTree(f.dir)
	if err != nil {
		return sum, err
	}
	h := sha256.New()
	for _, file := range files {
		fmt.Fprintf(h, "%s\x00%d\x00", file.Name, len(file.Data))
		h.Write(file.Data)
	}
	h.Sum(sum[:0])
	return sum, nil
}
