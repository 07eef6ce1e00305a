package status

import (
	"compress/gzip"
	"io"
	"net/http"
	"strconv"
	"strings"
)

// compressed writes an answer of the status port with gzip, where whoever asked takes that and the mesh has it so (statsCompression). What is returned must be
// closed for the answer to be whole.
func (s *Server) compressed(w http.ResponseWriter, r *http.Request) io.WriteCloser {
	if !s.cfg.Compress {
		return whole{w}
	}
	w.Header().Add("Vary", "Accept-Encoding")
	if !takesGzip(r.Header) {
		return whole{w}
	}
	w.Header().Set("Content-Encoding", "gzip")
	return gzip.NewWriter(w)
}

// whole is a writer with nothing to close.
type whole struct{ io.Writer }

// Close implements io.Closer.
func (whole) Close() error { return nil }

// takesGzip reads Accept-Encoding (RFC 9110, 12.5.3): gzip, or anything, with a weight that is not 0.
func takesGzip(h http.Header) bool {
	any := false
	for _, item := range strings.Split(strings.Join(h.Values("Accept-Encoding"), ","), ",") {
		name, params, _ := strings.Cut(item, ";")
		weight := 1.0
		if q, ok := strings.CutPrefix(strings.TrimSpace(params), "q="); ok {
			var err error
			if weight, err = strconv.ParseFloat(q, 64); err != nil {
				continue
			}
		}
		switch strings.ToLower(strings.TrimSpace(name)) {
		case "gzip":
			return weight > 0
		case "*":
			any = weight > 0
		}
	}
	return any
}
