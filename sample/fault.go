package sample

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"time"
)

// Fault is how an app misbehaves. The zero value is good behaviour.
type Fault struct {
	// Rate is the share of requests concerned, 0 to 1.
	Rate float64
	// Status answers with this code; 0 answers as ever.
	Status int
	// Delay is waited before the answer.
	Delay time.Duration
}

// wireFault is a Fault in JSON: {"rate": 0.5, "status": 500, "delay": "2s"}.
type wireFault struct {
	Rate   float64 `json:"rate"`
	Status int     `json:"status,omitempty"`
	Delay  string  `json:"delay,omitempty"`
}

// MarshalJSON writes the delay as Go's duration text.
func (f Fault) MarshalJSON() ([]byte, error) {
	w := wireFault{Rate: f.Rate, Status: f.Status}
	if f.Delay > 0 {
		w.Delay = f.Delay.String()
	}
	return json.Marshal(w)
}

// UnmarshalJSON reads what MarshalJSON writes, and refuses what makes no sense.
func (f *Fault) UnmarshalJSON(raw []byte) error {
	var w wireFault
	if err := json.Unmarshal(raw, &w); err != nil {
		return err
	}
	out := Fault{Rate: w.Rate, Status: w.Status}
	if w.Delay != "" {
		d, err := time.ParseDuration(w.Delay)
		if err != nil {
			return fmt.Errorf("delay: %w", err)
		}
		out.Delay = d
	}
	if err := out.Validate(); err != nil {
		return err
	}
	*f = out
	return nil
}

// Validate says what is wrong with a fault, or nil.
func (f Fault) Validate() error {
	switch {
	case f.Rate < 0 || f.Rate > 1:
		return fmt.Errorf("rate %v: want 0 to 1", f.Rate)
	case f.Status != 0 && (f.Status < 200 || f.Status > 599):
		return fmt.Errorf("status %d: want 200 to 599", f.Status)
	case f.Delay < 0:
		return fmt.Errorf("delay %v: want 0 or more", f.Delay)
	case f.Rate > 0 && f.Status == 0 && f.Delay == 0:
		return fmt.Errorf("rate %v without a status or a delay does nothing", f.Rate)
	}
	return nil
}

// apply misbehaves for one request; draw is a random number in [0,1). It reports whether the request is answered.
func (f Fault) apply(ctx context.Context, w http.ResponseWriter, draw float64) bool {
	if draw >= f.Rate {
		return false
	}
	if f.Delay > 0 {
		timer := time.NewTimer(f.Delay)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-ctx.Done():
			return true
		}
	}
	if f.Status == 0 {
		return false
	}
	http.Error(w, "the shop was told to fail", f.Status)
	return true
}
