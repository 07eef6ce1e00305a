package sample

import (
	"context"
	"fmt"
	"net/http"
	"time"
)

// review is one reader's opinion; without ratings there is no Rating.
type review struct {
	Reviewer string  `json:"reviewer"`
	Text     string  `json:"text"`
	Rating   *rating `json:"rating,omitempty"`
}

// rating is the stars of a review, or why there are none.
type rating struct {
	Stars int    `json:"stars,omitempty"`
	Color string `json:"color,omitempty"`
	Error string `json:"error,omitempty"`
}

type bookReviews struct {
	ID          string   `json:"id"`
	PodName     string   `json:"podname"`
	ClusterName string   `json:"clustername"`
	Reviews     []review `json:"reviews"`
}

// Version 3 gives up on ratings before productpage gives up on it, version 2 does not: with a delay of seven seconds between them the
// page has no reviews, which is what Istio's task on fault injection finds
// (https://istio.io/latest/docs/tasks/traffic-management/fault-injection/).
const (
	patienceBlack = 10 * time.Second
	patienceOther = 2500 * time.Millisecond
)

// reviews asks ratings for the stars of its reviews. ENABLE_RATINGS=true makes it version 2, and STAR_COLOR=red with it version 3.
func reviews(mux *http.ServeMux, client *http.Client, getenv func(string) string) {
	health(mux, "Reviews")
	rated, color := getenv("ENABLE_RATINGS") == "true", envOr(getenv, "STAR_COLOR", "black")
	patience := patienceOther
	if color == "black" {
		patience = patienceBlack
	}
	url := serviceURL(getenv, "ratings", "RATINGS")
	pod, cluster := envOr(getenv, "POD_NAME", getenv("HOSTNAME")), envOr(getenv, "CLUSTER_NAME", "null")
	mux.HandleFunc("GET /reviews/{id}", withID(func(w http.ResponseWriter, r *http.Request, id int) {
		list := []review{
			{Reviewer: "Reviewer1", Text: "Two pairs of twins, one town, and not a quiet minute. I laughed from the first knock at the wrong door."},
			{Reviewer: "Reviewer2", Text: "Light and quick. The later plays go deeper, but few of them are this merry."},
		}
		if rated {
			ctx, cancel := context.WithTimeout(r.Context(), patience)
			defer cancel()
			var answer bookRatings
			err := fetchJSON(r.WithContext(ctx), client, fmt.Sprintf("%s/ratings/%d", url, id), bookHeaders(r.Header), &answer)
			for i := range list {
				stars, known := answer.Ratings[list[i].Reviewer]
				switch {
				case err != nil:
					list[i].Rating = &rating{Error: "Ratings service is currently unavailable"}
				case known:
					list[i].Rating = &rating{Stars: stars, Color: color}
				}
			}
		}
		writeJSON(w, bookReviews{ID: r.PathValue("id"), PodName: pod, ClusterName: cluster, Reviews: list})
	}))
}
