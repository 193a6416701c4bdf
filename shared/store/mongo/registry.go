package mongo

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"

	"go.mongodb.org/mongo-driver/v2/bson"
	driver "go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/footfall/footfall/shared/access"
	"github.com/footfall/footfall/shared/fault"
	"github.com/footfall/footfall/shared/store"
)

// registry keeps a merchant as JSON beside its version and the number of its
// last change, and who has a measurement id in a collection of their own, of
// which the ids are unique on any number of shards.
//
// A change is one transaction of a few documents: it is rare, and whoever
// dies in it leaves nothing behind, no claim to a measurement id above all. Its
// first write takes the next number from the one counter of changes: they are
// committed in the order of their numbers, and who lists what came after a
// number misses none.
type registry struct {
	*numbers
	merchants, streams, secrets *driver.Collection
}

func newRegistry(c *conn) *registry {
	return &registry{
		numbers: newNumbers(c, changesCounter, 0), merchants: c.db.Collection(merchantsName), streams: c.db.Collection(streamsName),
		secrets: c.db.Collection(secretsName),
	}
}

type merchantDoc struct {
	ID      string `bson:"_id"`
	Version int64  `bson:"version"`
	Seq     int64  `bson:"seq"`
	JSON    string `bson:"merchant"`
}

type streamDoc struct {
	ID       string `bson:"_id"` // measurement id
	Merchant string `bson:"merchant"`
}

const changesCounter = "changes"

func merchantDocOf(m *access.Merchant, seq int64) (merchantDoc, error) {
	b, err := json.Marshal(m)
	return merchantDoc{ID: text(m.ID), Version: int64(m.Version), Seq: seq, JSON: string(b)}, err
}

func (d *merchantDoc) merchant() (m access.Merchant, err error) {
	if err := json.Unmarshal([]byte(d.JSON), &m); err != nil {
		return m, fmt.Errorf("cannot read merchant %q: %w", d.ID, err)
	}
	m.ID = untext(d.ID)
	return m, nil
}

// claim gives streams to a merchant.
func (r *registry) claim(ctx context.Context, m *access.Merchant, streams []string) error {
	if len(streams) == 0 {
		return nil
	}
	docs := make([]streamDoc, len(streams))
	for i, s := range streams {
		docs[i] = streamDoc{text(s), text(m.ID)}
	}
	_, err := r.streams.InsertMany(ctx, docs)
	if driver.IsDuplicateKeyError(err) {
		return fault.New(fault.Conflict, "a measurement id is taken")
	}
	return err
}

func streamsOf(m *access.Merchant) []string {
	ids := make([]string, len(m.Streams))
	for i, s := range m.Streams {
		ids[i] = s.MeasurementID
	}
	return ids
}

// without are the elements of a that are not in b.
func without(a, b []string) []string {
	return slices.DeleteFunc(slices.Clone(a), func(s string) bool { return slices.Contains(b, s) })
}

// twice reports a measurement id that a merchant names twice.
func twice(m *access.Merchant) error {
	ids := slices.Sorted(slices.Values(streamsOf(m)))
	for i := 1; i < len(ids); i++ {
		if ids[i] == ids[i-1] {
			return fault.New(fault.Conflict, "measurement id %q is taken", ids[i])
		}
	}
	return nil
}

// CreateMerchant implements store.Registry.
func (r *registry) CreateMerchant(ctx context.Context, m access.Merchant) error {
	if m.ID == "" {
		return fault.Field("merchant_id", "an id")
	}
	if err := twice(&m); err != nil {
		return err
	}
	return r.change(ctx, fmt.Sprintf("create merchant %q", m.ID), func(ctx context.Context, seq int64, tried bool) error {
		d, err := merchantDocOf(&m, seq)
		if err != nil {
			return err
		}
		if tried && r.holds(ctx, &d) {
			return nil
		}
		if _, err := r.merchants.InsertOne(ctx, d); err != nil {
			if driver.IsDuplicateKeyError(err) {
				return fault.New(fault.Conflict, "its id is taken")
			}
			return err
		}
		return r.claim(ctx, &m, streamsOf(&m))
	})
}

