package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/google/pprof/profile"

	"github.com/footfall/footfall/infra/loadtest"
)

// profiled has the runner serve profiles on a port that the system chooses.
const profiled = "FOOTFALL_PROFILE_ADDR=127.0.0.1:0"

// stage is a part of the pipeline and its share of the CPU.
type stage struct {
	name  string
	share float64
}

// stages are the parts, by what stands in a sample's stack; the first one that
// matches a stack has it. Where the embedded store commits, it does so in
// goroutines of its own, and it cannot be told for whom.
var stages = []struct {
	name string
	of   *regexp.Regexp
}{
	{"archive", regexp.MustCompile(`footfall/functions/archive\.|embedded\.\(\*archive\)|embedded\.\(\*archiveFile\)`)},
	{"ETL, processed data included", regexp.MustCompile(`footfall/functions/etl\.`)},
	{"summary, closing hours", regexp.MustCompile(`footfall/functions/summary\.`)},
	{"reports and ledgers", regexp.MustCompile(`footfall/functions/(report|reprocess|merchant|account)\.`)},
	{"journal", regexp.MustCompile(`embedded\.\(\*journal\)|embedded\.\(\*Journal\)`)},
	{"broker: Kafka and its clients, dispatcher", regexp.MustCompile(`franz-go|kafka-go|footfall/shared/broker|footfall/eventing`)},
	{"ingest, HTTP included", regexp.MustCompile(`footfall/functions/ingest\.|net/http\.\(\*conn\)|function\.\(\*expressConn\)`)},
	{"store: log, memtables, compactions", regexp.MustCompile(`footfall/shared/store/embedded\.|cockroachdb/pebble`)},
	{"garbage collector", regexp.MustCompile(`runtime\.(gcBgMarkWorker|bgsweep|bgscavenge|gcStart|\(\*mheap\)\.scavenge)`)},
	{"scheduler and timers", regexp.MustCompile(`runtime\.(mcall|schedule|sysmon|mstart|park_m|findRunnable)`)},
}

// rest is what no stage has.
const rest = "other"

func stageOf(stack string) string {
	for _, s := range stages {
		if s.of.MatchString(stack) {
			return s.name
		}
	}
	return rest
}

// profile begins to take CPU profiles of the process, a second long each. The
// returned function ends it and tells the stages' shares.
func (b *bench) profile(ctx context.Context) func() ([]stage, error) {
	if b.sys.PIDs != nil {
		return func() ([]stage, error) { return nil, nil } // processes have no profile in common
	}
	var failed error
	spent := map[string]int64{}
	var taken []*profile.Profile
	stop, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		where, err := b.profileURL()
		for failed = err; failed == nil; {
			var p *profile.Profile
			if p, failed = second(ctx, where); failed != nil {
				return
			}
			add(p, spent)
			if b.profileFile != "" {
				taken = append(taken, p)
			}
			select {
			case <-stop:
				return
			default:
			}
		}
	}()
	return func() ([]stage, error) {
		close(stop)
		<-ended
		if failed == nil && b.profileFile != "" {
			failed = keep(taken, b.profileFile)
		}
		return shares(spent), failed
	}
}

// profileURL is where the process serves profiles, as it says in its log.
func (b *bench) profileURL() (string, error) {
	log, err := os.ReadFile(filepath.Join(b.dir, "footfall.log"))
	if err != nil {
		return "", err
	}
	found := regexp.MustCompile(`serving profiles".* addr=([0-9.:]+)`).FindAllSubmatch(log, -1)
	if len(found) == 0 {
		return "", fmt.Errorf("expected that the process says where it serves profiles, got %.1000s", log)
	}
	return "http://" + string(found[len(found)-1][1]) + "/debug/pprof/profile?seconds=1", nil
}

// second is a second's profile.
func second(ctx context.Context, where string) (*profile.Profile, error) {
	data, err := loadtest.Get(ctx, where)
	if err != nil {
		return nil, err
	}
	p, err := profile.Parse(bytes.NewReader(data))
	if err != nil {
		return nil, fmt.Errorf("cannot read the profile: %w", err)
	}
	return p, nil
}

// keep makes one file of a row's profiles, for go tool pprof.
func keep(taken []*profile.Profile, file string) error {
	p, err := profile.Merge(taken)
	if err != nil {
		return err
	}
	var b bytes.Buffer
	if err := p.Write(&b); err != nil {
		return err
	}
	return os.WriteFile(file, b.Bytes(), 0o644)
}

// add adds a profile's samples to what the stages have spent. The last value of
// a sample is CPU time.
func add(p *profile.Profile, spent map[string]int64) {
	var stack strings.Builder
	for _, s := range p.Sample {
		stack.Reset()
		for _, l := range s.Location {
			for _, line := range l.Line {
				stack.WriteString(line.Function.Name)
				stack.WriteByte('\n')
			}
		}
		spent[stageOf(stack.String())] += s.Value[len(s.Value)-1]
	}
}

// shares are in the order of stages.
func shares(spent map[string]int64) (all []stage) {
	var sum int64
	for _, n := range spent {
		sum += n
	}
	for _, s := range stages {
		if spent[s.name] > 0 {
			all = append(all, stage{s.name, float64(spent[s.name]) / float64(sum)})
		}
	}
	if spent[rest] > 0 {
		all = append(all, stage{rest, float64(spent[rest]) / float64(sum)})
	}
	return all
}
