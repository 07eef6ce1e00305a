package lifecycle

import (
	"context"
	"errors"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestFirstFailureEndsAll(t *testing.T) {
	g := NewGroup(t.Context())
	bad := errors.New("port is taken")
	g.Go("waits", func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() })
	g.Go("fails", func(context.Context) error { return bad })
	err := g.Wait()
	if !errors.Is(err, bad) || err.Error() != "fails: port is taken" {
		t.Errorf("Wait() = %v, want the failure with the part's name", err)
	}
}

func TestEndOfContextIsNoFailure(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	g := NewGroup(ctx)
	for range 3 {
		g.Go("waits", func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() })
	}
	cancel()
	if err := g.Wait(); err != nil {
		t.Errorf("Wait() = %v, want nil", err)
	}
}

func TestStop(t *testing.T) {
	g := NewGroup(t.Context())
	g.Go("waits", func(ctx context.Context) error { <-ctx.Done(); return nil })
	g.Stop()
	if err := g.Wait(); err != nil {
		t.Errorf("Wait() = %v, want nil", err)
	}
	if g.Context().Err() == nil {
		t.Error("the context lives after Wait")
	}
}
