package function

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"

	cloudevents "github.com/cloudevents/sdk-go/v2/event"

	"github.com/footfall/footfall/shared/fault"
)

// What comes while one run is under way shares the next one, which begins
// afterwards.
func TestCoalesce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var runs, atOnce atomic.Int64
		gate := make(chan error)
		h := Coalesce(func(context.Context, cloudevents.Event) error {
			runs.Add(1)
			if atOnce.Add(1) > 1 {
				t.Error("two runs at once")
			}
			defer atOnce.Add(-1)
			return <-gate
		})
		answers := make(chan error, 100)
		send := func(n int) {
			for range n {
				go func() { answers <- h(t.Context(), cloudevents.New()) }()
			}
			synctest.Wait()
		}
		receive := func(n int, want error) {
			t.Helper()
			synctest.Wait()
			if len(answers) != n {
				t.Fatalf("expected %d answers, got %d", n, len(answers))
			}
			for range n {
				if err := <-answers; !errors.Is(err, want) {
					t.Fatalf("expected %v, got %v", want, err)
				}
			}
		}
		broken := errors.New("broken")
		send(1)
		send(12)
		gate <- nil
		receive(1, nil)
		send(3) // the run of the twelve has begun: these share another
		gate <- broken
		receive(12, broken)
		gate <- nil
		receive(3, nil)
		if n := runs.Load(); n != 3 {
			t.Fatalf("expected three runs for sixteen events, got %d", n)
		}
		send(1)
		gate <- nil
		receive(1, nil)
	})
}

// Who gives up, and who panics, does not keep others from their turn.
func TestCoalesceGoesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		gate, panics := make(chan struct{}), false
		h := Coalesce(func(context.Context, cloudevents.Event) error {
			<-gate
			if panics {
				panic("at the disco")
			}
			return nil
		})
		answers := make(chan error, 10)
		send := func(ctx context.Context) {
			go func() {
				defer func() {
					if recover() != nil {
						answers <- nil
					}
				}()
				answers <- h(ctx, cloudevents.New())
			}()
			synctest.Wait()
		}
		send(t.Context())
		impatient, cancel := context.WithCancel(t.Context())
		send(impatient) // it would lead the next run
		send(t.Context())
		cancel()
		for range 2 {
			if err := <-answers; !fault.Is(err, fault.Overloaded) {
				t.Fatalf("expected that they are told to come again, got %v", err)
			}
		}
		send(t.Context())
		panics = true
		gate <- struct{}{}
		<-answers
		panics = false
		gate <- struct{}{}
		if err := <-answers; err != nil {
			t.Fatal(err)
		}
		send(t.Context())
		gate <- struct{}{}
		if err := <-answers; err != nil {
			t.Fatal(err)
		}
	})
}
