// Package kubetest is an API server of Kubernetes for tests, as far as reading goes: lists and watches of any resource over HTTP, in JSON, initial events
// included, with field selectors by name and type. Tests put objects, take them away, have resources refused and cut the watches.
package kubetest

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/fields"
	"sigs.k8s.io/yaml"
)

// Server is one API server. It ends with its test.
type Server struct {
	t    *testing.T
	http *httptest.Server

	mu      sync.Mutex
	changed *sync.Cond
	version int
	objects map[string]map[string]*unstructured.Unstructured // by path of the resource, by namespace/name
	events  []event
	refused map[string]int // by path of the resource, a status code
	cut     int            // watches of earlier times end
	closed  bool
}

type event struct {
	version  int
	resource string
	kind     string // ADDED, MODIFIED, DELETED
	object   *unstructured.Unstructured
}

// New starts a server without objects.
func New(t *testing.T) *Server {
	s := &Server{t: t, objects: map[string]map[string]*unstructured.Unstructured{}, refused: map[string]int{}, version: 1}
	s.changed = sync.NewCond(&s.mu)
	s.http = httptest.NewServer(s)
	t.Cleanup(func() {
		s.mu.Lock()
		s.closed = true
		s.mu.Unlock()
		s.changed.Broadcast()
		s.http.Close()
	})
	return s
}

// Kubeconfig writes a kubeconfig that leads to the server and returns its path.
func (s *Server) Kubeconfig() string {
	path := filepath.Join(s.t.TempDir(), "kubeconfig")
	text := fmt.Sprintf("apiVersion: v1\nkind: Config\nclusters: [{name: c, cluster: {server: %q}}]\nusers: [{name: u, user: {}}]\n"+
		"contexts: [{name: c, context: {cluster: c, user: u}}]\ncurrent-context: c\n", s.http.URL)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		s.t.Fatal(err)
	}
	return path
}

// Put creates or changes the objects of a YAML text, of which each names apiVersion, kind, and where it has one its namespace. resourceVersion is the
// server's.
func (s *Server) Put(text string) {
	s.t.Helper()
	for _, doc := range strings.Split(text, "\n---\n") {
		var m map[string]any
		if err := yaml.Unmarshal([]byte(doc), &m); err != nil {
			s.t.Fatal(err)
		}
		s.put(&unstructured.Unstructured{Object: m})
	}
}

func (s *Server) put(o *unstructured.Unstructured) {
	s.mu.Lock()
	defer s.mu.Unlock()
	path := resourceOf(o.GetAPIVersion(), o.GetKind())
	s.version++
	o.SetResourceVersion(strconv.Itoa(s.version))
	key, kind := o.GetNamespace()+"/"+o.GetName(), "MODIFIED"
	if s.objects[path] == nil {
		s.objects[path] = map[string]*unstructured.Unstructured{}
	}
	if s.objects[path][key] == nil {
		kind = "ADDED"
	}
	s.objects[path][key] = o
	s.events = append(s.events, event{s.version, path, kind, o})
	s.changed.Broadcast()
}

// Delete takes an object away.
func (s *Server) Delete(apiVersion, kind, namespace, name string) {
	s.t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	path, key := resourceOf(apiVersion, kind), namespace+"/"+name
	o := s.objects[path][key]
	if o == nil {
		s.t.Fatalf("there is no %s %s", kind, key)
	}
	delete(s.objects[path], key)
	s.version++
	o = o.DeepCopy()
	o.SetResourceVersion(strconv.Itoa(s.version))
	s.events = append(s.events, event{s.version, path, "DELETED", o})
	s.changed.Broadcast()
}

// Refuse has requests for a kind answered with a status; 0 for no longer.
func (s *Server) Refuse(apiVersion, kind string, status int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.refused[resourceOf(apiVersion, kind)] = status
}

// Cut ends all watches, and forgets the events that they might go on from.
func (s *Server) Cut() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.cut, s.events = s.version, nil
	s.changed.Broadcast()
}

// resourceOf is the path of a kind's resource: GROUPVERSION/PLURAL.
func resourceOf(apiVersion, kind string) string {
	plural := strings.ToLower(kind) + "s"
	switch {
	case strings.HasSuffix(plural, "ys") && !strings.HasSuffix(plural, "ays"):
		plural = strings.TrimSuffix(plural, "ys") + "ies"
	case strings.HasSuffix(plural, "sss"):
		plural = strings.TrimSuffix(plural, "s") + "es"
	}
	return apiVersion + "/" + plural
}