// CreateMerchants implements store.Registry. The numbers of those that are
// taken stay unused.
func (r *registry) CreateMerchants(ctx context.Context, ms []access.Merchant) (taken []int, err error) {
	if err := store.CheckCreations(ms); err != nil || len(ms) == 0 {
		return nil, err
	}
	err = r.changes(ctx, fmt.Sprintf("create %d merchants", len(ms)), len(ms), func(ctx context.Context, last int64, tried bool) error {
		merchants := make([]merchantDoc, len(ms))
		for i := range ms {
			d, err := merchantDocOf(&ms[i], last-int64(len(ms)-1-i))
			if err != nil {
				return err
			}
			merchants[i] = d
		}
		found, owners, err := r.those(ctx, ms)
		if err != nil {
			return err
		}
		taken = nil
		var newMerchants []merchantDoc
		var newStreams []streamDoc
		for i := range ms {
			m, d := &ms[i], &merchants[i]
			if was, ok := found[d.ID]; ok && tried && was.Version == d.Version && was.JSON == d.JSON {
				continue // the earlier try was committed
			}
			_, there := found[d.ID]
			if there || twice(m) != nil || slices.ContainsFunc(m.Streams, func(s access.Stream) bool { return owners[s.MeasurementID] }) {
				taken = append(taken, i)
				continue
			}
			found[d.ID] = *d
			newMerchants = append(newMerchants, *d)
			for _, s := range m.Streams {
				owners[s.MeasurementID] = true
				newStreams = append(newStreams, streamDoc{text(s.MeasurementID), d.ID})
			}
		}
		if len(newMerchants) == 0 {
			return nil
		}
		if _, err := r.merchants.InsertMany(ctx, newMerchants); err != nil {
			return takenMeanwhile(err)
		}
		if len(newStreams) > 0 {
			_, err = r.streams.InsertMany(ctx, newStreams)
		}
		return takenMeanwhile(err)
	})
	return taken, err
}

// takenMeanwhile is the error of an insert into what a transaction has seen to
// be free: whoever tries again sees who has it.
func takenMeanwhile(err error) error {
	if driver.IsDuplicateKeyError(err) {
		return again("an id was taken meanwhile")
	}
	return err
}

// those finds which of merchants are there, by id, and which of their
// measurement ids have an owner.
func (r *registry) those(ctx context.Context, ms []access.Merchant) (map[string]merchantDoc, map[string]bool, error) {
	ids := make([]string, len(ms))
	var streams []string
	for i := range ms {
		ids[i] = text(ms[i].ID)
		streams = append(streams, texts(streamsOf(&ms[i]))...)
	}
	found, owners := map[string]merchantDoc{}, map[string]bool{}
	cursor, err := r.merchants.Find(ctx, bson.D{{Key: "_id", Value: in(ids)}})
	err = each(ctx, cursor, err, func(d *merchantDoc) error {
		found[d.ID] = *d
		return nil
	})
	if err != nil {
		return nil, nil, err
	}
	cursor, err = r.streams.Find(ctx, bson.D{{Key: "_id", Value: in(streams)}})
	return found, owners, each(ctx, cursor, err, func(d *streamDoc) error {
		owners[untext(d.ID)] = true
		return nil
	})
}

func (r *registry) find(ctx context.Context, id string) (m access.Merchant, err error) {
	var d merchantDoc
	err = r.merchants.FindOne(ctx, bson.D{{Key: "_id", Value: text(id)}}).Decode(&d)
	if errors.Is(err, driver.ErrNoDocuments) {
		return m, fault.New(fault.NotFound, "there is no merchant %q", id)
	}
	if err != nil {
		return m, err
	}
	return d.merchant()
}

// holds reports whether a merchant stands there as we would write it.
func (r *registry) holds(ctx context.Context, d *merchantDoc) bool {
	var found merchantDoc
	err := r.merchants.FindOne(ctx, bson.D{{Key: "_id", Value: d.ID}}).Decode(&found)
	return err == nil && found.Version == d.Version && found.JSON == d.JSON
}

// Merchant implements store.Registry.
func (r *registry) Merchant(ctx context.Context, id string) (m access.Merchant, err error) {
	err = r.call(ctx, fmt.Sprintf("read merchant %q", id), func(ctx context.Context) (err error) {
		m, err = r.find(ctx, id)
		return err
	})
	return m, err
}

