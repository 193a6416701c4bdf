package report

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/footfall/footfall/shared/access"
	"github.com/footfall/footfall/shared/event"
	"github.com/footfall/footfall/shared/fault"
	"github.com/footfall/footfall/shared/function"
	"github.com/footfall/footfall/shared/history"
	"github.com/footfall/footfall/shared/processed"
	"github.com/footfall/footfall/shared/report"
	"github.com/footfall/footfall/shared/summary"
)

// ledgerLine is what became of a merchant's events of an hour, or of several.
type ledgerLine struct {
	Accepted  int64            `json:"accepted"`
	Counted   int64            `json:"counted"`
	Bots      int64            `json:"bots"`     // of Counted, left out of reports by the bot filter
	Internal  int64            `json:"internal"` // the same by the filter of internal traffic, bots not among them
	Duplicate int64            `json:"duplicate"`
	Rejected  map[string]int64 `json:"rejected"` // by reason
	Pending   int64            `json:"pending"`
	Refused   map[string]int64 `json:"refused"` // by reason; never accepted
}

func (l *ledgerLine) addsUp() bool {
	sum := l.Counted + l.Duplicate + l.Pending
	for _, n := range l.Rejected {
		sum += n
	}
	return sum == l.Accepted
}

func (l *ledgerLine) add(o *ledgerLine) {
	l.Accepted += o.Accepted
	l.Counted += o.Counted
	l.Bots += o.Bots
	l.Internal += o.Internal
	l.Duplicate += o.Duplicate
	l.Pending += o.Pending
	for reason, n := range o.Rejected {
		l.Rejected[reason] += n
	}
	for reason, n := range o.Refused {
		l.Refused[reason] += n
	}
}

type ledgerHour struct {
	Hour string `json:"hour"` // its first instant, UTC
	ledgerLine
	AddsUp bool `json:"adds_up"`
}

type ledgerAnswer struct {
	Merchant string       `json:"merchant_id"`
	Revision uint32       `json:"revision"`
	From     string       `json:"from"`
	To       string       `json:"to"`
	Hours    []ledgerHour `json:"hours"`
	Totals   ledgerLine   `json:"totals"`
	AddsUp   bool         `json:"adds_up"`
}

// The journal and the processed data are read one after the other, and between
// writing documents and marking the batch processed lies a moment. A ledger
// that does not add up is read again; under steady load it never would, so the
// last look allows for what happened while it looked (see settle).
const (
	ledgerTries = 4
	ledgerPause = 50 * time.Millisecond
	ledgerStep  = 3 * summary.Reach // hours worked out at once
)

func (s *Service) getLedger(ctx context.Context, w http.ResponseWriter, r *http.Request, a asking) error {
	v, err := query(r)
	if err != nil {
		return err
	}
	a.revision = v.Get("revision")
	m, cal, err := s.merchant(ctx, a)
	if err != nil {
		return err
	}
	tellRevision(w, &m)
	from, to, err := s.hoursOf(v, cal, "from", "to", "revision")
	if err != nil {
		return err
	}
	leave, err := s.gate.enter(ctx, m.ID)
	if err != nil {
		return err
	}
	defer leave()
	pause := time.NewTicker(ledgerPause)
	defer pause.Stop()
	for try := 1; ; try++ {
		answer, err := s.ledger(ctx, m, from, to, try == ledgerTries)
		if err != nil {
			return err
		}
		if answer.AddsUp || try == ledgerTries {
			function.WriteJSON(w, http.StatusOK, answer)
			return nil
		}
		select {
		case <-pause.C:
		case <-ctx.Done():
			return fmt.Errorf("cannot finish the ledger of merchant %q: %w", m.ID, ctx.Err())
		}
	}
}

// settle sets a line that was read while batches were processed right.
// accepted is what the journal counts by now. What was counted, left out or
// rejected must be at least what was processed before we looked, and at most
// what is accepted after it; then the rest of what is accepted is pending.
// Events that are lost or counted twice fall out of these bounds, at the latest
// when nothing is pending any more.
func (l *ledgerLine) settle(accepted int64) {
	if l.addsUp() {
		return
	}
	done := l.Counted + l.Duplicate
	for _, n := range l.Rejected {
		done += n
	}
	if l.Accepted-l.Pending <= done && done <= accepted {
		l.Accepted, l.Pending = accepted, accepted-done
	}
}

