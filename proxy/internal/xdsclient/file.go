package xdsclient

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"sync"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/protobuf/encoding/prototext"
	"google.golang.org/protobuf/proto"

	"github.com/lateen-mesh/lateen/proxy/internal/filewatch"
	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

// FileConfig is what a File needs.
type FileConfig struct {
	Source xdsresource.ConfigSource // a file
	// Type is the URL of the resources in it.
	Type    string
	Decoder *xdsresource.Decoder
	// Lenient leaves unknown fields of the text out.
	Lenient bool
	Handler Handler
	Log     *slog.Logger
}

// File is a subscription to a file that holds a DiscoveryResponse. It is read at the start and
// whenever something is moved to its place. A file that cannot be read changes nothing.
type File struct {
	cfg  FileConfig
	wake chan struct{} // has one element when names were added

	mu       sync.Mutex
	wildcard bool
	wanted   map[string]bool

	// Of Run's goroutine:
	held map[string]string // names that were delivered, with their version
}

// NewFile returns a subscription that reads nothing before Run.
func NewFile(cfg FileConfig) *File {
	return &File{cfg: cfg, wake: make(chan struct{}, 1), wanted: map[string]bool{}, held: map[string]string{}}
}

// SubscribeAll asks for every resource in the file.
func (f *File) SubscribeAll(string) {
	f.mu.Lock()
	f.wildcard = true
	f.mu.Unlock()
	f.poke()
}

// Subscribe asks for a resource by name.
func (f *File) Subscribe(_, name string) {
	f.mu.Lock()
	f.wanted[name] = true
	f.mu.Unlock()
	f.poke()
}

// Unsubscribe takes a name back.
func (f *File) Unsubscribe(_, name string) {
	f.mu.Lock()
	delete(f.wanted, name)
	f.mu.Unlock()
}

func (f *File) poke() {
	select {
	case f.wake <- struct{}{}:
	default:
	}
}

// Run reads and watches until ctx ends.
func (f *File) Run(ctx context.Context) error {
	watch := func() (*filewatch.Watcher, error) { return filewatch.File(f.cfg.Source.Path) }
	if dir := f.cfg.Source.WatchedDirectory; dir != "" {
		watch = func() (*filewatch.Watcher, error) { return filewatch.Directory(dir) }
	}
	w, err := watch() // before the first read, so that no move is missed
	if err != nil {
		return err
	}
	moved := make(chan struct{}, 1)
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	var watchErr error
	wg.Go(func() {
		defer cancel()
		watchErr = w.Run(ctx, func() {
			select {
			case moved <- struct{}{}:
			default:
			}
		})
	})
	defer wg.Wait()
	defer cancel()
	for {
		select {
		case <-ctx.Done():
			cancel()
			wg.Wait()
			return watchErr
		case <-f.wake:
		case <-moved:
		}
		f.load()
	}
}

// load reads the file and delivers what is wanted of it.
func (f *File) load() {
	m, err := f.read()
	if err != nil {
		f.cfg.Log.Warn("cannot read a configuration file; what it held before stays", "path", f.cfg.Source.Path, "error", err)
		f.cfg.Handler.Failed(f.cfg.Type, err)
		return
	}
	b := Batch{Type: f.cfg.Type, Version: m.GetVersionInfo()}
	r := &response{typeURL: f.cfg.Type, version: m.GetVersionInfo()}
	for _, body := range m.GetResources() {
		r.resources = append(r.resources, rawResource{version: m.GetVersionInfo(), body: body})
	}
	all := judge(f.cfg.Decoder, r)
	f.mu.Lock()
	wildcard, wanted := f.wildcard, maps.Clone(f.wanted)
	f.mu.Unlock()
	present := map[string]bool{}
	for _, u := range all.Changed {
		if wildcard || wanted[u.Name] {
			b.Changed = append(b.Changed, u)
			present[u.Name] = true
		}
	}
	for _, x := range all.Failed {
		present[x.Name] = true
		if wildcard || wanted[x.Name] || x.Name == "" {
			b.Failed = append(b.Failed, x)
			f.cfg.Log.Warn("refused a resource of a configuration file", "path", f.cfg.Source.Path, "error", x.Err)
		}
	}
	for name := range wanted {
		if !present[name] {
			b.Absent = append(b.Absent, name)
		}
	}
	for name := range f.held {
		if !present[name] {
			delete(f.held, name)
			if wildcard {
				b.Removed = append(b.Removed, name)
			}
		}
	}
	refused, _ := f.cfg.Handler.Update(b)
	for name, err := range refused {
		f.cfg.Log.Warn("refused a resource of a configuration file", "path", f.cfg.Source.Path, "name", name, "error", err)
		present[name] = false
	}
	for name, ok := range present {
		if ok {
			f.held[name] = b.Version
		}
	}
}

// read parses the file by its ending, as Envoy does.
func (f *File) read() (*discoveryv3.DiscoveryResponse, error) {
	path := f.cfg.Source.Path
	raw, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	m := &discoveryv3.DiscoveryResponse{}
	switch ext := filepath.Ext(path); ext {
	case ".yaml", ".yml", ".json":
		_, err = xdsresource.FromText("file", raw, m, f.cfg.Lenient)
	case ".pb":
		err = proto.Unmarshal(raw, m)
	case ".pb_text", ".textproto":
		err = prototext.Unmarshal(raw, m)
	default:
		err = fmt.Errorf("the ending %q tells no form: use .yaml, .yml, .json, .pb, .pb_text or .textproto", ext)
	}
	return m, err
}
