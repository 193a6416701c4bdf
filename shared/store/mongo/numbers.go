package mongo

import (
	"context"
	"errors"
	"sync/atomic"

	"go.mongodb.org/mongo-driver/v2/bson"
	driver "go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
)

// numbers gives each of some rare transactions the next number of a counter.
// Two transactions cannot have written the counter at the same time, so they
// are committed in the order of their numbers, and each sees what all before it
// have done.
type numbers struct {
	*conn
	counters *driver.Collection
	name     string        // of the counter
	above    int64         // the first number is one more
	counting atomic.Bool   // the counter is there
	turn     chan struct{} // one transaction at a time, or ours would only meet each other
}

func newNumbers(c *conn, name string, above int64) *numbers {
	return &numbers{conn: c, counters: c.db.Collection(countersName), name: name, above: above, turn: make(chan struct{}, 1)}
}

type counterDoc struct {
	ID string `bson:"_id"`
	N  int64  `bson:"n"`
}

// change runs fn in a transaction with its number. A transaction that fails
// has taken none.
//
// tried is true when an earlier try may have been committed without our
// learning of it.
func (n *numbers) change(ctx context.Context, what string, fn func(ctx context.Context, number int64, tried bool) error) error {
	return n.changes(ctx, what, 1, fn)
}

// changes is change with several numbers, of which fn is given the last.
func (n *numbers) changes(ctx context.Context, what string, take int, fn func(ctx context.Context, last int64, tried bool) error) error {
	tried := false
	return n.call(ctx, what, func(ctx context.Context) error {
		select {
		case n.turn <- struct{}{}:
			defer func() { <-n.turn }()
		case <-ctx.Done():
			return ctx.Err()
		}
		if !n.counting.Load() {
			if _, err := insertNew(ctx, n.counters, []counterDoc{{ID: n.name, N: n.above}}); err != nil {
				return err
			}
			n.counting.Store(true)
		}
		session, err := n.client.StartSession()
		if err != nil {
			return err
		}
		defer session.EndSession(context.WithoutCancel(ctx))
		_, err = session.WithTransaction(ctx, func(ctx context.Context) (any, error) {
			var c counterDoc
			err := n.counters.FindOneAndUpdate(ctx, bson.D{{Key: "_id", Value: n.name}},
				bson.D{{Key: "$inc", Value: bson.D{{Key: "n", Value: int64(take)}}}}, options.FindOneAndUpdate().SetReturnDocument(options.After)).Decode(&c)
			if errors.Is(err, driver.ErrNoDocuments) {
				n.counting.Store(false)
				return nil, again("the counter has gone")
			}
			if err != nil {
				return nil, err
			}
			return nil, fn(ctx, c.N, tried)
		})
		tried = true
		return err
	})
}
