package datadog

import (
	"encoding/json"
	"errors"
	"fmt"
	"sync/atomic"
)

// rates keeps what the agent's last answers say of the traces of one service. Workers read it.
type rates struct {
	now      atomic.Pointer[float64] // nil: nothing was told
	fallback *float64                // of services that the agent does not name; it stays when an answer has none
}

func (r *rates) get() (float64, bool) {
	if p := r.now.Load(); p != nil {
		return *p, true
	}
	return 0, false
}

// learn reads an answer: {"rate_by_service": {"service:NAME,env:ENV": 0.5, "service:,env:": 1}}. Of one with a value that is no share nothing
// counts.
func (r *rates) learn(answer []byte, service, env string) error {
	var m struct {
		Rates json.RawMessage `json:"rate_by_service"`
	}
	if err := json.Unmarshal(answer, &m); err != nil {
		return err
	}
	all := map[string]*float64{}
	if m.Rates != nil {
		if err := json.Unmarshal(m.Rates, &all); err != nil {
			return fmt.Errorf("rate_by_service: %w", err)
		}
		if all == nil {
			return errors.New("rate_by_service is null")
		}
	}
	for key, rate := range all {
		if rate == nil || *rate < 0 || *rate > 1 {
			return fmt.Errorf("rate_by_service: %q is not from 0 to 1", key)
		}
	}
	if rate, ok := all["service:,env:"]; ok {
		r.fallback = rate
	}
	rate, ok := all["service:"+service+",env:"+env]
	if !ok {
		rate = r.fallback
	}
	r.now.Store(rate)
	return nil
}
