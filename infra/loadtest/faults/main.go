// Command faults lives through faults: it starts a real Footfall under load,
// breaks something, starts it again where it has ended, and after each cycle
// compares what was accepted with what is counted, to the unit, by ledger and by
// report.
//
//	go run ./infra/loadtest/faults -cycles 200
//
// In each cycle deliveries arrive twice, late and in any order, their answers
// get lost, and something else happens besides (see the list of kinds). It prints
// a table and ends with a non-zero status where anything was lost or doubled.
//
// The program is its own victim: with "run" it is a Footfall with faults.
package main

import (
	"context"
	"encoding/base64"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"text/tabwriter"
	"time"

	"github.com/footfall/footfall/infra/loadtest"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if len(os.Args) > 1 && os.Args[1] == "run" {
		if err := victim(ctx); err != nil {
			fmt.Fprintln(os.Stderr, "footfall:", err)
			os.Exit(1)
		}
		return
	}
	cycles := flag.Int("cycles", 200, "how many times something breaks")
	seed := flag.Uint64("seed", uint64(time.Now().UnixNano()), "of everything that is left to chance")
	data := flag.String("data", "", "the data folder, kept afterwards; default: one of this run's own")
	flag.Parse()
	if err := run(ctx, *cycles, *seed, *data); err != nil {
		fmt.Fprintln(os.Stderr, "faults:", err)
		os.Exit(1)
	}
}

// The kinds of faults, each of which comes as often as the others.
const (
	killed      = "killed"           // kill -9
	stoodStill  = "stood still"      // SIGSTOP for a while, as a machine that pauses
	clockBack   = "clock 2 h back"   // for one life of the process
	clockAhead  = "clock 2 h ahead"  // and back at the next
	diskFull    = "disk full"        // writes of stores and archive fail for half a second
	syncFailed  = "fsync failed"     // once
	consumers   = "consumers failed" // three in ten deliveries are refused
	slow        = "slow functions"   // deliveries take up to half a second
	poison      = "poisoned batch"   // that nobody can read
	smallMemory = "little memory"    // the garbage collector is given 40 MiB
)

var kinds = []string{killed, stoodStill, clockBack, clockAhead, diskFull, syncFailed, consumers, slow, poison, smallMemory}

var (
	day      = time.Date(2026, 3, 10, 0, 0, 0, 0, time.UTC)
	patience = 90 * time.Second // for a cycle to come to its end
)

// Load of a cycle.
const (
	merchants   = 3
	requests    = 40
	perRequest  = 25
	connections = 8
	step        = 10 * time.Second // from one request to the next, by the clock of visits
)

// harness is one run.
type harness struct {
	rng    *rand.Rand
	binary string
	dir    string
	addr   string
	p      *loadtest.Process
	mix    *loadtest.Mix
	at     time.Time // of the latest request, by the clock of its visits
	who    []loadtest.Merchant
	truth  *loadtest.Truths
	sent   loadtest.Outcome // of all cycles
	found  loadtest.Audited // at the end
	seen   map[string]*tally
	said   int64 // length of the log when the victim's life began
}

// tally counts what became of the cycles of a kind.
type tally struct {
	cycles, ended int // ended: by itself, and said why
	why           string
}