// ServeHTTP answers GET /api/v1/[namespaces/NS/]RESOURCE and /apis/GROUP/VERSION/[namespaces/NS/]RESOURCE.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	parts := strings.Split(strings.Trim(r.URL.Path, "/"), "/")
	if len(parts) < 3 || r.Method != http.MethodGet {
		http.Error(w, "kubetest: not served", http.StatusNotImplemented)
		return
	}
	version, rest := parts[1], parts[2:]
	if parts[0] == "apis" {
		version, rest = parts[1]+"/"+parts[2], parts[3:]
	}
	namespace := ""
	if len(rest) == 3 && rest[0] == "namespaces" {
		namespace, rest = rest[1], rest[2:]
	}
	path := version + "/" + rest[0]
	selector, err := fields.ParseSelector(r.URL.Query().Get("fieldSelector"))
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	wanted := func(o *unstructured.Unstructured) bool {
		kind, _, _ := unstructured.NestedString(o.Object, "type")
		return (namespace == "" || o.GetNamespace() == namespace) && selector.Matches(fields.Set{"metadata.name": o.GetName(), "type": kind})
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if code := s.refused[path]; code != 0 {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(code)
		_ = json.NewEncoder(w).Encode(metav1.Status{TypeMeta: metav1.TypeMeta{Kind: "Status", APIVersion: "v1"}, Status: "Failure", Code: int32(code), Reason: reasons[code], Message: rest[0] + " is refused to you"})
		return
	}
	w.Header().Set("Content-Type", "application/json")
	if r.URL.Query().Get("watch") == "true" {
		s.watch(w, r, path, wanted)
		return
	}
	items := []any{}
	for _, o := range s.listed(path, wanted) {
		items = append(items, o.Object)
	}
	_ = json.NewEncoder(w).Encode(map[string]any{
		"apiVersion": version, "kind": "List", "metadata": map[string]any{"resourceVersion": strconv.Itoa(s.version)}, "items": items,
	})
}

var reasons = map[int]metav1.StatusReason{
	http.StatusForbidden: metav1.StatusReasonForbidden, http.StatusNotFound: metav1.StatusReasonNotFound, http.StatusGone: metav1.StatusReasonExpired,
	http.StatusServiceUnavailable: metav1.StatusReasonServiceUnavailable,
}

func (s *Server) listed(path string, wanted func(*unstructured.Unstructured) bool) (out []*unstructured.Unstructured) {
	for _, key := range slices.Sorted(maps.Keys(s.objects[path])) {
		if o := s.objects[path][key]; wanted(o) {
			out = append(out, o)
		}
	}
	return out
}

// watch is called with the lock held, and waits without it.
func (s *Server) watch(w http.ResponseWriter, r *http.Request, path string, wanted func(*unstructured.Unstructured) bool) {
	send := func(kind string, o any) {
		_ = json.NewEncoder(w).Encode(map[string]any{"type": kind, "object": o})
	}
	at, _ := strconv.Atoi(r.URL.Query().Get("resourceVersion"))
	born := s.cut
	switch {
	case r.URL.Query().Get("sendInitialEvents") == "true":
		apiVersion, kind := "", ""
		for _, o := range s.listed(path, wanted) {
			send("ADDED", o.Object)
			apiVersion, kind = o.GetAPIVersion(), o.GetKind()
		}
		if kind == "" {
			apiVersion, kind = guess(path)
		}
		at = s.version
		send("BOOKMARK", map[string]any{"apiVersion": apiVersion, "kind": kind, "metadata": map[string]any{
			"resourceVersion": strconv.Itoa(at), "annotations": map[string]any{metav1.InitialEventsAnnotationKey: "true"},
		}})
	case at < s.cut:
		send("ERROR", metav1.Status{TypeMeta: metav1.TypeMeta{Kind: "Status", APIVersion: "v1"}, Status: "Failure", Code: http.StatusGone, Reason: metav1.StatusReasonExpired, Message: "too old"})
		return
	}
	stop := make(chan struct{})
	defer close(stop)
	go func() {
		select {
		case <-r.Context().Done():
			s.mu.Lock()
			defer s.mu.Unlock()
			s.changed.Broadcast()
		case <-stop:
		}
	}()
	for r.Context().Err() == nil && !s.closed && s.cut == born {
		for _, e := range s.events {
			if e.version > at && e.resource == path && wanted(e.object) {
				send(e.kind, e.object.Object)
			}
		}
		at = s.version
		w.(http.Flusher).Flush()
		s.changed.Wait()
	}
}

// guess is a kind of a resource of which there is no object: bookmarks have one.
func guess(path string) (apiVersion, kind string) {
	cut := strings.LastIndexByte(path, '/')
	for _, k := range []string{"Pod", "Node", "Service", "EndpointSlice", "Secret", "ConfigMap", "Namespace", "CustomResourceDefinition"} {
		if resourceOf(path[:cut], k) == path {
			return path[:cut], k
		}
	}
	return path[:cut], "Unknown"
}
