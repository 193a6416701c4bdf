package function

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

// asked is a server as a Health asks it.
type asked struct {
	takes time.Duration
	err   error
	times int
}

func (a *asked) ask(ctx context.Context) error {
	a.times++
	select {
	case <-time.After(a.takes):
		return a.err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// probe asks as Kubernetes does: each ten seconds, and for a second only.
func probe(t *testing.T, h *Health) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	return h.Ready(ctx)
}

func TestHealthAsksAtTheStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		away := errors.New("away")
		server := asked{err: away}
		h := NewHealth(server.ask)
		for range 3 {
			if err := probe(t, h); !errors.Is(err, away) {
				t.Fatalf("got %v, expected what the server said", err)
			}
		}
		server.err = nil
		if err := probe(t, h); err != nil {
			t.Fatal(err)
		}
		if server.times != 4 {
			t.Errorf("asked %d times, expected one for each question", server.times)
		}
	})
}

// A server that takes three seconds for an answer is there, at each question
// but the first.
func TestHealthOfASlowServer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := asked{takes: 3 * time.Second}
		h := NewHealth(server.ask)
		if err := probe(t, h); !errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("got %v before the first answer", err)
		}
		for range 10 {
			time.Sleep(10 * time.Second)
			if err := probe(t, h); err != nil {
				t.Fatal(err)
			}
		}
		synctest.Wait()
		time.Sleep(server.takes) // the last question
	})
}

// Where calls succeed nobody is asked.
func TestHealthOfABusyServer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := asked{err: errors.New("asked")}
		h := NewHealth(server.ask)
		for range 100 {
			h.Answered()
			time.Sleep(time.Second)
			if err := probe(t, h); err != nil {
				t.Fatal(err)
			}
		}
		if server.times != 0 {
			t.Errorf("asked %d times", server.times)
		}
	})
}

// A server that is gone counts as there for Fresh after its last answer, one
// that says nothing as one that refuses.
func TestHealthOfADeadServer(t *testing.T) {
	for name, server := range map[string]asked{"refuses": {err: errors.New("refused")}, "silent": {takes: time.Hour}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := NewHealth(server.ask)
				h.Answered()
				began := time.Now()
				for probe(t, h) == nil {
					time.Sleep(100 * time.Millisecond)
				}
				if gone := time.Since(began); gone < Fresh || gone > Fresh+2*time.Second {
					t.Errorf("not ready after %s", gone)
				}
				time.Sleep(askTimeout) // so long the last question may take
				synctest.Wait()
				server = asked{}
				if err := probe(t, h); err != nil {
					t.Errorf("not ready again: %v", err)
				}
			})
		})
	}
}
