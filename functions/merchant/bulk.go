package merchant

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/footfall/footfall/shared/access"
	"github.com/footfall/footfall/shared/fault"
	"github.com/footfall/footfall/shared/function"
	"github.com/footfall/footfall/shared/store"
)

// Limits of a request that creates many merchants.
const (
	maxCreationsBody = 4 << 20
	creationsTimeout = 30 * time.Second
	readAtOnce       = 8 // merchants that exist already
)

// keyedInput is one merchant of many that are created.
type keyedInput struct {
	Key optional[string] `json:"idempotency_key"`
	input
}

// outcome is what became of one of them: "created", "existing" or "refused".
type outcome struct {
	Status   string            `json:"status"`
	Merchant *merchantView     `json:"merchant,omitempty"` // with secrets where it was created
	Error    *function.Problem `json:"error,omitempty"`    // of a refused one
}

type outcomes struct {
	Created  int       `json:"created"`
	Existing int       `json:"existing"`
	Refused  int       `json:"refused"`
	Results  []outcome `json:"results"` // in the order of the request
}

// createMany creates up to store.MaxCreations merchants. What is wrong with one
// is told in its place; the others are created.
func (s *Service) createMany(ctx context.Context, r *http.Request) (answer, error) {
	var in struct {
		Merchants []json.RawMessage `json:"merchants"`
	}
	if err := readBody(r, &in, "merchants"); err != nil {
		return answer{}, err
	}
	if len(in.Merchants) == 0 || len(in.Merchants) > store.MaxCreations {
		return answer{}, fault.Field("merchants", fmt.Sprintf("1 to %d merchants", store.MaxCreations))
	}
	out := outcomes{Results: make([]outcome, len(in.Merchants))}
	inputs := make([]keyedInput, len(in.Merchants))
	var open []int // places of those that are neither made nor refused
	for i, one := range in.Merchants {
		if err := inputs[i].read(one); err != nil {
			out.refuse(i, err)
			continue
		}
		open = append(open, i)
	}
	for try := 1; len(open) > 0; try++ {
		var err error
		if open, err = s.createThose(ctx, inputs, open, &out); err != nil {
			return answer{}, err
		}
		if try == maxConflicts && len(open) > 0 { // random ids do not collide this often
			return answer{}, fault.New(fault.Transient, "cannot find free ids for %d merchants", len(open))
		}
	}
	for i := range out.Results {
		switch out.Results[i].Status {
		case statusCreated:
			out.Created++
		case statusExisting:
			out.Existing++
		default:
			out.Refused++
		}
	}
	return answer{status: http.StatusOK, body: out}, nil
}

const (
	statusCreated  = "created"
	statusExisting = "existing"
	statusRefused  = "refused"
)

func (in *keyedInput) read(data []byte) error {
	const expected = "a text of 1 to 255 bytes, the merchant's own"
	if err := object(data, in, "idempotency_key, "+inputFields); err != nil {
		return err
	}
	key := ""
	if err := set(&key, in.Key, "", "idempotency_key", expected); err != nil {
		return err
	}
	if key == "" || len(key) > maxKey {
		return fault.Field("idempotency_key", expected)
	}
	return nil
}

// refuse notes that the merchant in a place is not made.
func (o *outcomes) refuse(place int, err error) {
	at := fmt.Sprintf("merchants[%d]", place)
	var f *fault.Error
	if errors.As(err, &f) && f.Field != "" {
		field := at + "." + f.Field
		if f.Field == "body" { // it is no object
			field = at
		}
		err = fault.Field(field, f.Expected)
	}
	p := function.ProblemOf(err)
	o.Results[place] = outcome{Status: statusRefused, Error: &p}
}

// createThose makes the merchants in some places, and returns those whose ids of
// chance were taken.
func (s *Service) createThose(ctx context.Context, inputs []keyedInput, places []int, out *outcomes) (again []int, err error) {
	var made []creation
	var at []int // their places
	for _, i := range places {
		c, err := s.creation(&inputs[i].input, inputs[i].Key.value)
		if err != nil {
			out.refuse(i, err)
			continue
		}
		made, at = append(made, c), append(at, i)
	}
	ms := make([]access.Merchant, len(made))
	for i := range made {
		ms[i] = made[i].merchant
	}
	taken, err := s.registry.CreateMerchants(ctx, ms)
	if err != nil {
		return nil, err
	}
	existing := make([]*access.Merchant, len(taken))
	group, reading := errgroup.WithContext(ctx)
	group.SetLimit(readAtOnce)
	for k, i := range taken {
		group.Go(func() error {
			m, err := s.registry.Merchant(reading, ms[i].ID)
			if err == nil {
				existing[k] = &m
			} else if fault.Is(err, fault.NotFound) {
				return nil // another has one of its measurement ids
			}
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	book, err := s.published.Book(ctx)
	if err != nil {
		return nil, err
	}
	for i := range made {
		k, isTaken := slices.BinarySearch(taken, i)
		switch {
		case !isTaken:
			v := made[i].view()
			out.Results[at[i]] = outcome{Status: statusCreated, Merchant: &v}
		case existing[k] != nil:
			v := viewOf(*existing[k], book)
			out.Results[at[i]] = outcome{Status: statusExisting, Merchant: &v}
		default:
			again = append(again, at[i])
		}
	}
	return again, nil
}
