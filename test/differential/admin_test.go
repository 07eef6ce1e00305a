package differential

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
)

// observeAdmin is the outcome of a request to the admin API: the status, the kind, and the
// lines of the body that the case is about, in any order.
func (s *side) observeAdmin(a *adminRequest) (outcome, error) {
	n, o := s.normaliser(), outcome{}
	resp, body, err := s.ask(a.method, s.place.expand(a.path))
	if err != nil {
		return nil, err
	}
	o["status"] = resp.Status
	o["content-type"] = resp.Header.Get("Content-Type")
	if a.shape {
		var v any
		if err := json.Unmarshal([]byte(body), &v); err != nil {
			o["body"] = "no JSON: " + body
			return o, nil
		}
		o.shape("body", v)
		return o, nil
	}
	for line := range strings.Lines(body) {
		line = n.text(strings.TrimRight(line, "\n"))
		if a.only != nil && !a.only.MatchString(line) {
			continue
		}
		key := "body." + line
		for i := 2; o[key] != ""; i++ {
			key = fmt.Sprintf("body.%s (%d)", line, i)
		}
		o[key] = "is there"
	}
	return o, nil
}

// shape notes the kinds of JSON's fields, not their values.
func (o outcome) shape(at string, v any) {
	switch v := v.(type) {
	case map[string]any:
		for k, e := range v {
			o.shape(at+"."+k, e)
		}
	case []any:
		for _, e := range v {
			o.shape(at+"[]", e)
		}
	default:
		kinds := strings.Split(o[at], "|")
		kind := fmt.Sprintf("%T", v)
		if o[at] == "" {
			o[at] = kind
		} else if !slices.Contains(kinds, kind) {
			kinds = append(kinds, kind)
			slices.Sort(kinds)
			o[at] = strings.Join(kinds, "|")
		}
	}
}
