package sample

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"html/template"
	"net/http"
	"strings"
	"time"
)

type product struct {
	ID          int    `json:"id"`
	Title       string `json:"title"`
	Description string `json:"descriptionHtml"`
}

var products = []product{{
	ID: 0, Title: bookTitle,
	Description: "Twins parted at sea come to the same town with servants who are twins as well, and everybody takes each for the other.",
}}

// productPatience is how long the page waits for one answer of details or reviews; reviews are asked twice.
const productPatience = 3 * time.Second

// maxUser bounds a user's name, which becomes a header.
const maxUser = 64

// productpage is Bookinfo's front: a page and an API, made of what details, reviews and ratings answer. Whoever is logged in is named
// to the others by the header end-user, by which Istio's tasks route.
func productpage(mux *http.ServeMux, client *http.Client, getenv func(string) string) {
	p := productApp{
		client: client, details: serviceURL(getenv, "details", "DETAILS"), reviews: serviceURL(getenv, "reviews", "REVIEWS"),
		ratings: serviceURL(getenv, "ratings", "RATINGS"), patience: productPatience,
	}
	mux.HandleFunc("GET /health", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "Product page is healthy") })
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) { render(w, indexPage, nil) })
	mux.HandleFunc("GET /productpage", p.page)
	mux.HandleFunc("POST /login", login)
	mux.HandleFunc("GET /logout", logout)
	mux.HandleFunc("GET /api/v1/products", func(w http.ResponseWriter, _ *http.Request) { writeJSON(w, products) })
	mux.HandleFunc("GET /api/v1/products/{id}", withID(func(w http.ResponseWriter, r *http.Request, id int) {
		var out bookDetails
		p.answer(w, p.fetch(r, fmt.Sprintf("%s/details/%d", p.details, id), &out), "details", &out)
	}))
	mux.HandleFunc("GET /api/v1/products/{id}/reviews", withID(func(w http.ResponseWriter, r *http.Request, id int) {
		var out bookReviews
		p.answer(w, p.fetchReviews(r, id, &out), "reviews", &out)
	}))
	mux.HandleFunc("GET /api/v1/products/{id}/ratings", withID(func(w http.ResponseWriter, r *http.Request, id int) {
		var out bookRatings
		p.answer(w, p.fetch(r, fmt.Sprintf("%s/ratings/%d", p.ratings, id), &out), "ratings", &out)
	}))
}

type productApp struct {
	client                    *http.Client
	details, reviews, ratings string
	patience                  time.Duration
}

// fetch asks one of the other services, with the headers of the request that it serves.
func (p productApp) fetch(r *http.Request, url string, into any) error {
	ctx, cancel := context.WithTimeout(r.Context(), p.patience)
	defer cancel()
	header := bookHeaders(r.Header)
	if user := loggedIn(r); user != "" {
		header.Set("End-User", user)
	}
	return fetchJSON(r.WithContext(ctx), p.client, url, header, into)
}

// fetchReviews asks twice, as Istio's sample does: a retry in an application, which its task on fault injection runs into.
func (p productApp) fetchReviews(r *http.Request, id int, into any) error {
	url := fmt.Sprintf("%s/reviews/%d", p.reviews, id)
	if err := p.fetch(r, url, into); err == nil {
		return nil
	}
	return p.fetch(r, url, into)
}

func (p productApp) answer(w http.ResponseWriter, err error, what string, value any) {
	if err != nil {
		jsonError(w, http.StatusInternalServerError, unavailable(what))
		return
	}
	writeJSON(w, value)
}

func unavailable(what string) string {
	return "Sorry, product " + what + " are currently unavailable for this book."
}

// bookHeaders are those that Bookinfo's services pass on beside the trace's: who asks, and with what.
func bookHeaders(from http.Header) http.Header {
	out := http.Header{}
	for _, name := range []string{"End-User", "User-Agent", "Authorization"} {
		if values := from.Values(name); len(values) > 0 {
			out[name] = values
		}
	}
	return out
}

// sessionCookie holds the user's name. Nothing here is secret: any name logs in.
const sessionCookie = "session"

func loggedIn(r *http.Request) string {
	c, err := r.Cookie(sessionCookie)
	if err != nil {
		return ""
	}
	raw, err := base64.RawURLEncoding.DecodeString(c.Value)
	if err != nil || checkUser(string(raw)) != nil {
		return ""
	}
	return string(raw)
}

