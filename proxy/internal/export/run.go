package export

import (
	"context"
	"log/slog"
	"time"
)

// Sender sends batches. Its methods are called from one goroutine.
type Sender[T any] interface {
	// Send delivers a batch. After an error the batch is dropped, but for what a sender keeps itself (Config.Keeps).
	Send(ctx context.Context, batch []T) error
	// Close ends connections.
	Close()
}

// Config is what Run needs besides the queue and the sender.
type Config struct {
	// Interval is the longest that a record waits.
	Interval time.Duration
	// Written and Dropped count records.
	Written, Dropped func(n uint64)
	// Keeps: the sender keeps what it could not send, counts itself what it was given, and is called when nothing new has come, too.
	// Written is not called then, and Dropped for what the queue could not take.
	Keeps bool
	Log   *slog.Logger
	// What names the service in logs.
	What string
}

const (
	// sendTimeout bounds one batch; a service that takes none for longer is as good as gone.
	sendTimeout = 10 * time.Second
	// lastTimeout bounds the last batch at the end of the process.
	lastTimeout = time.Second
	// Pauses after a failure double from the first to the last.
	firstPause, lastPause = 250 * time.Millisecond, 10 * time.Second
)

// Run sends what gathers in the queue until ctx ends, then what is left.
func Run[T any](ctx context.Context, q *Queue[T], s Sender[T], cfg Config) {
	defer s.Close()
	timer := time.NewTimer(cfg.Interval)
	defer timer.Stop()
	pause := time.Duration(0)
	for {
		select {
		case <-ctx.Done():
			last, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastTimeout)
			defer cancel()
			_ = flush(last, q, s, cfg)
			return
		case <-q.Full():
			if pause > 0 {
				continue // the service is away: wait for the timer
			}
		case <-timer.C:
		}
		short, cancel := context.WithTimeout(ctx, sendTimeout)
		err := flush(short, q, s, cfg)
		cancel()
		switch {
		case err == nil:
			pause = 0
		case ctx.Err() == nil:
			if pause == 0 {
				cfg.Log.Warn("cannot export; records are dropped until it works again", "to", cfg.What, "error", err)
			}
			pause = min(max(pause*2, firstPause), lastPause)
		}
		timer.Reset(max(cfg.Interval, pause))
	}
}

func flush[T any](ctx context.Context, q *Queue[T], s Sender[T], cfg Config) error {
	batch, dropped := q.Take()
	if dropped > 0 {
		cfg.Dropped(dropped)
	}
	if cfg.Keeps {
		return s.Send(ctx, batch)
	}
	if len(batch) == 0 {
		return nil
	}
	if err := s.Send(ctx, batch); err != nil {
		cfg.Dropped(uint64(len(batch)))
		return err
	}
	cfg.Written(uint64(len(batch)))
	return nil
}
