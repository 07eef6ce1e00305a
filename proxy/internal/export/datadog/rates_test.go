package datadog

import "testing"

func TestRates(t *testing.T) {
	var r rates
	if _, told := r.get(); told {
		t.Error("told before anything was")
	}
	for _, tc := range []struct {
		name, answer string
		ok, told     bool
		rate         float64
	}{
		{"nothing of sampling", `{}`, true, false, 0},
		{"no JSON", `OK`, false, false, 0},
		{"no object", `[]`, false, false, 0},
		{"empty", ``, false, false, 0},
		{"our own", `{"rate_by_service": {"service:,env:": 0.5, "service:shop,env:prod": 0.25, "service:shop,env:": 1}}`, true, true, 0.25},
		{"above 1", `{"rate_by_service": {"service:shop,env:prod": 1.5}}`, false, true, 0.25},
		{"below 0", `{"rate_by_service": {"service:other,env:": -0.1, "service:shop,env:prod": 0.5}}`, false, true, 0.25},
		{"no number", `{"rate_by_service": {"service:shop,env:prod": "1"}}`, false, true, 0.25},
		{"null", `{"rate_by_service": {"service:shop,env:prod": null}}`, false, true, 0.25},
		{"rates that are null", `{"rate_by_service": null}`, false, true, 0.25},
		{"none of ours: that of all", `{"rate_by_service": {"service:other,env:": 0.1}}`, true, true, 0.5},
		{"another of all", `{"rate_by_service": {"service:,env:": 0.75}}`, true, true, 0.75},
		{"none at all", `{"rate_by_service": {}}`, true, true, 0.75},
	} {
		err := r.learn([]byte(tc.answer), "shop", "prod")
		if rate, told := r.get(); (err == nil) != tc.ok || rate != tc.rate || told != tc.told {
			t.Errorf("%s: %v, %v, %v", tc.name, err, rate, told)
		}
	}
}