func run(ctx context.Context, cycles int, seed uint64, dir string) (err error) {
	h := &harness{rng: rand.New(rand.NewPCG(seed, 1)), dir: dir, at: day, truth: loadtest.NewTruths(), seen: map[string]*tally{}}
	if h.binary, err = os.Executable(); err != nil {
		return err
	}
	if h.dir == "" {
		if h.dir, err = os.MkdirTemp("", "footfall-faults-"); err != nil {
			return err
		}
		defer func() {
			if err == nil {
				err = os.RemoveAll(h.dir)
			} else {
				err = fmt.Errorf("%w (data and log are in %s)", err, h.dir)
			}
		}()
	}
	fmt.Printf("%d cycles, seed %d\n", cycles, seed)
	began := time.Now()
	if err := h.start(ctx, ""); err != nil {
		return err
	}
	defer func() { _ = h.p.Kill() }()
	for i := range merchants {
		m, err := h.p.CreateMerchant(ctx, fmt.Sprint("faults ", i))
		if err != nil {
			return err
		}
		h.who = append(h.who, m)
	}
	o := loadtest.DefaultMix(seed, loadtest.StreamsOf(h.who))
	o.Late, o.LateUpTo = 0.2, 24*time.Hour // so that much comes for hours that are closed
	h.mix = loadtest.NewMix(o, h.truth)
	var order []string
	for n := range cycles {
		if len(order) == 0 {
			order = slices.Clone(kinds)
			h.rng.Shuffle(len(order), func(i, j int) { order[i], order[j] = order[j], order[i] })
		}
		kind := order[0]
		order = order[1:]
		if err := h.cycle(ctx, kind); err != nil {
			return fmt.Errorf("cycle %d of seed %d, %s: %w", n+1, seed, kind, err)
		}
	}
	return h.report(time.Since(began))
}

// start starts a life of the victim, with a kind of fault or without.
func (h *harness) start(ctx context.Context, kind string) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	env := []string{
		"FAULTS_KIND=" + kind, fmt.Sprintf("FAULTS_SEED=%d", h.rng.Uint64()), "FOOTFALL_LOG_LEVEL=warn",
		"FOOTFALL_JOURNAL_REPUBLISH_AFTER=2s", "FOOTFALL_JOURNAL_STALE_AFTER=5s",
	}
	if h.addr != "" {
		env = append(env, "FOOTFALL_ADDR="+h.addr)
	}
	if kind == smallMemory {
		env = append(env, "GOMEMLIMIT=40MiB")
	}
	if log, err := os.Stat(h.log()); err == nil {
		h.said = log.Size()
	}
	p, err := loadtest.Start(ctx, h.binary, h.dir, env...)
	if err != nil {
		return err
	}
	h.p, h.addr = p, strings.TrimPrefix(p.URL, "http://")
	return nil
}

// cycle has one thing break under load, and checks that no number did.
func (h *harness) cycle(ctx context.Context, kind string) error {
	t := h.seen[kind]
	if t == nil {
		t = &tally{}
		h.seen[kind] = t
	}
	t.cycles++
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	// Faults that last are those of a life: it begins with the cycle.
	if !slices.Contains([]string{killed, stoodStill, poison}, kind) {
		if err := h.p.Kill(); err != nil {
			return err
		}
		err := h.start(ctx, kind)
		if err != nil && ofDisk(kind) { // it met the fault before it was ready
			t.ended++
			t.why = h.lastWords()
			err = h.start(ctx, "")
		}
		if err != nil {
			return err
		}
	}
	bodies := make(chan loadtest.Request, requests)
	for i := range requests {
		h.at = h.at.Add(step)
		n := perRequest
		if i%8 == 7 {
			n = 0 // a single event
		}
		bodies <- h.mix.Request(nil, h.at, n)
	}
	close(bodies)
	var working sync.WaitGroup
	sent := make(chan error, 1)
	url := h.p.URL
	sender := loadtest.NewSender(url, connections)
	working.Go(func() { sent <- sender.PostAll(ctx, bodies) })
	ticking, stopTicks := context.WithCancel(ctx)
	defer working.Wait()
	defer stopTicks()
	working.Go(func() {
		beat := time.NewTicker(100 * time.Millisecond)
		defer beat.Stop()
		for ticking.Err() == nil {
			_ = (&loadtest.Process{URL: url}).Tick(ticking) // it fails while nobody is there
			<-beat.C
		}
	})
	// Somewhere in the thick of it.
	left := h.rng.IntN(requests)
	for len(bodies) > left && !gone(h.p) && ctx.Err() == nil {
		time.Sleep(time.Millisecond)
	}
	byItself, err := h.breakNow(ctx, kind)
	if err != nil {
		return err
	}
	if byItself {
		t.ended++
		t.why = h.lastWords()
	}
	if gone(h.p) {
		if err := h.start(ctx, ""); err != nil {
			return err
		}
	}
	if err := <-sent; err != nil {
		return fmt.Errorf("the senders did not get their events accepted: %w", err)
	}
	h.sent.Add(sender.Outcome())
	return h.check(ctx)
}