// MerchantByStream implements store.Registry.
func (r *registry) MerchantByStream(ctx context.Context, measurementID string) (m access.Merchant, err error) {
	err = r.call(ctx, fmt.Sprintf("find the merchant of stream %q", measurementID), func(ctx context.Context) error {
		var s streamDoc
		err := r.streams.FindOne(ctx, bson.D{{Key: "_id", Value: text(measurementID)}}).Decode(&s)
		if errors.Is(err, driver.ErrNoDocuments) {
			return fault.New(fault.NotFound, "there is no such stream")
		}
		if err != nil {
			return err
		}
		if m, err = r.find(ctx, untext(s.Merchant)); err != nil {
			return err
		}
		if !slices.Contains(streamsOf(&m), measurementID) {
			return fault.New(fault.NotFound, "there is no such stream") // it went between the two
		}
		return nil
	})
	if err != nil {
		return access.Merchant{}, err
	}
	return m, nil
}

// UpdateMerchant implements store.Registry.
func (r *registry) UpdateMerchant(ctx context.Context, m access.Merchant) error {
	if err := twice(&m); err != nil {
		return err
	}
	expected := m.Version
	return r.change(ctx, fmt.Sprintf("update merchant %q", m.ID), func(ctx context.Context, seq int64, tried bool) error {
		m.Version = expected + 1
		d, err := merchantDocOf(&m, seq)
		if err != nil {
			return err
		}
		if tried && r.holds(ctx, &d) {
			return nil
		}
		old, err := r.find(ctx, m.ID)
		if err != nil {
			return err
		}
		if old.Version != expected {
			return fault.New(fault.Conflict, "it has changed: expected version %d, found %d", expected, old.Version)
		}
		before, after := streamsOf(&old), streamsOf(&m)
		if gone := without(before, after); len(gone) > 0 {
			own := bson.D{{Key: "_id", Value: in(texts(gone))}, {Key: "merchant", Value: text(m.ID)}}
			if _, err := r.streams.DeleteMany(ctx, own); err != nil {
				return err
			}
		}
		if err := r.claim(ctx, &m, without(after, before)); err != nil {
			return err
		}
		_, err = r.merchants.ReplaceOne(ctx, bson.D{{Key: "_id", Value: d.ID}}, d)
		return err
	})
}

// Changes implements store.Registry. A cursor is the number of the last change
// that was listed.
func (r *registry) Changes(ctx context.Context, cursor string, limit int) (changed []access.Merchant, next string, err error) {
	var seq int64
	if cursor != "" {
		if seq, err = strconv.ParseInt(cursor, 10, 64); err != nil {
			return nil, "", fault.Field("cursor", "what the last call returned as next")
		}
	}
	if limit <= 0 {
		return nil, cursor, nil
	}
	next = cursor
	err = r.call(ctx, "list changed merchants", func(ctx context.Context) error {
		changed, next = nil, cursor
		found, err := r.merchants.Find(ctx, bson.D{{Key: "seq", Value: bson.D{{Key: "$gt", Value: seq}}}},
			options.Find().SetSort(ascending("seq")).SetLimit(int64(limit)))
		return each(ctx, found, err, func(d *merchantDoc) error {
			m, err := d.merchant()
			if err != nil {
				return err
			}
			changed, next = append(changed, m), strconv.FormatInt(d.Seq, 10)
			return nil
		})
	})
	if err != nil {
		return nil, cursor, err
	}
	return changed, next, nil
}

type secretDoc struct {
	ID    string `bson:"_id"`
	Value []byte `bson:"value"`
}

// Secret implements store.Registry: whose insert is first has made it, and all
// take what a majority holds.
func (r *registry) Secret(ctx context.Context, name string, make func() ([]byte, error)) (secret []byte, err error) {
	err = r.call(ctx, fmt.Sprintf("read secret %q", name), func(ctx context.Context) error {
		read := func() error {
			var d secretDoc
			err := r.secrets.FindOne(ctx, bson.D{{Key: "_id", Value: text(name)}}).Decode(&d)
			secret = d.Value
			return err
		}
		err := read()
		if !errors.Is(err, driver.ErrNoDocuments) {
			return err
		}
		made, err := make()
		if err != nil {
			return callerError{fmt.Errorf("cannot make secret %q: %w", name, err)}
		}
		if _, err := insertNew(ctx, r.secrets, []secretDoc{{text(name), made}}); err != nil {
			return err
		}
		if err = read(); errors.Is(err, driver.ErrNoDocuments) {
			return again("a majority does not hold the secret yet")
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return secret, nil
}

var _ store.Registry = (*registry)(nil)
