package loadtest

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"time"

	"github.com/footfall/footfall/shared/event"
	"github.com/footfall/footfall/shared/store"
	"github.com/footfall/footfall/shared/store/embedded"
)

// Many are the figures of a Footfall on embedded stores that go by how many
// merchants it has.
type Many struct {
	Merchants int
	Events    int // of the hour that was closed, some of each merchant

	Provision Cost
	Start     Cost // until all are known; it serves from the start on
	IdleTick  Cost
	TakeIn    Cost          // of the hour's events, until they are processed
	Close     Cost          // of that hour
	OneTick   Cost          // that closes an hour of one merchant
	OpenTick  Cost          // while all are active in an open hour; zero where the hour ended meanwhile
	Report    time.Duration // CPU of a report of today, mean of many merchants

	Resident int64 // bytes, after the hour was closed

	RegistryDisk   float64 // bytes per merchant
	RecordBytes    float64 // of the hour's record of a merchant who was active
	SummaryBytes   float64 // of all records of a merchant: of the hour, its day, kept answers
	SummaryDisk    float64 // the same on disk
	ProcessedBytes float64 // on disk, per event
}

// MeasureMany gives a Footfall n merchants, starts it again, sends it an hour's
// events of all of them, closes that hour, and compares the numbers of 300
// merchants with what was sent. The binary must fire no ticks by itself; its data
// is in dir, and stays there. After each step told is called with the figures so
// far.
func MeasureMany(ctx context.Context, binary, dir string, n int, told func(step string, m *Many)) (*Many, error) {
	m := &measuring{Many: Many{Merchants: n}, binary: binary, dir: dir, to: time.Now().UTC().Truncate(time.Hour)}
	m.from = m.to.Add(-time.Hour)
	for _, step := range []struct {
		name string
		do   func(context.Context) error
	}{
		{"provision", m.provision}, {"start", m.start}, {"idle tick", m.idleTick}, {"take in", m.takeIn}, {"close", m.close},
		{"compare", m.compare}, {"one active", m.oneActive}, {"all active", m.allActive}, {"report", m.report}, {"stored", m.stored},
	} {
		if err := step.do(ctx); err != nil {
			if m.sys != nil {
				_ = m.sys.Kill()
			}
			return nil, fmt.Errorf("%s, %d merchants: %w", step.name, n, err)
		}
		told(step.name, &m.Many)
	}
	return &m.Many, nil
}

type measuring struct {
	Many
	binary, dir string
	sys         *Process
	list        []Merchant
	truth       *Truths
	from, to    time.Time // the hour that is closed
}

func (m *measuring) begin(ctx context.Context) (err error) {
	m.sys, err = Start(ctx, m.binary, m.dir, "FOOTFALL_LOG_LEVEL=warn")
	return err
}

func (m *measuring) provision(ctx context.Context) error {
	if err := m.begin(ctx); err != nil {
		return err
	}
	var err error
	if m.Provision, err = m.sys.Took(ctx, func() (err error) {
		m.list, err = m.sys.CreateMerchants(ctx, "many", m.Merchants)
		return err
	}); err != nil {
		return err
	}
	return m.sys.Stop()
}

func (m *measuring) start(ctx context.Context) error {
	began := time.Now()
	if err := m.begin(ctx); err != nil {
		return err
	}
	err := m.sys.Quiet(ctx)
	m.Start.Wall = time.Since(began)
	if err == nil {
		m.Start.CPU, err = m.sys.CPU() // of all its life
	}
	if err == nil {
		m.Start.Memory, err = m.sys.Memory()
	}
	return err
}

func (m *measuring) tick(ctx context.Context) (Cost, error) {
	return m.sys.Took(ctx, func() error { return m.sys.TickThrough(ctx) })
}

// idleTick ticks until a tick finds nothing to do: the first ones of a store look
// whether records were lost, of all merchants.
func (m *measuring) idleTick(ctx context.Context) (err error) {
	for {
		if m.IdleTick, err = m.tick(ctx); err != nil || m.IdleTick.CPU < 200*time.Millisecond {
			return err
		}
	}
}

// mix is traffic in which each merchant has a visit, beside others by Zipf's law.
func (m *measuring) mix(seed uint64) *Mix {
	o := DefaultMix(seed, StreamsOf(m.list))
	o.Each, o.Late = true, 0
	return NewMix(o, m.truth)
}

