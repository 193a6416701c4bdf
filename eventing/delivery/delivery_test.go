package delivery

import (
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
	"text/tabwriter"
	"time"
)

// scenario is one promise of a Broker. The scenarios of a system run at the
// same time, each with events and a stage of its own.
type scenario struct {
	name  string
	shows string
	run   func(*stage)
	alone bool // it would disturb the others: it waits until they are over
}

// scenarios is the list, in the order of the table.
func scenarios() []scenario {
	return []scenario{
		{name: "answers of the ingress", shows: "202 with an empty body, 400 no CloudEvent, 404 unknown Broker, 405 no POST", run: ingressAnswers},
		{name: "oversize event", shows: "700 KiB pass whole; over 1 MiB is refused with 503 and never delivered", run: oversize},
		{name: "request of a delivery", shows: "binary mode, every attribute, the uri's query, Prefer, Kn-Namespace, partition and offset", run: request},
		{name: "records of other producers", shows: "what kafka-go wrote is delivered: binary mode, structured mode, without data", run: foreignRecords},
		{name: "invalid records", shows: "discarded and committed, no dead letter; the next record is delivered", run: invalidRecords},
		{name: "status by status", shows: "below 300 is success; 404, 408, 409, 429 and 5xx are retried; others are dead at once", run: statuses},
		{name: "exponential pauses", shows: "delay × 2^n before the n-th retry, then the dead letter", run: exponential},
		{name: "linear pauses", shows: "delay × n before the n-th retry, then the dead letter", run: linear},
		{name: "no retry", shows: "retry 0 is one attempt", run: once},
		{name: "a retry that succeeds", shows: "the same event again, Retry-After unheeded, no dead letter", run: recovers},
		{name: "timeout of an attempt", shows: "cut at the timeout, retried; a dead letter then has no code", run: timeout},
		{name: "broken connection", shows: "retried; a dead letter then has no code", run: brokenConnection},
		{name: "dead letter", shows: "knativeerrordest, -code, -data (base64 of 1024 bytes), Kne- headers; the event as it was, in binary mode", run: deadLetter},
		{name: "dead letter to a subscriber", shows: "the same retries and extensions", run: deadLetterByURL},
		{name: "failed dead letter", shows: "the event is lost and committed, the next one is delivered", run: failedDeadLetter},
		{name: "no dead letter sink", shows: "the event is lost and committed, the next one is delivered", run: noDeadLetter},
		{name: "body of an answer", shows: "2xx with a text is a failure: dead letter without retry, code and data", run: foreignBody},
		{name: "event as an answer", shows: "goes to the same Broker, from binary and structured mode", run: reply},
		{name: "filters", shows: "attributes, exact, prefix, suffix, all, any, not, cesql", run: filters},
		{name: "ordered", shows: "one at a time per partition, retries included; a held partition holds no other", run: ordered},
		{name: "unordered", shows: "50 to 100 at a time, of one partition too", run: unordered},
		{name: "offsets", shows: "committed up to the first gap while later events are delivered", run: gap},
		{name: "kill -9 of the dispatcher", shows: "all from the first gap on comes again, nothing before it, nothing is lost", run: killed, alone: true},
	}
}

func TestMain(m *testing.M) {
	if config := os.Getenv(childEnv); config != "" {
		os.Exit(runChild(config))
	}
	os.Exit(m.Run())
}

// TestDelivery plays every scenario on every system at hand, and says in a
// table what came of it.
func TestDelivery(t *testing.T) {
	if *write != "" {
		t.Skip("-write asks for the wiring only")
	}
	systems := []struct {
		name  string
		start func(*testing.T) *system
	}{
		{"local", startLocal},
		{"process, real Kafka", startProcess},
		{"by URL", startByURL},
	}
	results := newTable()
	t.Cleanup(func() { t.Log(results.String()) })
	for _, sys := range systems {
		results.columns = append(results.columns, sys.name)
		t.Run(sys.name, func(t *testing.T) {
			s := sys.start(t)
			play := func(alone bool) func(*testing.T) {
				return func(t *testing.T) {
					for _, sc := range scenarios() {
						if sc.alone != alone {
							continue
						}
						t.Run(sc.name, func(t *testing.T) {
							if !alone {
								t.Parallel()
							}
							st := s.stage(t)
							begin := time.Now()
							t.Cleanup(func() { results.note(sc.name, sys.name, st.outcome(time.Since(begin))) })
							sc.run(st)
						})
					}
				}
			}
			t.Run("together", play(false)) // returns when all have ended
			t.Run("alone", play(true))
		})
	}
}

// table is scenario × system.
type table struct {
	mu      sync.Mutex
	columns []string
	cells   map[[2]string]string
}

func newTable() *table { return &table{cells: make(map[[2]string]string)} }

func (b *table) note(scenario, system, outcome string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.cells[[2]string{scenario, system}] = outcome
}

func (b *table) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	var text strings.Builder
	w := tabwriter.NewWriter(&text, 0, 0, 1, ' ', 0)
	fmt.Fprintf(w, "\nscenario\t| what it shows\t| %s\n", strings.Join(b.columns, "\t| "))
	for _, sc := range scenarios() {
		fmt.Fprintf(w, "%s\t| %s", sc.name, sc.shows)
		for _, c := range b.columns {
			outcome, ok := b.cells[[2]string{sc.name, c}]
			if !ok {
				outcome = "not run"
			}
			fmt.Fprintf(w, "\t| %s", outcome)
		}
		fmt.Fprintln(w)
	}
	_ = w.Flush() // a strings.Builder takes everything
	return text.String()
}
