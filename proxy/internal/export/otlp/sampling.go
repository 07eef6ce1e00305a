package otlp

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/lateen-mesh/lateen/proxy/internal/export"
	"github.com/lateen-mesh/lateen/proxy/internal/tracing/dynatrace"
	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

const (
	// planInterval is how long the exponents of a sampler hold.
	planInterval = time.Minute
	// Dynatrace is asked firstQuestion after the start, and questionInterval after each answer. All of them are Envoy's.
	firstQuestion    = 10 * time.Second
	questionInterval = 5 * time.Minute
	// longestQuestion bounds a question, whatever its own timeout.
	longestQuestion = questionInterval / 2
	// maxSampling is how many bytes of an answer are read.
	maxSampling = 64 << 10
)

// runSampler keeps a sampler up to date until ctx ends.
func runSampler(ctx context.Context, s *dynatrace.Sampler, cfg *xdsresource.DynatraceSampler, d Deps) {
	var asking sync.WaitGroup
	asking.Go(func() { askForRate(ctx, s, cfg, d) })
	defer asking.Wait()
	tick := time.NewTicker(planInterval)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			s.Plan()
		case <-ctx.Done():
			return
		}
	}
}

// askForRate asks Dynatrace how many traces are to begin in a minute, as long as its answers are such that another may be better.
func askForRate(ctx context.Context, s *dynatrace.Sampler, cfg *xdsresource.DynatraceSampler, d Deps) {
	wait := time.NewTimer(firstQuestion)
	defer wait.Stop()
	for {
		select {
		case <-wait.C:
		case <-ctx.Done():
			return
		}
		n, err := rate(ctx, d.Sampling, &cfg.HTTP)
		var refused refusedError
		switch {
		case ctx.Err() != nil:
			return
		case err == nil:
			s.Want(n)
		case errors.As(err, &refused):
			d.Log.Error("Dynatrace is not asked any more what to sample", "err", err)
			return
		case errors.Is(err, errNoRate):
			s.Want(cfg.PerMinute)
			fallthrough
		default:
			d.Log.Warn("Dynatrace does not say what to sample", "err", err)
		}
		wait.Reset(questionInterval)
	}
}

// errNoRate is of an answer that does not say it.
var errNoRate = errors.New(`the answer has no "rootSpansPerMinute"`)

// refusedError is a status of an answer after which it is no use to ask again.
type refusedError int

// Error implements error.
func (e refusedError) Error() string {
	return fmt.Sprintf("the answer is %d %s", int(e), http.StatusText(int(e)))
}

// passing are the statuses after which it may be.
var passing = []int{
	http.StatusTooManyRequests, http.StatusInternalServerError, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout,
}

// rate asks once.
func rate(ctx context.Context, svc export.Service, cfg *xdsresource.HTTPService) (uint32, error) {
	timeout := cfg.Timeout
	if timeout <= 0 || timeout > longestQuestion {
		timeout = longestQuestion
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	client, end, err := svc.HTTP(ctx)
	if err != nil {
		return 0, err
	}
	defer end()
	defer client.CloseIdleConnections()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, cfg.URL, nil)
	if err != nil {
		return 0, err
	}
	for k, v := range cfg.Headers {
		if http.CanonicalHeaderKey(k) == "Host" {
			req.Host = v
			continue
		}
		req.Header.Set(k, v)
	}
	resp, err := client.Do(req)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	switch {
	case resp.StatusCode == http.StatusOK:
	case slices.Contains(passing, resp.StatusCode):
		return 0, fmt.Errorf("the answer is %s", resp.Status)
	default:
		return 0, refusedError(resp.StatusCode)
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxSampling+1))
	if err != nil {
		return 0, err
	}
	var said struct {
		Rate *uint32 `json:"rootSpansPerMinute"`
	}
	if len(body) > maxSampling || json.Unmarshal(body, &said) != nil || said.Rate == nil {
		return 0, errNoRate
	}
	return *said.Rate, nil
}
