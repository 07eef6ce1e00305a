package admin

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
)

// runtime serves /runtime: every value, and what each layer says of it.
func (a *Admin) runtime(w http.ResponseWriter, _ *http.Request) {
	type entry struct {
		Layers []string `json:"layer_values"`
		Final  string   `json:"final_value"`
	}
	var out struct {
		Layers  []string         `json:"layers"`
		Entries map[string]entry `json:"entries"`
	}
	layers := a.server.Runtime().Layers()
	out.Layers, out.Entries = []string{}, map[string]entry{}
	for i, l := range layers {
		out.Layers = append(out.Layers, l.Name)
		for key, v := range l.Values {
			e, ok := out.Entries[key]
			if !ok {
				e.Layers = make([]string, len(layers))
			}
			e.Layers[i], e.Final = v.Text, v.Text
			out.Entries[key] = e
		}
	}
	raw, err := json.MarshalIndent(out, "", " ")
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(append(raw, '\n'))
}

// maxModify bounds the body of a change.
const maxModify = 1 << 20

// runtimeModify serves POST /runtime_modify: values in the query, or as a form in the body.
func (a *Admin) runtimeModify(w http.ResponseWriter, r *http.Request) {
	query := r.URL.Query()
	if len(query) == 0 {
		body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxModify))
		if err == nil {
			query, err = url.ParseQuery(string(body))
		}
		if err != nil {
			http.Error(w, "runtime_modify: "+err.Error(), http.StatusBadRequest)
			return
		}
	}
	if len(query) == 0 {
		w.WriteHeader(http.StatusBadRequest)
		fmt.Fprint(w, "usage: /runtime_modify?key1=value1&key2=value2&keyN=valueN\n       or send the parameters as form values\nuse an empty value to remove a previously added override")
		return
	}
	values := map[string]string{}
	for key, v := range query {
		values[key] = v[0]
	}
	if !a.server.Runtime().Modify(values) {
		w.WriteHeader(http.StatusServiceUnavailable)
		fmt.Fprint(w, "No admin layer specified")
		return
	}
	fmt.Fprintln(w, "OK")
}
