package sample

import (
	"encoding/json"
	"net/http"
	"strconv"
)

// item is one thing on sale. Version 2 of the catalog shows imageUrl, which is how one sees which version answered.
type item struct {
	ID         int    `json:"id"`
	Color      string `json:"color"`
	Department string `json:"department"`
	Name       string `json:"name"`
	Price      string `json:"price"`
	ImageURL   string `json:"imageUrl,omitempty"`
}

var stock = []item{
	{ID: 1, Color: "teal", Department: "Sails", Name: "Harbour Lateen", Price: "282.00"},
	{ID: 2, Color: "amber", Department: "Clothing", Name: "Deckhand Jacket", Price: "119.50"},
	{ID: 3, Color: "ivory", Department: "Ropework", Name: "Braided Sheet", Price: "34.20"},
	{ID: 4, Color: "crimson", Department: "Signals", Name: "Pilot Flag", Price: "18.75"},
}

// catalog lists the stock. SHOW_IMAGE=true makes it version 2.
func catalog(mux *http.ServeMux, getenv func(string) string) {
	items := append([]item(nil), stock...)
	if getenv("SHOW_IMAGE") == "true" {
		for i := range items {
			items[i].ImageURL = "http://images.shop.example/" + strconv.Itoa(items[i].ID) + ".png"
		}
	}
	mux.HandleFunc("GET /items", func(w http.ResponseWriter, _ *http.Request) { writeJSON(w, items) })
	mux.HandleFunc("GET /items/{id}", func(w http.ResponseWriter, r *http.Request) {
		id, err := strconv.Atoi(r.PathValue("id"))
		if err != nil || id < 1 || id > len(items) {
			http.Error(w, "no such item", http.StatusNotFound)
			return
		}
		writeJSON(w, items[id-1])
	})
}

type user struct {
	ID       int    `json:"id"`
	Name     string `json:"name"`
	Username string `json:"username"`
	Email    string `json:"email"`
}

// users stands for a public API outside the mesh.
func users(mux *http.ServeMux) {
	names := []struct{ name, username string }{
		{"Amina Salim", "amina"}, {"Bruno Costa", "bruno"}, {"Chandra Rao", "chandra"}, {"Dora Lindqvist", "dora"}, {"Emre Kaya", "emre"},
	}
	list := make([]user, len(names))
	for i, n := range names {
		list[i] = user{ID: i + 1, Name: n.name, Username: n.username, Email: n.username + "@users.example"}
	}
	mux.HandleFunc("GET /users", func(w http.ResponseWriter, _ *http.Request) { writeJSON(w, list) })
}

func writeJSON(w http.ResponseWriter, v any) {
	body, err := json.Marshal(v)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	_, _ = w.Write(body) // the caller is gone: nobody is left to tell
}
