package erofs

import (
	"context"
	"sync"
	"sync/atomic"
)

// parallel runs work in up to jobs goroutines, which share the numbers below n
// by calling next, and waits for all of them. The first error stops the others
// at their next number and is returned.
func parallel(ctx context.Context, jobs, n int, work func(ctx context.Context, next func() (int, bool)) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var taken atomic.Int64
	next := func() (int, bool) {
		i := int(taken.Add(1)) - 1
		return i, i < n && ctx.Err() == nil
	}
	var wg sync.WaitGroup
	for range min(jobs, n) {
		wg.Go(func() {
			if err := work(ctx, next); err != nil {
				cancel(err)
			}
		})
	}
	wg.Wait()
	return context.Cause(ctx)
}
