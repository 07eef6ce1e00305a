package localmesh

import (
	"context"
	"net/http"
	"time"

	"github.com/lateen-mesh/lateen/workload"
)

const (
	// drainTime is how long a workload that leaves a running mesh goes on serving after its clients were told.
	drainTime = time.Second
	// sweepInterval is how often entries of members are looked for whose process is gone without a word.
	sweepInterval = 2 * time.Second
)

// keepTokens keeps the join tokens valid until ctx ends.
func (m *Members) keepTokens(ctx context.Context) error {
	return every(ctx, workload.TokenLife/2, m.refreshTokens)
}

// keepEntries takes away the entries of members that were killed, until ctx ends.
func (m *Members) keepEntries(ctx context.Context) error {
	return every(ctx, sweepInterval, func(time.Time) error { return m.removeStale(m.List()) })
}

func every(ctx context.Context, interval time.Duration, do func(now time.Time) error) error {
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case now := <-ticker.C:
			if err := do(now); err != nil {
				return err
			}
		}
	}
}

// drain has a proxy finish what it has begun, while clients learn that it goes. Who does not answer has nothing to finish.
func drain(w workload.Workload) {
	ctx, cancel := context.WithTimeout(context.Background(), drainTime)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+w.Admin()+"/drain_listeners?graceful&inboundonly", nil)
	if err != nil {
		return
	}
	resp, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(req)
	if err != nil {
		return
	}
	resp.Body.Close()
	<-ctx.Done()
}