func (m *measuring) takeIn(ctx context.Context) (err error) {
	m.truth = NewTruths()
	mix := m.mix(uint64(m.from.Unix()))
	const perRequest = 100
	// Each visit has four events on average; the hour passes at that pace.
	requests := m.Merchants * 5 / perRequest
	at := func(i int) time.Time {
		return m.from.Add(min(time.Duration(i)*time.Hour/time.Duration(requests), time.Hour-1))
	}
	m.TakeIn, err = m.sys.Took(ctx, func() error {
		err := NewSender(m.sys.URL, 8).PostMix(ctx, mix, perRequest, at, func(i int) bool { return i < requests || mix.Visits() < m.Merchants })
		if err != nil {
			return err
		}
		return m.sys.WaitDelivered(ctx)
	})
	m.Events = int(m.truth.Accepted())
	return err
}

// close closes the hour with one tick: what a shard's budget does not last for
// goes on by itself.
func (m *measuring) close(ctx context.Context) (err error) {
	if m.Close, err = m.tick(ctx); err == nil {
		m.Resident, err = m.sys.Memory()
	}
	return err
}

func (m *measuring) compare(ctx context.Context) error {
	a, err := m.sys.Audit(ctx, m.list, m.truth, 300, 1, false, os.Stderr)
	if err == nil && a.Differences > 0 {
		err = fmt.Errorf("%d differences between what was sent and what is told", a.Differences)
	}
	return err
}

// oneActive closes an hour of one merchant, of whom an event has come.
func (m *measuring) oneActive(ctx context.Context) error {
	mix := NewMix(MixOptions{Seed: 5, Streams: StreamsOf(m.list[m.Merchants/2 : m.Merchants/2+2])}, NewTruths())
	hour := m.from.Add(-time.Hour)
	err := NewSender(m.sys.URL, 1).PostMix(ctx, mix, 1, func(int) time.Time { return hour }, func(i int) bool { return i < 1 })
	if err == nil {
		err = m.sys.WaitDelivered(ctx)
	}
	if err == nil {
		m.OneTick, err = m.tick(ctx)
	}
	return err
}

// allActive is for a tick that finds all active in an hour that is open, and
// leaves them.
func (m *measuring) allActive(ctx context.Context) error {
	mix, now := m.mix(6), time.Now()
	err := NewSender(m.sys.URL, 8).PostMix(ctx, mix, 100, func(int) time.Time { return now }, func(int) bool { return mix.Visits() < m.Merchants })
	if err == nil {
		err = m.sys.WaitDelivered(ctx)
	}
	if err != nil {
		return err
	}
	c, err := m.tick(ctx)
	if event.HourOf(now) == event.HourOf(time.Now()) {
		m.OpenTick = c
	}
	return err
}

// report measures one client's reports of many merchants, one after another.
func (m *measuring) report(ctx context.Context) error {
	const most = 500
	step := max(1, m.Merchants/most)
	asked := 0
	c, err := m.sys.Took(ctx, func() error {
		for i := 0; i < m.Merchants; i += step {
			asked++
			if _, err := m.sys.Totals(ctx, m.list[i], "activeUsers,sessions,eventCount", m.from, m.to); err != nil {
				return err
			}
		}
		return nil
	})
	m.Report = c.Each(asked)
	return err
}

// stored measures what stands in the folder of a Footfall that has ended.
func (m *measuring) stored(ctx context.Context) error {
	if err := m.sys.Stop(); err != nil {
		return err
	}
	stores, err := embedded.Open(m.dir, embedded.Options{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		return err
	}
	defer stores.Close()
	sizes, err := stores.Sizes(ctx)
	if err != nil {
		return err
	}
	of := map[string]embedded.TableSize{}
	for _, s := range sizes {
		of[s.Name] = s
	}
	n := float64(m.Merchants)
	m.RegistryDisk = float64(of["merchants"].Disk+of["changes of merchants"].Disk+of["streams"].Disk) / n
	m.SummaryBytes, m.SummaryDisk = float64(of["summaries"].Values)/n, float64(of["summaries"].Disk)/n
	m.ProcessedBytes = float64(of["documents"].Disk) / float64(m.Events+m.Merchants)
	hours, bytes := 0, 0
	for i := 0; i < m.Merchants; i += max(1, m.Merchants/20_000) {
		key := store.SummaryKey{Merchant: m.list[i].MerchantID, Generation: 1, Grain: store.GrainHour, Start: m.from.Unix()}
		got, err := stores.Summaries.Get(ctx, []store.SummaryKey{key})
		if err != nil {
			return err
		}
		if got[0] != nil {
			hours++
			bytes += len(got[0])
		}
	}
	m.RecordBytes = float64(bytes) / float64(max(hours, 1))
	return nil
}
