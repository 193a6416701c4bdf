// Package localtest starts the local runner within a test's own process, where
// the test may move its clock and break what lies between its functions.
package localtest

import (
	"bytes"
	"context"
	"sync"
	"testing"

	"github.com/footfall/footfall/infra/local"
)

// Start serves a runner on a free port, with data that goes with the test. It need
// not be ready yet. environ comes after what every test says. When the test
// ends the runner is stopped, which must end cleanly; of a test that failed, what it
// logged is shown.
func Start(t testing.TB, o local.Options, environ ...string) *local.Runner {
	t.Helper()
	var log said
	o.Log = &log
	runner, err := local.New(t.Context(), append([]string{"FOOTFALL_ADDR=127.0.0.1:0", "FOOTFALL_DATA=" + t.TempDir(), "FOOTFALL_LOG_LEVEL=warn"}, environ...), o)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	ended := make(chan error, 1)
	go func() { ended <- runner.Serve(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Errorf("the runner did not stop cleanly: %v", err)
		}
		if t.Failed() {
			t.Logf("the runner said:\n%s", log.String())
		}
	})
	return runner
}

// said is a log that is written side by side.
type said struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (s *said) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.Write(p)
}

func (s *said) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.String()
}
