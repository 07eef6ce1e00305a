package sample

import (
	"bytes"
	"encoding/json"
	"fmt"
	"html/template"
	"io"
	"net/http"
)

// webapp is the shop's front: a page and an API, both made of what catalog and forum answer. CATALOG_URL and FORUM_URL say where
// those are; the defaults are the mesh's names in namespace istioinaction.
func webapp(mux *http.ServeMux, client *http.Client, getenv func(string) string) {
	catalogURL := envOr(getenv, "CATALOG_URL", "http://catalog.istioinaction:80")
	forumURL := envOr(getenv, "FORUM_URL", "http://forum.istioinaction:80")
	mux.HandleFunc("GET /api/catalog", func(w http.ResponseWriter, r *http.Request) {
		passOn(w, r, client, catalogURL+"/items")
	})
	mux.HandleFunc("GET /api/catalog/{id}", func(w http.ResponseWriter, r *http.Request) {
		passOn(w, r, client, catalogURL+"/items/"+r.PathValue("id"))
	})
	mux.HandleFunc("GET /api/users", func(w http.ResponseWriter, r *http.Request) {
		passOn(w, r, client, forumURL+"/api/users")
	})
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, r *http.Request) {
		frontPage(w, r, client, catalogURL+"/items")
	})
}

// forum lists users, which it asks of a service outside the mesh at USERS_URL.
func forum(mux *http.ServeMux, client *http.Client, getenv func(string) string) {
	usersURL := envOr(getenv, "USERS_URL", "http://jsonplaceholder.typicode.com/users")
	mux.HandleFunc("GET /api/users", func(w http.ResponseWriter, r *http.Request) {
		passOn(w, r, client, usersURL)
	})
}

// call makes the upstream request that belongs to an incoming one.
func call(r *http.Request, client *http.Client, url string) (*http.Response, error) {
	out, err := http.NewRequestWithContext(r.Context(), http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	propagate(out.Header, r.Header)
	out.Header.Set("User-Agent", "lateen-shop")
	return client.Do(out)
}

// passOn answers with what the upstream answers, its status included; 502 when there is no answer.
func passOn(w http.ResponseWriter, r *http.Request, client *http.Client, url string) {
	resp, err := call(r, client, url)
	if err != nil {
		http.Error(w, fmt.Sprintf("error calling %s: %v", url, err), http.StatusBadGateway)
		return
	}
	defer resp.Body.Close()
	relay(w.Header(), resp.Header)
	w.WriteHeader(resp.StatusCode)
	// The status is out: a broken upstream can only be shown by breaking off as well.
	if _, err := io.Copy(w, resp.Body); err != nil {
		panic(http.ErrAbortHandler)
	}
}

var page = template.Must(template.New("front").Parse(`<!DOCTYPE html>
<title>The shop</title>
<h1>The shop</h1>
<ul>{{range .}}
<li>{{.Name}} ({{.Color}}), {{.Price}}{{if .ImageURL}} <a href="{{.ImageURL}}">image</a>{{end}}</li>{{end}}
</ul>
`))

func frontPage(w http.ResponseWriter, r *http.Request, client *http.Client, url string) {
	resp, err := call(r, client, url)
	if err != nil {
		http.Error(w, fmt.Sprintf("error calling %s: %v", url, err), http.StatusBadGateway)
		return
	}
	defer resp.Body.Close()
	var items []item
	if resp.StatusCode != http.StatusOK {
		http.Error(w, fmt.Sprintf("%s answered %s", url, resp.Status), http.StatusBadGateway)
		return
	}
	if err := json.NewDecoder(resp.Body).Decode(&items); err != nil {
		http.Error(w, fmt.Sprintf("%s answered no list of items: %v", url, err), http.StatusBadGateway)
		return
	}
	var out bytes.Buffer
	if err := page.Execute(&out, items); err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	_, _ = w.Write(out.Bytes()) // the caller is gone: nobody is left to tell
}
