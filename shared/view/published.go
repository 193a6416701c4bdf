package view

import (
	"context"
	"fmt"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"

	"github.com/footfall/footfall/shared/revision"
)

// Publications knows what was ever published; store.Revisions is one.
type Publications interface {
	Publications(ctx context.Context) (revision.Publications, error)
}

// Published keeps what a source says for a moment, for every report asks. A flip
// is written some seconds before its instant, so that whoever reads within that
// time shows it at that instant.
type Published struct {
	source Publications
	age    time.Duration
	clock  func() time.Time
	flight singleflight.Group

	mu    sync.Mutex
	known revision.Publications
	until time.Time
}

// readTimeout is for one question to the source.
const readTimeout = 5 * time.Second

// NewPublished asks a source again when its answer is older than age.
func NewPublished(source Publications, age time.Duration, clock func() time.Time) *Published {
	return &Published{source: source, age: age, clock: clock}
}

// Publications are what the source said at most an age ago. They are read only.
func (r *Published) Publications(ctx context.Context) (revision.Publications, error) {
	now := r.clock()
	r.mu.Lock()
	known, fresh := r.known, now.Before(r.until)
	r.mu.Unlock()
	if fresh {
		return known, nil
	}
	result := r.flight.DoChan("", func() (any, error) {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), readTimeout)
		defer cancel()
		list, err := r.source.Publications(ctx)
		if err != nil {
			return nil, fmt.Errorf("cannot tell what is published: %w", err)
		}
		r.mu.Lock()
		r.known, r.until = list, now.Add(r.age)
		r.mu.Unlock()
		return list, nil
	})
	select {
	case r := <-result:
		if r.Err != nil {
			return nil, r.Err
		}
		return r.Val.(revision.Publications), nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// Book is what is published now.
func (r *Published) Book(ctx context.Context) (revision.Book, error) {
	list, err := r.Publications(ctx)
	if err != nil {
		return revision.Book{}, err
	}
	return list.At(r.clock()), nil
}
