package merchant

import (
	"context"
	"encoding/hex"
	"net/http"
	"time"

	"github.com/footfall/footfall/shared/erasure"
	"github.com/footfall/footfall/shared/event"
)

const erasureFields = "client_id, user_id, reason, by"

// eraseSomebody takes the wish to erase a person; function reprocess grants it.
func (s *Service) eraseSomebody(ctx context.Context, r *http.Request) (answer, error) {
	var in erasure.Request
	if err := readBody(r, &in, erasureFields); err != nil {
		return answer{}, err
	}
	if err := in.Validate(); err != nil {
		return answer{}, err
	}
	m, err := s.registry.Merchant(ctx, r.PathValue("id"))
	if err != nil {
		return answer{}, err
	}
	now := s.now()
	id, err := event.NewBatchIDAt(now) // of time and of chance: lists go by time
	if err != nil {
		return answer{}, err
	}
	e := erasure.Erasure{
		ID: "e" + hex.EncodeToString(id[:]), Version: 1, Merchant: m.ID, Person: erasure.Person{Client: in.ClientID, User: in.UserID},
		Reason: in.Reason, By: in.By, RequestedAt: now, State: erasure.Waiting, Since: now,
	}
	if e.Subject, err = e.Person.Subject(); err != nil {
		return answer{}, err
	}
	if err := s.erasures.CreateErasure(ctx, e); err != nil {
		return answer{}, err
	}
	return answer{status: http.StatusAccepted, body: viewOfErasure(e), location: location(m.ID) + "/erasures/" + e.ID}, nil
}

func (s *Service) getErasure(ctx context.Context, r *http.Request) (answer, error) {
	e, err := s.erasures.Erasure(ctx, r.PathValue("id"), r.PathValue("erasure"))
	if err != nil {
		return answer{}, err
	}
	return answer{status: http.StatusOK, body: viewOfErasure(e)}, nil
}

func (s *Service) listErasures(ctx context.Context, r *http.Request) (answer, error) {
	limit, err := pageLimit(r)
	if err != nil {
		return answer{}, err
	}
	list, err := s.erasures.Erasures(ctx, r.PathValue("id"), r.FormValue("cursor"), limit)
	if err != nil {
		return answer{}, err
	}
	page := struct {
		Erasures []erasureView `json:"erasures"`
		Next     string        `json:"next,omitempty"` // as cursor of the next page; absent at the end
	}{Erasures: make([]erasureView, len(list))}
	for i := range list {
		page.Erasures[i] = viewOfErasure(list[i])
	}
	if len(list) == limit {
		page.Next = list[limit-1].ID
	}
	return answer{status: http.StatusOK, body: page}, nil
}

// erasureView is an erasure as answers show it: without the person's name.
type erasureView struct {
	ID          string        `json:"id"`
	Merchant    string        `json:"merchant_id"`
	Subject     string        `json:"subject"`
	Reason      string        `json:"reason"`
	By          string        `json:"by,omitempty"`
	RequestedAt time.Time     `json:"requested_at"`
	State       erasure.State `json:"state"`
	Since       time.Time     `json:"since"`
	WaitingFor  string        `json:"waiting_for,omitempty"`
	Proof       erasure.Proof `json:"proof"`
	Problems    []string      `json:"problems,omitempty"`
}

func viewOfErasure(e erasure.Erasure) erasureView {
	return erasureView{
		ID: e.ID, Merchant: e.Merchant, Subject: e.Subject, Reason: e.Reason, By: e.By, RequestedAt: e.RequestedAt,
		State: e.State, Since: e.Since, WaitingFor: e.WaitingFor, Proof: e.Proof, Problems: e.Problems,
	}
}
