package streaminfo

// Redirects are those that a request has been led through within the proxy.
type Redirects struct {
	Made uint32
	seen map[[2]string]bool
}

// First notes that a route leads to another, and reports whether it does so for the first time.
func (r *Redirects) First(from, to string) bool {
	k := [2]string{from, to}
	if r.seen[k] {
		return false
	}
	if r.seen == nil {
		r.seen = make(map[[2]string]bool)
	}
	r.seen[k] = true
	return true
}
