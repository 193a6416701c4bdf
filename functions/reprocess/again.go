package reprocess

import (
	"context"
	"fmt"
	"time"

	cloudevents "github.com/cloudevents/sdk-go/v2/event"

	"github.com/footfall/footfall/shared/access"
	"github.com/footfall/footfall/shared/broker"
	"github.com/footfall/footfall/shared/event"
	"github.com/footfall/footfall/shared/fault"
	"github.com/footfall/footfall/shared/replay"
	"github.com/footfall/footfall/shared/store"
)

const (
	maxRetry       = replay.MaxRetry
	maxDeadLetters = 1000
	// publishTogether is how many batches one publish has.
	publishTogether = 16
)

// retryAnswer says what became of a page of rejects.
type retryAnswer struct {
	replay.Retried
	Next string `json:"next,omitempty"` // as cursor of the next page; absent at the end
}

// retryRejects tries rejected events again: what is counted now is rejected no
// more. Those that a revision in the shown view rejects are left to another
// reprocess.
func (s *Service) retryRejects(ctx context.Context, in *retryRequest) (a retryAnswer, err error) {
	var m access.Merchant
	if in.Merchant != "" {
		if m, err = s.merchant(ctx, in.Merchant); err != nil {
			return a, err
		}
		book, err := s.book(ctx)
		if err != nil {
			return a, err
		}
		m = m.In(m.View(book))
	}
	limit := in.Limit
	if limit == 0 {
		limit = maxRetry
	}
	from, to := event.HourOf(in.From), event.HourOf(in.To.Add(time.Hour-1))
	a.Retried, a.Next, err = s.retry.Page(ctx, m, from, to, in.Reasons, in.Cursor, limit)
	return a, err
}

// deadLetterAnswer says how many batches were published again.
type deadLetterAnswer struct {
	Published int        `json:"published"`
	Gone      int        `json:"gone"`           // their bytes are not in the journal: they stand in the Broker's topic only
	From      *time.Time `json:"next,omitempty"` // from there on there may be more
}

// retryDeadLetters publishes the batches of a range of arrival that are not
// processed, now and not when the journal's tick would: its pauses grow. The ETL
// counts a batch once, however often it comes.
func (s *Service) retryDeadLetters(ctx context.Context, in *deadLetterRequest) (a deadLetterAnswer, err error) {
	limit := in.Limit
	if limit == 0 {
		limit = maxDeadLetters
	}
	var events []cloudevents.Event
	err = s.eachUnprocessed(ctx, in.From, in.To, func(r *store.JournalRow) (bool, error) {
		if a.Published+len(events) == limit {
			a.From = &r.ReceivedAt
			return false, nil
		}
		asking, cancel := s.call(ctx)
		payload, err := s.Journal.Payload(asking, r.Batch)
		cancel()
		if fault.Is(err, fault.NotFound) {
			a.Gone++
			return true, nil
		}
		if err != nil {
			return false, err
		}
		e, err := broker.AcceptedBatch("/reprocess", r.Batch, r.ReceivedAt, r.PartitionKey, payload)
		if err != nil {
			return false, err
		}
		if events = append(events, e); len(events) == publishTogether {
			err = s.publishBatches(ctx, events, &a)
			events = nil
		}
		return true, err
	})
	if err == nil {
		err = s.publishBatches(ctx, events, &a)
	}
	return a, err
}

func (s *Service) publishBatches(ctx context.Context, events []cloudevents.Event, a *deadLetterAnswer) error {
	if len(events) == 0 {
		return nil
	}
	ctx, cancel := s.call(ctx)
	defer cancel()
	if err := s.Publisher.Publish(ctx, broker.Batches, events...); err != nil {
		return fmt.Errorf("cannot publish %d batches: %w", len(events), err)
	}
	a.Published += len(events)
	return nil
}

// eachUnprocessed calls fn with the rows that arrived in [from, to) and are not
// processed, the oldest first, until it returns false.
func (s *Service) eachUnprocessed(ctx context.Context, from, to time.Time, fn func(*store.JournalRow) (bool, error)) error {
	// The journal lists the oldest first: what is older than the range is passed over.
	for limit := 2 * maxDeadLetters; ; limit *= 4 {
		asking, cancel := s.call(ctx)
		rows, err := s.Journal.Unfinished(asking, store.StageProcessed, time.Time{}, to, limit)
		cancel()
		if err != nil {
			return fmt.Errorf("cannot list batches that are not processed: %w", err)
		}
		if n := len(rows); n == limit && rows[n-1].ReceivedAt.Before(from) {
			continue
		}
		for i := range rows {
			if rows[i].ReceivedAt.Before(from) {
				continue
			}
			if more, err := fn(&rows[i]); err != nil || !more {
				return err
			}
		}
		return nil
	}
}