// ledger sets the journal's counts beside what processed data hold.
func (s *Service) ledger(ctx context.Context, m access.Merchant, from, to event.Hour, settle bool) (*ledgerAnswer, error) {
	lines := map[event.Hour]*ledgerLine{}
	line := func(h event.Hour) *ledgerLine {
		l := lines[h]
		if l == nil {
			l = &ledgerLine{Rejected: map[string]int64{}, Refused: map[string]int64{}}
			lines[h] = l
		}
		return l
	}
	counts, err := s.ports.Journal.Counts(ctx, streamsOf(m), from, to)
	if err != nil {
		return nil, fmt.Errorf("cannot read the journal of merchant %q: %w", m.ID, err)
	}
	for _, c := range counts {
		l := line(c.Hour)
		l.Accepted += c.Accepted
		l.Pending += c.Pending
	}
	first, last, some, err := s.ports.Processed.Extent(ctx, m.ID, m.Layers.Revisions()...)
	if err != nil {
		return nil, fmt.Errorf("cannot find the events of merchant %q: %w", m.ID, err)
	}
	var events int64
	for at := max(from, first); some && at < min(to, last+1); at += ledgerStep {
		n, err := s.countHours(ctx, m, at, min(at+ledgerStep, to, last+1), line)
		if err != nil {
			return nil, err
		}
		if events += n; events > s.config.MaxEvents {
			return nil, fault.Field("from", fmt.Sprintf("a range of at most %d events; ask for fewer days", s.config.MaxEvents))
		}
	}
	rejects, err := s.ports.Processed.RejectCounts(ctx, m.ID, m.Layers, from, to)
	if err != nil {
		return nil, fmt.Errorf("cannot count the rejected events of merchant %q: %w", m.ID, err)
	}
	for _, r := range rejects {
		if r.Refused {
			line(r.Hour).Refused[r.Reason] += r.Events
		} else {
			line(r.Hour).Rejected[r.Reason] += r.Events
		}
	}
	if settle {
		after, err := s.ports.Journal.Counts(ctx, streamsOf(m), from, to)
		if err != nil {
			return nil, fmt.Errorf("cannot read the journal of merchant %q: %w", m.ID, err)
		}
		accepted := map[event.Hour]int64{}
		for _, c := range after {
			accepted[c.Hour] += c.Accepted
		}
		for h, l := range lines {
			l.settle(accepted[h])
		}
	}
	answer := &ledgerAnswer{Merchant: m.ID, Revision: uint32(m.Layers.Top()), From: from.String(), To: to.String(), Hours: []ledgerHour{}, AddsUp: true,
		Totals: ledgerLine{Rejected: map[string]int64{}, Refused: map[string]int64{}}}
	for h, l := range lines {
		answer.Hours = append(answer.Hours, ledgerHour{h.String(), *l, l.addsUp()})
		answer.Totals.add(l)
		answer.AddsUp = answer.AddsUp && l.addsUp()
	}
	slices.SortFunc(answer.Hours, func(a, b ledgerHour) int { return strings.Compare(a.Hour, b.Hour) })
	return answer, nil
}

// countHours counts the documents' rows of hours, by summary's rule for
// duplicates and without the filters of bots and internal traffic. It returns how many rows it looked at.
func (s *Service) countHours(ctx context.Context, m access.Merchant, from, to event.Hour, line func(event.Hour) *ledgerLine) (int64, error) {
	frame, err := s.ports.History.Copies(ctx, &m, summary.Of(from, to))
	if err != nil {
		return 0, fmt.Errorf("cannot count the events of merchant %q: %w", m.ID, err)
	}
	settings := history.SettingsOf(m.Settings)
	drops, isDuplicate := settings.Drops(), summary.Duplicates(frame)
	var l *ledgerLine
	at := from - 1 // the hour of l
	for row, ms := range frame.Millis {
		h := event.HourOfMicros(ms * 1000)
		if h < from || h >= to {
			continue
		}
		if h != at {
			l, at = line(h), h
		}
		if isDuplicate(row) {
			l.Duplicate++
			continue
		}
		l.Counted++
		switch left := frame.Flags[row] & drops; {
		case left&processed.FlagBot != 0:
			l.Bots++
		case left != 0:
			l.Internal++
		}
	}
	return int64(frame.Len), nil
}

// hoursOf reads a range of whole UTC hours: days of the merchant's calendar, or
// instants.
func (s *Service) hoursOf(v url.Values, cal *summary.Calendar, also ...string) (from, to event.Hour, err error) {
	for name, values := range v {
		if !slices.Contains(also, name) {
			return 0, 0, fault.Field("query", fmt.Sprintf("no other parameters than %v", also))
		}
		if len(values) > 1 {
			return 0, 0, fault.Field(name, "the parameter once")
		}
	}
	instant := func(name string) (event.Hour, bool, error) {
		if !strings.Contains(v.Get(name), "T") {
			return 0, false, nil // absent, or a day
		}
		t, err := time.Parse(time.RFC3339, v.Get(name))
		if err != nil {
			return 0, false, fault.Field(name, "an instant such as 2026-11-23T09:00:00Z")
		}
		h := event.HourOf(t)
		if !h.Start().Equal(t) {
			return 0, false, fault.Field(name, "a whole UTC hour, such as 2026-11-23T09:00:00Z")
		}
		return h, true, nil
	}
	from, isFrom, err := instant("from")
	if err != nil {
		return 0, 0, err
	}
	to, isTo, err := instant("to")
	if err != nil {
		return 0, 0, err
	}
	if isFrom != isTo {
		return 0, 0, fault.Field("to", "from and to in one form: both instants, or both days")
	}
	if !isFrom {
		days, err := report.ParseDays(v, s.today(cal))
		if err != nil {
			return 0, 0, err
		}
		from, to = report.Span(cal, days).UTCHours()
	}
	if from >= to {
		return 0, 0, fault.Field("from", "an instant before to")
	}
	if to-from > report.MaxDays*24 {
		return 0, 0, fault.Field("from", fmt.Sprintf("a range of at most %d days", report.MaxDays))
	}
	return from, to, nil
}
