package admin

import (
	"cmp"
	"fmt"
	"net/http"
	"os"
	"runtime/pprof"
	"sync"
)

// defaultProfile is Envoy's default of Admin.profile_path.
const defaultProfile = "/var/log/envoy/envoy.prof"

// profiler writes profiles in pprof's form to a file of this host, which the bootstrap names. A
// process has one profile of its CPU time at a time.
type profiler struct {
	path string
	mu   sync.Mutex
	file *os.File // while one is taken
}

func newProfiler(path string) *profiler { return &profiler{path: cmp.Or(path, defaultProfile)} }

// cpu answers POST /cpuprofiler?enable=y|n. To start what runs, and to stop what does not, changes nothing.
func (p *profiler) cpu(w http.ResponseWriter, r *http.Request) {
	enable, ok := onOff(r)
	if !ok {
		http.Error(w, "?enable=<y|n>", http.StatusBadRequest)
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	var err error
	switch {
	case enable && p.file == nil:
		err = p.start()
	case !enable && p.file != nil:
		err = p.stop()
	}
	if err != nil {
		http.Error(w, "failure to start the profiler: "+err.Error(), http.StatusInternalServerError)
		return
	}
	fmt.Fprintln(w, "OK")
}

func (p *profiler) start() error {
	f, err := os.Create(p.path)
	if err != nil {
		return err
	}
	if err := pprof.StartCPUProfile(f); err != nil {
		_ = f.Close()
		return err
	}
	p.file = f
	return nil
}

func (p *profiler) stop() error {
	pprof.StopCPUProfile() // writes what is left
	f := p.file
	p.file = nil
	return f.Close()
}

// end stops a profile that nobody stopped.
func (p *profiler) end() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.file != nil {
		_ = p.stop() // what was written is there; nobody waits for an answer
	}
}

// heapDump answers /heap_dump with a profile of the heap as the last collection found it.
func (p *profiler) heapDump(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/octet-stream")
	_ = pprof.Lookup("heap").WriteTo(w, 0) // the client went away
}

// onOff reads the only parameter that a request may have: enable, y or n.
func onOff(r *http.Request) (enable, ok bool) {
	q := r.URL.Query()
	v := q["enable"]
	if len(q) != 1 || len(v) == 0 || v[0] != "y" && v[0] != "n" {
		return false, false
	}
	return v[0] == "y", true
}