func ofDisk(kind string) bool { return kind == diskFull || kind == syncFailed }

func gone(p *loadtest.Process) bool {
	select {
	case <-p.Ended():
		return true
	default:
		return false
	}
}

// breakNow does what is done to a process from outside, and says whether it ended
// before that.
func (h *harness) breakNow(ctx context.Context, kind string) (byItself bool, err error) {
	switch kind {
	case stoodStill:
		return false, h.p.StandStill(time.Duration(200+h.rng.IntN(1000)) * time.Millisecond)
	case poison:
		junk := base64.StdEncoding.EncodeToString([]byte("this is no batch"))
		event := fmt.Sprintf(`{"specversion":"1.0","type":"footfall.batch.accepted.v1","source":"/faults","id":"%032x","datacontenttype":"application/vnd.apache.avro+batch","data_base64":%q}`, h.rng.Uint64(), junk)
		return false, h.p.Do(ctx, http.MethodPost, "/brokers/batches", "", "application/cloudevents+json", []byte(event), http.StatusAccepted, nil)
	case diskFull, syncFailed:
		// The process may end of it by itself; where it went on it is killed.
		select {
		case <-h.p.Ended():
			return true, nil
		case <-time.After(time.Second):
		}
	}
	return false, h.p.Kill()
}

func (h *harness) log() string { return filepath.Join(h.dir, "footfall.log") }

// lastWords is what the victim said last of what the disk had told it.
func (h *harness) lastWords() (line string) {
	log, err := os.ReadFile(h.log())
	if err != nil {
		return ""
	}
	for l := range strings.Lines(string(log[min(h.said, int64(len(log))):])) {
		if strings.Contains(l, syscall.ENOSPC.Error()) || strings.Contains(l, syscall.EIO.Error()) {
			line = strings.TrimSpace(l)
		}
	}
	return line
}

// check compares what was accepted with what is counted. Requests that were cut
// off were sent again: more may have been accepted than the senders know, and
// each of these is a duplicate.
func (h *harness) check(ctx context.Context) (err error) {
	var said strings.Builder
	if h.found, err = h.p.Audit(ctx, h.who, h.truth, 0, 0, true, &said); err != nil {
		return err
	}
	if h.found.Differences > 0 {
		return fmt.Errorf("%d lost, %d doubled, %d differences between what was sent and what is told:\n%s",
			h.found.Lost, h.found.Doubled, h.found.Differences, said.String())
	}
	return nil
}

func (h *harness) report(took time.Duration) error {
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "fault\tcycles\tended by itself\t")
	var cycles int
	var silent []string
	for _, k := range kinds {
		t := h.seen[k]
		if t == nil {
			continue
		}
		cycles += t.cycles
		fmt.Fprintf(w, "%s\t%d\t%d\t\n", k, t.cycles, t.ended)
		if t.ended > 0 && t.why == "" {
			silent = append(silent, k)
		}
	}
	if err := w.Flush(); err != nil {
		return err
	}
	for _, k := range kinds {
		if t := h.seen[k]; t != nil && t.why != "" {
			fmt.Printf("%s: %.300s\n", k, t.why)
		}
	}
	fmt.Printf("%d cycles in %s: %d requests sent %d times, %d events accepted; of %d values of %d merchants' hours: lost %d, doubled %d, differences %d\n",
		cycles, took.Round(time.Second), h.sent.Accepted, h.sent.Requests, h.truth.Accepted(), h.found.Values, h.found.MerchantHours, h.found.Lost, h.found.Doubled, h.found.Differences)
	if len(silent) > 0 {
		return errors.New("it ended without saying why: " + strings.Join(silent, ", "))
	}
	return nil
}
