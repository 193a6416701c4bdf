package mongo

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	driver "go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/footfall/footfall/shared/fault"
	"github.com/footfall/footfall/shared/function"
)

// conn is a database with what every call keeps to.
type conn struct {
	client   *driver.Client
	db       *driver.Database
	timeout  time.Duration
	patience time.Duration
	now      func() time.Time
	health   *function.Health
}

const (
	maxTries   = 4
	firstPause = 20 * time.Millisecond
	lastPause  = 300 * time.Millisecond
)

// call runs fn within the deadline, and again where that may help: everything
// that the stores do may be done twice. The driver has then tried once more
// already, on another connection. what completes "cannot …".
func (c *conn) call(ctx context.Context, what string, fn func(ctx context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	began := time.Now()
	pause := firstPause
	for try := 1; ; try++ {
		err := ctx.Err()
		if err == nil {
			err = fn(ctx)
		}
		switch {
		case err == nil:
			c.health.Answered()
			return nil
		case try == maxTries || time.Since(began) > c.patience || permanent(err) || !sleep(ctx, pause/2+rand.N(pause/2)):
			return failed(ctx, what, err)
		}
		pause = min(2*pause, lastPause)
	}
}

func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// again is an error that helps the next try: another was quicker, say.
type again string

func (a again) Error() string { return string(a) }

// callerError is the error of a function that was passed to us.
type callerError struct{ error }

func (f callerError) Unwrap() error { return f.error }

// refusals are the codes of errors that are the same the next time, too: what
// was asked is wrong, or we may not ask it.
var refusals = []int{
	2,     // BadValue
	9,     // FailedToParse
	13,    // Unauthorized
	14,    // TypeMismatch
	18,    // AuthenticationFailed
	20,    // IllegalOperation
	26,    // NamespaceNotFound
	40,    // ConflictingUpdateOperators
	59,    // CommandNotFound
	66,    // ImmutableField
	85,    // IndexOptionsConflict
	86,    // IndexKeySpecsConflict
	8000,  // AtlasError: credentials, quotas
	10334, // BSONObjectTooLarge
}

// permanent reports whether it does not help to try again now. That is not
// what the caller is told: a store that refuses us today is an operator's
// matter, and no event may be lost over it.
func permanent(err error) bool {
	var known *fault.Error
	var caller callerError
	if errors.As(err, &known) || errors.As(err, &caller) || errors.Is(err, context.Canceled) {
		return true
	}
	var marshal driver.MarshalError
	if errors.As(err, &marshal) {
		return true
	}
	var server driver.ServerError
	if errors.As(err, &server) {
		for _, code := range refusals {
			if server.HasErrorCode(code) {
				return true
			}
		}
	}
	return false
}

// failed gives an error its kind: that of a fault, or Transient.
func failed(ctx context.Context, what string, err error) error {
	var caller callerError
	if errors.As(err, &caller) {
		return caller.error
	}
	kind := fault.KindOf(err)
	if end := ctx.Err(); end != nil && !errors.Is(err, end) {
		return fault.New(kind, "cannot %s: %w: %w", what, end, err)
	}
	return fault.New(kind, "cannot %s: %w", what, err)
}

const duplicateKey = 11000

// duplicates sorts out the places of an unordered write of which the documents
// were there already; rest is what else went wrong.
func duplicates(err error) (places []int, rest error) {
	var bulk driver.BulkWriteException
	if !errors.As(err, &bulk) || bulk.WriteConcernError != nil {
		return nil, err
	}
	for _, w := range bulk.WriteErrors {
		if w.Code != duplicateKey {
			return nil, err
		}
		places = append(places, w.Index)
	}
	return places, nil
}

// insertNew inserts documents that are not there yet, and returns the places
// of those that are. The server waits for a majority of what it found, too.
func insertNew[T any](ctx context.Context, c *driver.Collection, docs []T) (there []int, err error) {
	if len(docs) == 0 {
		return nil, nil
	}
	_, err = c.InsertMany(ctx, docs, options.InsertMany().SetOrdered(false))
	return duplicates(err)
}

// bulk runs an unordered bulk write; upserts that met one another are tried
// again by call.
func bulk(ctx context.Context, c *driver.Collection, models []driver.WriteModel) (*driver.BulkWriteResult, error) {
	if len(models) == 0 {
		return &driver.BulkWriteResult{}, nil
	}
	return c.BulkWrite(ctx, models, options.BulkWrite().SetOrdered(false))
}

// each decodes every document of a query and passes it on.
func each[T any](ctx context.Context, cursor *driver.Cursor, err error, fn func(*T) error) error {
	if err != nil {
		return err
	}
	for cursor.Next(ctx) {
		var v T
		if err = cursor.Decode(&v); err != nil {
			break
		}
		if err = fn(&v); err != nil {
			break
		}
	}
	if err == nil {
		err = cursor.Err()
	}
	// Closing tells the server to forget a cursor that is not at its end; when
	// the time is up it forgets by itself.
	if closed := cursor.Close(context.WithoutCancel(ctx)); err == nil {
		err = closed
	}
	return err
}

// within is a range of a field: from is in, to is not.
func within[T any](from, to T) bson.D {
	return bson.D{{Key: "$gte", Value: from}, {Key: "$lt", Value: to}}
}

func set(fields bson.D) bson.D { return bson.D{{Key: "$set", Value: fields}} }

func in[T any](values []T) bson.D { return bson.D{{Key: "$in", Value: values}} }

// only is a projection of fields, without the id where it is not named.
func only(fields ...string) bson.D {
	d := bson.D{}
	id := false
	for _, f := range fields {
		d = append(d, bson.E{Key: f, Value: 1})
		id = id || f == "_id"
	}
	if !id {
		d = append(d, bson.E{Key: "_id", Value: 0})
	}
	return d
}

// ascending is the order of an index or a sort.
func ascending(fields ...string) bson.D {
	d := make(bson.D, len(fields))
	for i, f := range fields {
		d[i] = bson.E{Key: f, Value: 1}
	}
	return d
}
