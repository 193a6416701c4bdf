package mongo

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"go.mongodb.org/mongo-driver/v2/bson"
	driver "go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/footfall/footfall/shared/erasure"
	"github.com/footfall/footfall/shared/fault"
)

// erasures keeps them as JSON beside what they are looked for by. Each write is
// one of one document.
type erasures struct {
	*conn
	c *driver.Collection
}

func newErasures(c *conn) *erasures { return &erasures{c, c.db.Collection(erasuresName)} }

type erasureDoc struct {
	ID       string `bson:"_id"`
	Merchant string `bson:"m"`
	Version  int64  `bson:"version"`
	Open     bool   `bson:"open"`
	JSON     string `bson:"erasure"`
}

func erasureDocOf(e *erasure.Erasure) (erasureDoc, error) {
	doc, err := json.Marshal(e)
	return erasureDoc{text(e.ID), text(e.Merchant), int64(e.Version), e.Open(), string(doc)}, err
}

func (d *erasureDoc) erasure() (e erasure.Erasure, err error) {
	if err := json.Unmarshal([]byte(d.JSON), &e); err != nil {
		return e, fmt.Errorf("cannot read erasure %q: %w", d.ID, err)
	}
	return e, nil
}

// CreateErasure implements store.Erasures.
func (s *erasures) CreateErasure(ctx context.Context, e erasure.Erasure) error {
	e.Version = 1
	d, err := erasureDocOf(&e)
	if err != nil {
		return err
	}
	tried := false
	return s.call(ctx, "create an erasure", func(ctx context.Context) error {
		there, err := insertNew(ctx, s.c, []erasureDoc{d})
		if err != nil || len(there) == 0 {
			tried = true
			return err
		}
		var found erasureDoc
		if err := s.c.FindOne(ctx, bson.D{{Key: "_id", Value: d.ID}}).Decode(&found); err != nil {
			return err
		}
		if tried && found == d {
			return nil // an earlier try was whole
		}
		return fault.New(fault.Conflict, "there is an erasure %q", e.ID)
	})
}

// Erasure implements store.Erasures.
func (s *erasures) Erasure(ctx context.Context, merchant, id string) (e erasure.Erasure, err error) {
	err = s.call(ctx, "read an erasure", func(ctx context.Context) error {
		d, err := s.find(ctx, merchant, id)
		if err == nil {
			e, err = d.erasure()
		}
		return err
	})
	return e, err
}

func (s *erasures) find(ctx context.Context, merchant, id string) (d erasureDoc, err error) {
	err = s.c.FindOne(ctx, bson.D{{Key: "_id", Value: text(id)}, {Key: "m", Value: text(merchant)}}).Decode(&d)
	if errors.Is(err, driver.ErrNoDocuments) {
		err = fault.New(fault.NotFound, "there is no erasure %q", id)
	}
	return d, err
}

// Erasures implements store.Erasures.
func (s *erasures) Erasures(ctx context.Context, merchant, after string, limit int) ([]erasure.Erasure, error) {
	return s.list(ctx, "list erasures", bson.D{{Key: "m", Value: text(merchant)}}, after, limit)
}

// OpenErasures implements store.Erasures.
func (s *erasures) OpenErasures(ctx context.Context, after string, limit int) ([]erasure.Erasure, error) {
	return s.list(ctx, "list open erasures", bson.D{{Key: "open", Value: true}}, after, limit)
}

func (s *erasures) list(ctx context.Context, what string, filter bson.D, after string, limit int) (list []erasure.Erasure, err error) {
	if limit <= 0 {
		return nil, nil
	}
	filter = append(filter, bson.E{Key: "_id", Value: bson.D{{Key: "$gt", Value: text(after)}}})
	err = s.call(ctx, what, func(ctx context.Context) error {
		list = nil
		cursor, err := s.c.Find(ctx, filter, options.Find().SetSort(ascending("_id")).SetLimit(int64(limit)))
		return each(ctx, cursor, err, func(d *erasureDoc) error {
			e, err := d.erasure()
			list = append(list, e)
			return err
		})
	})
	if err != nil {
		return nil, err
	}
	return list, nil
}

// UpdateErasure implements store.Erasures.
func (s *erasures) UpdateErasure(ctx context.Context, e erasure.Erasure) error {
	expected := int64(e.Version)
	e.Version++
	d, err := erasureDocOf(&e)
	if err != nil {
		return err
	}
	tried := false
	return s.call(ctx, "update an erasure", func(ctx context.Context) error {
		res, err := s.c.UpdateOne(ctx, bson.D{{Key: "_id", Value: d.ID}, {Key: "m", Value: d.Merchant}, {Key: "version", Value: expected}},
			set(bson.D{{Key: "version", Value: d.Version}, {Key: "open", Value: d.Open}, {Key: "erasure", Value: d.JSON}}))
		if err != nil || res.MatchedCount > 0 {
			tried = true
			return err
		}
		found, err := s.find(ctx, e.Merchant, e.ID)
		if err != nil {
			return err
		}
		if tried && found == d {
			return nil // an earlier try was whole
		}
		return fault.New(fault.Conflict, "it has changed: expected version %d, found %d", expected, found.Version)
	})
}
