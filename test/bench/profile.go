package main

import (
	"context"
	"fmt"
	"net/http"
)

// profiling has a proxy take a profile of its CPU time (Envoy's admin API) until the returned
// function is called, and write it to the file that its configuration names.
func profiling(ctx context.Context, admin string) (stop func() error, err error) {
	enable := func(on string) error {
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+admin+"/cpuprofiler?enable="+on, nil)
		if err != nil {
			return err
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			return fmt.Errorf("the profiler answers %s", resp.Status)
		}
		return nil
	}
	if err := enable("y"); err != nil {
		return nil, err
	}
	return func() error { return enable("n") }, nil
}
