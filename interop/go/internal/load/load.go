// Package load makes many requests from many callers and measures the time.
package load

import (
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// Result is the result of a load.
type Result struct {
	Requests, Failed int64
	FirstError       string
	Took             time.Duration
	P50, P99         time.Duration
}

// PerSecond is the throughput.
func (r Result) PerSecond() float64 { return float64(r.Requests) / r.Took.Seconds() }

// Fields are the result for a report.
func (r Result) Fields() map[string]any {
	return map[string]any{
		"requests": r.Requests, "failed": r.Failed, "first_error": r.FirstError, "took_ms": r.Took.Milliseconds(),
		"per_second": int64(r.PerSecond()), "p50_us": r.P50.Microseconds(), "p99_us": r.P99.Microseconds(),
	}
}

// Run makes total requests, callers of them at any time.
func Run(total, callers int, request func() error) Result {
	var (
		next      atomic.Int64
		failed    atomic.Int64
		once      sync.Once
		first     string
		latencies = make([]time.Duration, total)
		wait      sync.WaitGroup
	)
	start := time.Now()
	for range callers {
		wait.Go(func() {
			for {
				index := next.Add(1) - 1
				if index >= int64(total) {
					return
				}
				begun := time.Now()
				if err := request(); err != nil {
					failed.Add(1)
					once.Do(func() { first = err.Error() })
				}
				latencies[index] = time.Since(begun)
			}
		})
	}
	wait.Wait()
	result := Result{Requests: int64(total), Failed: failed.Load(), FirstError: first, Took: time.Since(start)}
	slices.Sort(latencies)
	if total > 0 {
		result.P50, result.P99 = latencies[total/2], latencies[total*99/100]
	}
	return result
}