// checkUser refuses what cannot be a header's value.
func checkUser(name string) error {
	if name == "" || len(name) > maxUser || strings.ContainsFunc(name, func(r rune) bool { return r < ' ' || r > '~' }) {
		return fmt.Errorf("username: want 1 to %d printable ASCII characters", maxUser)
	}
	return nil
}

func login(w http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(w, r.Body, 4096)
	user := strings.TrimSpace(r.PostFormValue("username"))
	if err := checkUser(user); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	http.SetCookie(w, &http.Cookie{Name: sessionCookie, Value: base64.RawURLEncoding.EncodeToString([]byte(user)), Path: "/", HttpOnly: true})
	http.Redirect(w, r, "/productpage", http.StatusFound)
}

func logout(w http.ResponseWriter, r *http.Request) {
	http.SetCookie(w, &http.Cookie{Name: sessionCookie, Path: "/", MaxAge: -1, HttpOnly: true})
	http.Redirect(w, r, "/productpage", http.StatusFound)
}

// shown is what the page is made of; a part that could not be had has an error instead.
type shown struct {
	User                       string
	Product                    product
	Details                    *bookDetails
	Reviews                    *bookReviews
	DetailsError, ReviewsError string
}

// page answers 200 even when a part is missing: the page says which.
func (p productApp) page(w http.ResponseWriter, r *http.Request) {
	view := shown{User: loggedIn(r), Product: products[0], Details: new(bookDetails), Reviews: new(bookReviews)}
	if err := p.fetch(r, fmt.Sprintf("%s/details/%d", p.details, view.Product.ID), view.Details); err != nil {
		view.Details, view.DetailsError = nil, unavailable("details")
	}
	if err := p.fetchReviews(r, view.Product.ID, view.Reviews); err != nil {
		view.Reviews, view.ReviewsError = nil, unavailable("reviews")
	}
	if errors.Is(r.Context().Err(), context.Canceled) {
		return // nobody waits for it any more
	}
	render(w, productTemplate, view)
}

func render(w http.ResponseWriter, t *template.Template, data any) {
	var out bytes.Buffer
	if err := t.Execute(&out, data); err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	_, _ = w.Write(out.Bytes()) // the caller is gone: nobody is left to tell
}

var indexPage = template.Must(template.New("index").Parse(`<!DOCTYPE html>
<html>
<head><title>Simple Bookstore App</title></head>
<body>
<h1>Bookinfo</h1>
<p>A book's page, made by four services. See it as <a href="/productpage?u=normal">a normal user</a> or <a href="/productpage?u=test">a test user</a>.</p>
</body>
</html>
`))

var productTemplate = template.Must(template.New("productpage").Funcs(template.FuncMap{
	"stars": func(n int) string {
		return strings.Repeat("★", max(0, min(n, 5))) + strings.Repeat("☆", 5-max(0, min(n, 5)))
	},
}).Parse(`<!DOCTYPE html>
<html>
<head><title>Simple Bookstore App</title></head>
<body>
<form method="post" action="/login">
{{if .User}}<b>{{.User}}</b> (<a href="/logout">sign out</a>){{else}}<input name="username" maxlength="64"> <button>Sign in</button>{{end}}
</form>
<h1>{{.Product.Title}}</h1>
<p>{{.Product.Description}}</p>
{{with .Details}}<h2>Book Details</h2>
<dl>
<dt>Author</dt><dd>{{.Author}}</dd>
<dt>Year</dt><dd>{{.Year}}</dd>
<dt>Type</dt><dd>{{.Type}}</dd>
<dt>Pages</dt><dd>{{.Pages}}</dd>
<dt>Publisher</dt><dd>{{.Publisher}}</dd>
<dt>Language</dt><dd>{{.Language}}</dd>
<dt>ISBN-10</dt><dd>{{.ISBN10}}</dd>
<dt>ISBN-13</dt><dd>{{.ISBN13}}</dd>
</dl>
{{else}}<h2>Error fetching product details!</h2>
<p>{{.DetailsError}}</p>
{{end}}{{with .Reviews}}<h2>Book Reviews</h2>
{{range .Reviews}}<blockquote>
<p>{{.Text}}</p>
<small>{{.Reviewer}}</small>
{{with .Rating}}{{if .Error}}<p>{{.Error}}</p>
{{else}}<p class="stars" style="color: {{.Color}}">{{stars .Stars}}</p>
{{end}}{{end}}</blockquote>
{{end}}<p>Reviews served by: <u>{{.PodName}}</u></p>
{{else}}<h2>Error fetching product reviews!</h2>
<p>{{.ReviewsError}}</p>
{{end}}</body>
</html>
`))
