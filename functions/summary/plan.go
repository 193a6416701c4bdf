package summary

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	cloudevents "github.com/cloudevents/sdk-go/v2/event"

	"github.com/footfall/footfall/shared/broker"
	"github.com/footfall/footfall/shared/event"
	"github.com/footfall/footfall/shared/fault"
	"github.com/footfall/footfall/shared/store"
)

// shardData is the data of a footfall.summary.shard.v1 event.
type shardData struct {
	Shard     int       `json:"shard"`     // from 0
	Count     int       `json:"count"`     // of shards
	Watermark time.Time `json:"watermark"` // hours that end by it may be closed
	Late      bool      `json:"late"`      // late events wait no longer
}

func (d *shardData) shard() store.Shard { return store.Shard{Index: d.Shard, Count: d.Count} }

// tickData is the data of a ping.
type tickData struct {
	Late bool `json:"late"` // close what waits for more late events, too
}

// Tick plans a run: one event for each shard that has something to close. Ticks
// that come together share a run, for each would plan the same. One whose data says
// "late": true has late events wait no longer (Config.LateEvery).
func (s *Service) Tick(ctx context.Context, e cloudevents.Event) error {
	if tick, _ := e.Extensions()[event.ExtensionTick].(string); e.Type() != event.TypePing || tick != "summary" {
		return fault.Field(event.ExtensionTick, "a ping with summary")
	}
	var d tickData
	if len(e.Data()) > 0 {
		if err := json.Unmarshal(e.Data(), &d); err != nil {
			return &fault.Error{Kind: fault.Invalid, Field: "data", Expected: "an object with late, true or false", Err: err}
		}
	}
	if d.Late {
		return s.plan(ctx, true)
	}
	return s.ticks(ctx, e)
}

func (s *Service) plan(ctx context.Context, late bool) error {
	s.tellRebuild(s.rebuild(ctx))
	watermark, err := s.watermark(ctx)
	if err != nil {
		return err
	}
	held := s.held(ctx)
	var events []cloudevents.Event
	for i := range s.cfg.Shards {
		if held[i] {
			continue // whoever is at it sees to the rest
		}
		d := shardData{i, s.cfg.Shards, watermark, late}
		left, err := s.left(ctx, &d)
		if err != nil {
			return err
		}
		if !left {
			continue
		}
		out, err := s.shardEvent(&d, "")
		if err != nil {
			return err
		}
		events = append(events, out)
	}
	return s.publish(ctx, events)
}

// left reports whether a shard has anything to close now.
func (s *Service) left(ctx context.Context, d *shardData) (bool, error) {
	if dirty, err := s.dirty(ctx, true, d.shard(), d.Watermark, store.DirtyHour{}, 1); err != nil || len(dirty) > 0 {
		return err == nil, err
	}
	late := s.lateness(ctx, d)
	left, looks := false, 0
	var looking error
	err := s.pages(ctx, false, d.shard(), d.Watermark.Add(ahead), func(dirty []store.DirtyHour, _ bool) bool {
		ended := 0
		for ended < len(dirty) && !dirty[ended].Hour.End().After(d.Watermark) {
			ended++
		}
		if left = ended > 0 && late.asks(dirty[:ended]); !left && ended < len(dirty) {
			// Where more are at work, one of them has documents to merge.
			if looks++; looks > mostLooks {
				left = true
			} else {
				last := dirty[len(dirty)-1]
				left, looking = s.many(ctx, last.Merchant, last.Hour)
			}
		}
		return !left && looking == nil
	})
	return left, errors.Join(looking, err)
}

// mostLooks is how many merchants of a shard are looked at before it is handed out to
// see whether documents of theirs are to be merged.
const mostLooks = 16

// ahead is how far beyond the watermark hours may be under way.
const ahead = 2 * time.Hour

// publish hands shards out.
func (s *Service) publish(ctx context.Context, events []cloudevents.Event) error {
	if len(events) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, s.cfg.Timeout)
	defer cancel()
	if err := s.Publisher.Publish(ctx, broker.Control, events...); err != nil {
		return fmt.Errorf("cannot publish %d shards: %w", len(events), err)
	}
	return nil
}

// tellRebuild says once that lost records cannot be looked for. It stops no
// tick: what is dirty is closed all the same, and the next tick looks again.
func (s *Service) tellRebuild(err error) {
	if failing := err != nil; s.rebuildFails.Swap(failing) != failing {
		if failing {
			s.Log.Warn("cannot look for lost records; the next tick tries again", "error", err)
		} else {
			s.Log.Info("lost records can be looked for again")
		}
	}
}

func (s *Service) watermark(ctx context.Context) (time.Time, error) {
	ctx, cancel := context.WithTimeout(ctx, s.cfg.Timeout)
	defer cancel()
	t, err := s.Journal.Watermark(ctx, s.Clock())
	if err != nil {
		return t, fmt.Errorf("cannot read the watermark: %w", err)
	}
	return t, nil
}

func (s *Service) dirty(ctx context.Context, others bool, shard store.Shard, watermark time.Time, after store.DirtyHour, limit int) ([]store.DirtyHour, error) {
	ctx, cancel := context.WithTimeout(ctx, s.cfg.Timeout)
	defer cancel()
	hours, err := s.Processed.Dirty(ctx, others, shard, watermark, after, limit)
	if err != nil {
		return nil, fmt.Errorf("cannot list the dirty hours of shard %d of %d: %w", shard.Index, shard.Count, err)
	}
	return hours, nil
}

// shardEvent asks for a shard's hours to be closed; part tells several such
// events of one watermark apart.
func (s *Service) shardEvent(d *shardData, part string) (cloudevents.Event, error) {
	e := cloudevents.New()
	e.SetType(event.TypeSummaryShard)
	e.SetSource("footfall/summary")
	e.SetID(fmt.Sprintf("summary-%d-%d-%d%s", d.Watermark.UnixMilli(), d.Shard, d.Count, part))
	e.SetTime(s.Clock())
	e.SetExtension("partitionkey", fmt.Sprintf("summary-%d", d.Shard))
	data := *d
	data.Watermark = d.Watermark.UTC()
	if err := e.SetData(cloudevents.ApplicationJSON, data); err != nil {
		return e, fmt.Errorf("cannot make the event of shard %d: %w", d.Shard, err)
	}
	return e, nil
}
