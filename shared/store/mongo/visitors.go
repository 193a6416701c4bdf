package mongo

import (
	"context"
	"encoding/binary"
	"errors"
	"math"
	"slices"

	"go.mongodb.org/mongo-driver/v2/bson"
	driver "go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
	"golang.org/x/sync/errgroup"

	"github.com/footfall/footfall/shared/fault"
)

// visitors keeps a document per user of a merchant's generation. FirstSeen costs a
// query for each 500 users, a few of them at once, and See one insert of those who
// are new and one update of those who were seen earlier than known.
type visitors struct {
	*conn
	c *driver.Collection
}

func newVisitors(c *conn) *visitors { return &visitors{c, c.db.Collection(visitorsName)} }

// visitorPrefix is what all keys of a merchant's generation begin with: the
// merchant, and the generation in 4 bytes. What follows are 8 bytes, so that a
// key is of one merchant whatever its id.
type visitorPrefix []byte

func visitorsOf(merchant string, generation uint32) visitorPrefix {
	return binary.BigEndian.AppendUint32([]byte(merchant), generation)
}

func (p visitorPrefix) key(user uint64) bson.Binary {
	return bson.Binary{Data: binary.BigEndian.AppendUint64(slices.Clip(p), user)}
}

func userOf(key bson.Binary) uint64 {
	return binary.BigEndian.Uint64(key.Data[max(0, len(key.Data)-8):])
}

type visitorDoc struct {
	ID    bson.Binary `bson:"_id"`
	First int64       `bson:"at"` // ms since the Unix epoch
}

const never = int64(math.MaxInt64)

// asksAtOnce bounds the queries of one call that are under way.
const asksAtOnce = 8

// FirstSeen implements store.Visitors.
func (v *visitors) FirstSeen(ctx context.Context, merchant string, generation uint32, users []uint64) (millis []int64, err error) {
	err = v.call(ctx, "look up visitors", func(ctx context.Context) error {
		known, err := v.known(ctx, visitorsOf(merchant, generation), users)
		if err != nil {
			return err
		}
		millis = make([]int64, len(users))
		for i, u := range users {
			millis[i] = known.of(u)
		}
		return nil
	})
	return millis, err
}

type firstSeen map[uint64]int64

func (f firstSeen) of(user uint64) int64 {
	if at, ok := f[user]; ok {
		return at
	}
	return never
}

