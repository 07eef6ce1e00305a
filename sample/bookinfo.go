package sample

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"sync"
)

// The book that Bookinfo is about. Its services are those of Istio's sample of that name
// (https://istio.io/latest/docs/examples/bookinfo/): the same names, ports, paths and shapes of answers, so that what is written for
// the one runs on the other.
const bookTitle = "The Comedy of Errors"

type bookDetails struct {
	ID        int    `json:"id"`
	Author    string `json:"author"`
	Year      int    `json:"year"`
	Type      string `json:"type"`
	Pages     int    `json:"pages"`
	Publisher string `json:"publisher"`
	Language  string `json:"language"`
	ISBN10    string `json:"ISBN-10"`
	ISBN13    string `json:"ISBN-13"`
}

// details tells of a book what is printed in it.
func details(mux *http.ServeMux) {
	health(mux, "Details")
	mux.HandleFunc("GET /details/{id}", withID(func(w http.ResponseWriter, _ *http.Request, id int) {
		writeJSON(w, bookDetails{
			ID: id, Author: "William Shakespeare", Year: 1595, Type: "paperback", Pages: 96, Publisher: "Lateen Press", Language: "English",
			ISBN10: "0000000000", ISBN13: "978-0000000002",
		})
	}))
}

// bookRatings are the stars that reviewers give, by their name.
type bookRatings struct {
	ID      int            `json:"id"`
	Ratings map[string]int `json:"ratings"`
}

// maxRated bounds how many products' ratings are kept, and maxReviewers those of one product: whoever reaches the port may write them.
const (
	maxRated     = 1000
	maxReviewers = 100
)

// ratings keeps the stars; POST replaces those of a product, until the process ends.
func ratings(mux *http.ServeMux) {
	health(mux, "Ratings")
	var mu sync.Mutex
	given := map[int]map[string]int{}
	mux.HandleFunc("GET /ratings/{id}", withID(func(w http.ResponseWriter, _ *http.Request, id int) {
		mu.Lock()
		stars, ok := given[id]
		mu.Unlock()
		if !ok {
			stars = map[string]int{"Reviewer1": 5, "Reviewer2": 4}
		}
		writeJSON(w, bookRatings{ID: id, Ratings: stars})
	}))
	mux.HandleFunc("POST /ratings/{id}", withID(func(w http.ResponseWriter, r *http.Request, id int) {
		var stars map[string]int
		if err := json.NewDecoder(io.LimitReader(r.Body, 4096)).Decode(&stars); err != nil || len(stars) == 0 || len(stars) > maxReviewers {
			jsonError(w, http.StatusBadRequest, `please provide ratings such as {"Reviewer1": 5}`)
			return
		}
		for name, n := range stars {
			if n < 1 || n > 5 {
				jsonError(w, http.StatusBadRequest, fmt.Sprintf("%q gives %d stars: want 1 to 5", name, n))
				return
			}
		}
		mu.Lock()
		_, known := given[id]
		full := !known && len(given) >= maxRated
		if !full {
			given[id] = stars
		}
		mu.Unlock()
		if full {
			jsonError(w, http.StatusInsufficientStorage, "too many products are rated")
			return
		}
		writeJSON(w, bookRatings{ID: id, Ratings: stars})
	}))
}

func health(mux *http.ServeMux, who string) {
	mux.HandleFunc("GET /health", func(w http.ResponseWriter, _ *http.Request) {
		writeJSON(w, map[string]string{"status": who + " is healthy"})
	})
}

// withID reads the product's number from the path.
func withID(handle func(w http.ResponseWriter, r *http.Request, id int)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		id, err := strconv.Atoi(r.PathValue("id"))
		if err != nil || id < 0 {
			jsonError(w, http.StatusBadRequest, "please provide numeric product ID")
			return
		}
		handle(w, r, id)
	}
}

func jsonError(w http.ResponseWriter, status int, text string) {
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(map[string]string{"error": text}) // the caller is gone: nobody is left to tell
}

// serviceURL is where a service of Bookinfo answers, by the variables of Istio's sample: DETAILS_HOSTNAME, SERVICES_DOMAIN and
// DETAILS_SERVICE_PORT for details, and so on. Default http://details:9080.
func serviceURL(getenv func(string) string, name, variable string) string {
	host := envOr(getenv, variable+"_HOSTNAME", name)
	if domain := getenv("SERVICES_DOMAIN"); domain != "" {
		host += "." + domain
	}
	return "http://" + host + ":" + envOr(getenv, variable+"_SERVICE_PORT", "9080")
}

// fetchJSON makes the request that belongs to an incoming one and decodes a 200's answer. A status other than 200 is an error.
func fetchJSON(r *http.Request, client *http.Client, url string, header http.Header, into any) error {
	out, err := http.NewRequestWithContext(r.Context(), http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	propagate(out.Header, r.Header)
	for name, values := range header {
		out.Header[name] = values
	}
	resp, err := client.Do(out)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s answered %s", url, resp.Status)
	}
	return json.NewDecoder(io.LimitReader(resp.Body, 1<<20)).Decode(into)
}
