package rules

import (
	"encoding/json"
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"os/exec"
	"strings"
	"testing"
)

const module = "github.com/lateen-mesh/lateen"

// pkg is the part of `go list -json` that the rules read.
type pkg struct {
	ImportPath string
	Dir        string
	Name       string
	GoFiles    []string
	Imports    []string
	Deps       []string
}

func list(t *testing.T, args ...string) []pkg {
	t.Helper()
	cmd := exec.Command("go", append([]string{"list", "-json=ImportPath,Dir,Name,GoFiles,Imports,Deps"}, args...)...)
	cmd.Dir = "../.."
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v\n%s", err, stderr.String())
	}
	var pkgs []pkg
	for dec := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p pkg
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			return pkgs
		} else if err != nil {
			t.Fatal(err)
		}
		pkgs = append(pkgs, p)
	}
}

// importRules: packages below From must not reach what Forbidden begins with. Direct rules
// look at import lines only; the others at everything that is linked in.
var importRules = []struct {
	from      []string
	except    []string
	forbidden []string
	direct    bool
	why       string
}{
	{
		from:      []string{"/cmd/lateen-proxy", "/proxy", "/agent"},
		forbidden: []string{"k8s.io/", "sigs.k8s.io/controller-runtime", module + "/controlplane", module + "/cli"},
		why:       "the data plane is small and quick to start, and knows the control plane only through Envoy's protos",
	},
	{
		from:      []string{"/controlplane"},
		forbidden: []string{module + "/proxy", module + "/cli"},
		why:       "the control plane serves any proxy; its only contract with ours is Envoy's protos",
	},
	{
		from:      []string{"/controlplane/internal/model"},
		forbidden: []string{"github.com/envoyproxy/", "k8s.io/", "google.golang.org/grpc"},
		direct:    true,
		why:       "the mesh graph is plain Go: neither where it came from nor where it goes shows in it",
	},
	{
		from: []string{"/proxy"},
		except: []string{
			"/proxy/internal/bootstrap", "/proxy/internal/xdsclient", "/proxy/internal/xdsresource",
			"/proxy/internal/httpfilter/", "/proxy/internal/networkfilter/", "/proxy/internal/admin", "/proxy/internal/server",
			"/proxy/internal/export", // logs and spans leave as protos, off the path
			"/proxy/internal/rls",    // questions to a rate limit service are protos
		},
		forbidden: []string{"github.com/envoyproxy/", "google.golang.org/protobuf", "google.golang.org/grpc"},
		direct:    true,
		why:       "protos end where they are judged (xdsresource and the filters' parsers) and begin again where they are printed (admin); the path runs on plain Go",
	},
	{
		from:      []string{"/proxy", "/agent", "/config", "/controlplane", "/cli", "/pkg"},
		except:    []string{"/pkg/cel", "/proxy/internal/cel"}, // the second has the values of a stream
		forbidden: []string{"cel.dev/"},
		direct:    true,
		why:       "one package knows the library of the expression language, and bounds what it is given",
	},
	{
		from:      []string{"/proxy/internal/cel"},
		forbidden: []string{module + "/proxy/internal/format", module + "/proxy/internal/hcm", module + "/proxy/internal/server"},
		why:       "formats, filters and policies evaluate expressions; the evaluator knows a stream's record and headers alone",
	},
	{
		from:      []string{"/proxy/internal/httpfilter/", "/proxy/internal/hcm", "/proxy/internal/router", "/proxy/internal/http1", "/proxy/internal/http2"},
		forbidden: []string{module + "/proxy/internal/server", module + "/proxy/internal/admin", module + "/proxy/internal/xdsclient"},
		why:       "the path is wired by server, it does not reach back to it",
	},
	{
		from:      []string{"/config"},
		forbidden: []string{module + "/controlplane", module + "/proxy", module + "/cli"},
		why:       "store, webhook and command line call the same validation, so it depends on none of them",
	},
	{
		from:      []string{"/pkg/"},
		forbidden: []string{module + "/config", module + "/controlplane", module + "/proxy", module + "/cli", module + "/agent"},
		why:       "pkg holds leaves",
	},
}

// allowed lists, for a rule above, the few packages that may do what others may not.
var allowed = map[string]map[string]string{
	"/proxy/internal/extauthz": {
		"github.com/envoyproxy/": "a check is a proto by contract", "google.golang.org/protobuf": "the same",
	},
	"/proxy/internal/peermetadata": {"google.golang.org/protobuf": "the peer metadata header is a serialised proto by contract"},
}

func TestImports(t *testing.T) {
	for _, p := range list(t, "./...") {
		path := strings.TrimPrefix(p.ImportPath, module)
		for _, r := range importRules {
			if !under(path, r.from) || under(path, r.except) {
				continue
			}
			reached := p.Deps
			if r.direct {
				reached = p.Imports
			}
			for _, dep := range reached {
				for _, bad := range r.forbidden {
					if !strings.HasPrefix(dep, bad) {
						continue
					}
					if _, ok := allowed[path][bad]; ok {
						continue
					}
					t.Errorf("%s reaches %s: %s", p.ImportPath, dep, r.why)
				}
			}
		}
	}
}

// under reports whether path is one of the roots or below it. A root ending in a slash
// means only what is below it.
func under(path string, roots []string) bool {
	for _, r := range roots {
		if strings.HasSuffix(r, "/") {
			if strings.HasPrefix(path, r) {
				return true
			}
		} else if path == r || strings.HasPrefix(path, r+"/") {
			return true
		}
	}
	return false
}

func TestPackageComments(t *testing.T) {
	for _, p := range list(t, "./...") {
		if len(p.GoFiles) == 0 {
			continue // tests only
		}
		if !hasPackageComment(t, p) {
			t.Errorf("%s has no package comment: say what it does, what it does not do, and who may import it", p.ImportPath)
		}
	}
}

func hasPackageComment(t *testing.T, p pkg) bool {
	for _, f := range p.GoFiles {
		file, err := parser.ParseFile(token.NewFileSet(), p.Dir+"/"+f, nil, parser.ParseComments|parser.PackageClauseOnly)
		if err != nil {
			t.Fatal(err)
		}
		if file.Doc != nil && len(strings.Fields(file.Doc.Text())) >= 8 {
			return true
		}
	}
	return false
}

// TestNoInit keeps registration explicit: what exists is listed in one place that a reader
// can find, and nothing runs before main.
func TestNoInit(t *testing.T) {
	for _, p := range list(t, "./...") {
		for _, f := range p.GoFiles {
			file, err := parser.ParseFile(token.NewFileSet(), p.Dir+"/"+f, nil, parser.SkipObjectResolution)
			if err != nil {
				t.Fatal(err)
			}
			for _, d := range file.Decls {
				if fn, ok := d.(*ast.FuncDecl); ok && fn.Recv == nil && fn.Name.Name == "init" {
					t.Errorf("%s/%s has an init function: list what it registers where it is used", p.ImportPath, f)
				}
			}
		}
	}
}