func (v *visitors) known(ctx context.Context, of visitorPrefix, users []uint64) (firstSeen, error) {
	users = slices.Compact(slices.Sorted(slices.Values(users)))
	var parts [][]uint64
	for part := range slices.Chunk(users, inChunk) {
		parts = append(parts, part)
	}
	found := make([][]visitorDoc, len(parts))
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(asksAtOnce)
	for i, part := range parts {
		group.Go(func() error {
			keys := make([]bson.Binary, len(part))
			for n, u := range part {
				keys[n] = of.key(u)
			}
			cursor, err := v.c.Find(ctx, bson.D{{Key: "_id", Value: in(keys)}})
			return each(ctx, cursor, err, func(d *visitorDoc) error {
				found[i] = append(found[i], *d)
				return nil
			})
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	known := make(firstSeen, len(users))
	for _, docs := range found {
		for _, d := range docs {
			known[userOf(d.ID)] = d.First
		}
	}
	return known, nil
}

// seeTries is how often See looks again at users whom another call has seen at
// the same time.
const seeTries = 10

// See implements store.Visitors. A user is new to the one call that inserts it,
// and lowered by the one call that finds what it names. Users whom another call was at
// meanwhile are read again, to be told.
//
// Interrupted, some users are recorded and others not. The caller's marks are
// still on, so it comes again.
func (v *visitors) See(ctx context.Context, merchant string, generation uint32, users []uint64, millis, known []int64) ([]int64, error) {
	if len(users) != len(millis) {
		return nil, fault.Field("millis", "as many as users")
	}
	if known != nil && len(known) != len(users) {
		return nil, fault.Field("known", "as many as users, or none")
	}
	lowest, named := make(map[uint64]int64, len(users)), make(firstSeen, len(known))
	for i, u := range users {
		if at, again := lowest[u]; !again || millis[i] < at {
			lowest[u] = millis[i]
		}
		if known != nil {
			named[u] = known[i]
		}
	}
	// What is known of a user is kept over tries: a try that failed may have
	// written, and would find its own instants there.
	before := make(firstSeen, len(lowest))
	s := seeing{visitors: v, of: visitorsOf(merchant, generation), lowest: lowest, named: named, before: before}
	if err := v.call(ctx, "remember visitors", s.see); err != nil {
		return nil, err
	}
	out := make([]int64, len(users))
	for i, u := range users {
		out[i] = before.of(u)
	}
	return out, nil
}

type seeing struct {
	*visitors
	of     visitorPrefix
	lowest map[uint64]int64
	named  firstSeen // what may be lowered
	before firstSeen // of users who are done
	// maybe is what stood there of users whose write may have happened; nil before the
	// first one.
	maybe firstSeen
}

func (s *seeing) see(ctx context.Context) error {
	for range seeTries {
		var left []uint64
		for u := range s.lowest {
			if _, done := s.before[u]; !done {
				left = append(left, u)
			}
		}
		if len(left) == 0 {
			return nil
		}
		slices.Sort(left)
		known, err := s.stands(ctx, left)
		if err != nil {
			return err
		}
		var fresh, earlier []uint64
		for _, u := range left {
			at, mine := known.of(u), s.lowest[u]
			stood, tried := s.maybe[u]
			switch {
			case tried && at == mine:
				s.before[u] = stood // by our own write, or by one that says the same
			case at <= mine, at != s.named.of(u):
				s.before[u] = at // seen before, or it is not what may be lowered
			case at == never:
				fresh = append(fresh, u)
			default:
				earlier = append(earlier, u)
			}
		}
		s.maybe = make(firstSeen, len(fresh)+len(earlier))
		for _, u := range fresh {
			s.maybe[u] = never
		}
		for _, u := range earlier {
			s.maybe[u] = known[u]
		}
		if err := s.insert(ctx, fresh); err != nil {
			return err
		}
		if err := s.lower(ctx, earlier, known); err != nil {
			return err
		}
	}
	return again("other calls keep seeing the same visitors")
}

// stands is what stands there of users: at first what the caller names is taken for it where
// that is to be lowered, for the writes tell whether it is.
func (s *seeing) stands(ctx context.Context, users []uint64) (firstSeen, error) {
	if s.maybe != nil {
		return s.known(ctx, s.of, users)
	}
	known, err := s.known(ctx, s.of, slices.DeleteFunc(slices.Clone(users), func(u uint64) bool { return s.lowest[u] < s.named.of(u) }))
	for _, u := range users {
		if at, named := s.named[u]; err == nil && named && s.lowest[u] < at {
			known[u] = at
		}
	}
	return known, err
}

// insert records users who are not known.
func (s *seeing) insert(ctx context.Context, users []uint64) error {
	docs := make([]visitorDoc, len(users))
	for i, u := range users {
		docs[i] = visitorDoc{s.of.key(u), s.lowest[u]}
	}
	there, err := insertNew(ctx, s.c, docs)
	if err != nil {
		return err
	}
	for _, at := range there {
		delete(s.maybe, users[at]) // another's
	}
	for _, u := range users {
		if _, ours := s.maybe[u]; ours {
			s.before[u] = never
		}
	}
	return nil
}

// lower writes earlier instants over those that were read.
func (s *seeing) lower(ctx context.Context, users []uint64, known firstSeen) error {
	models := make([]driver.WriteModel, len(users))
	for i, u := range users {
		filter := bson.D{{Key: "_id", Value: s.of.key(u)}, {Key: "at", Value: known[u]}}
		models[i] = driver.NewUpdateOneModel().SetFilter(filter).SetUpdate(bson.D{{Key: "$min", Value: bson.D{{Key: "at", Value: s.lowest[u]}}}})
	}
	res, err := bulk(ctx, s.c, models)
	if err != nil {
		return err
	}
	if res.MatchedCount == int64(len(users)) {
		for _, u := range users {
			s.before[u] = known[u]
		}
	} // else the next round tells whose write was ours
	return nil
}

// Forget implements store.Visitors.
func (v *visitors) Forget(ctx context.Context, merchant string, generation uint32, users []uint64) error {
	of := visitorsOf(merchant, generation)
	for part := range slices.Chunk(users, inChunk) {
		keys := make([]bson.Binary, len(part))
		for i, u := range part {
			keys[i] = of.key(u)
		}
		if err := v.call(ctx, "forget some visitors", func(ctx context.Context) error {
			_, err := v.c.DeleteMany(ctx, bson.D{{Key: "_id", Value: in(keys)}})
			return err
		}); err != nil {
			return err
		}
	}
	return nil
}

// dropUsers is how many users one delete forgets.
const dropUsers = 2000

// Drop implements store.Visitors: in portions, none of which takes a deadline's
// length.
func (v *visitors) Drop(ctx context.Context, merchant string, generation uint32) error {
	of := visitorsOf(merchant, generation)
	one := options.FindOne().SetSort(ascending("_id")).SetSkip(dropUsers)
	for from, more := uint64(0), true; more; {
		err := v.call(ctx, "forget visitors", func(ctx context.Context) error {
			ids := bson.D{{Key: "$gte", Value: of.key(from)}, {Key: "$lte", Value: of.key(math.MaxUint64)}}
			var next visitorDoc
			err := v.c.FindOne(ctx, bson.D{{Key: "_id", Value: ids}}, one).Decode(&next)
			if err == nil {
				ids[1] = bson.E{Key: "$lt", Value: next.ID}
			} else if !errors.Is(err, driver.ErrNoDocuments) {
				return err
			}
			if _, err := v.c.DeleteMany(ctx, bson.D{{Key: "_id", Value: ids}}); err != nil {
				return err
			}
			if more = err == nil; more {
				from = userOf(next.ID)
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}
