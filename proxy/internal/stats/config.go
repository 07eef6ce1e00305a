package stats

// Matcher is stats_config.stats_matcher: which statistics there are.
type Matcher struct {
	// RejectAll shows none.
	RejectAll bool
	// Patterns match names. With Exclude those that match are not shown, else only those are.
	Patterns []func(name string) bool
	Exclude  bool
}

// shows reports whether a name is shown; a nil Matcher shows everything.
func (m *Matcher) shows(name string) bool {
	if m == nil {
		return true
	}
	if m.RejectAll {
		return false
	}
	for _, p := range m.Patterns {
		if p(name) {
			return !m.Exclude
		}
	}
	return m.Exclude
}

// BucketRule is an entry of stats_config.histogram_bucket_settings.
type BucketRule struct {
	Match func(name string) bool
	// Bounds are upper bounds in ascending order.
	Bounds []float64
}

// bounds returns the upper bounds of a histogram's buckets.
func (s *registry) bounds(name string) []float64 {
	for i := range s.buckets {
		if s.buckets[i].Match(name) {
			return s.buckets[i].Bounds
		}
	}
	return Bounds
}
