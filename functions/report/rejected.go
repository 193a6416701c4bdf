package report

import (
	"context"
	"fmt"
	"net/http"
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/footfall/footfall/shared/access"
	"github.com/footfall/footfall/shared/event"
	"github.com/footfall/footfall/shared/fault"
	"github.com/footfall/footfall/shared/function"
	"github.com/footfall/footfall/shared/summary"
)

// rejectedEvent is one event that was not counted, with its bytes. Of an
// accepted one these are the event as it stands in the archive, shown by its
// fields; of a refused one what came, at most 4 KiB.
type rejectedEvent struct {
	Stream     string         `json:"stream"`
	EventID    string         `json:"event_id"`
	Hour       string         `json:"hour"`
	ReceivedAt time.Time      `json:"received_at"`
	Batch      string         `json:"batch_id"`
	Index      int            `json:"index"`
	Refused    bool           `json:"refused"`
	Events     int64          `json:"events,omitempty"` // where it stands for more than one
	Reason     string         `json:"reason"`
	Field      string         `json:"field,omitempty"`
	Detail     string         `json:"detail,omitempty"`
	Event      *acceptedEvent `json:"event,omitempty"`
	Text       string         `json:"text,omitempty"`
	Data       []byte         `json:"data,omitempty"` // base64, where there is neither Event nor Text
}

type rejectedAnswer struct {
	Rejected []rejectedEvent `json:"rejected"`
	Next     string          `json:"next"`
}

const (
	defaultRejects = 100
	maxRejects     = 1000
)

// getRejected lists a merchant's rejected events, or with no merchant those
// whose stream belongs to none.
func (s *Service) getRejected(ctx context.Context, w http.ResponseWriter, r *http.Request, a asking) error {
	v, err := query(r)
	if err != nil {
		return err
	}
	var m access.Merchant // of none: by the clock of UTC, as the ETL says
	var cal *summary.Calendar
	parameters := []string{"from", "to", "cursor", "limit"}
	if a.merchant == "" {
		cal, err = summary.NewCalendar("UTC")
	} else {
		parameters = append(parameters, "revision")
		a.revision = v.Get("revision")
		m, cal, err = s.merchant(ctx, a)
	}
	if err != nil {
		return err
	}
	tellRevision(w, &m)
	from, to, err := s.hoursOf(v, cal, parameters...)
	if err != nil {
		return err
	}
	limit := defaultRejects
	if text := v.Get("limit"); text != "" {
		if limit, err = strconv.Atoi(text); err != nil || limit < 1 || limit > maxRejects {
			return fault.Field("limit", fmt.Sprintf("1 to %d", maxRejects))
		}
	}
	cursor := v.Get("cursor")
	rejects, next, err := s.ports.Processed.Rejects(ctx, m.ID, m.Layers, from, to, cursor, limit)
	if err != nil {
		if fault.Is(err, fault.Invalid) {
			return fault.Field("cursor", "the next of an earlier answer")
		}
		return fmt.Errorf("cannot list the rejected events of merchant %q: %w", m.ID, err)
	}
	answer := rejectedAnswer{Rejected: make([]rejectedEvent, len(rejects)), Next: next}
	for i := range rejects {
		reject := &rejects[i]
		e := rejectedEvent{
			Stream: reject.Stream, EventID: reject.EventID, Hour: reject.Hour.String(), ReceivedAt: reject.ReceivedAt.UTC(),
			Batch: reject.Batch.String(), Index: reject.Index, Refused: reject.Refused, Events: reject.Events,
			Reason: reject.Reason, Field: reject.Field, Detail: reject.Detail,
		}
		switch {
		case len(reject.Data) == 0: // not kept
		case reject.Refused && utf8.Valid(reject.Data):
			e.Text = string(reject.Data)
		case reject.Refused:
			e.Data = reject.Data
		default:
			if ev, err := event.DecodeEvent(reject.Data); err == nil {
				e.Event = show(&ev)
			} else {
				e.Data = reject.Data
			}
		}
		answer.Rejected[i] = e
	}
	function.WriteJSON(w, http.StatusOK, answer)
	return nil
}

// acceptedEvent shows an event's words, and not where its visitor was.
type acceptedEvent struct {
	ID        string           `json:"id"`
	Source    string           `json:"source,omitempty"`
	Stream    string           `json:"measurementid"`
	Time      time.Time        `json:"time"`
	Name      string           `json:"name"`
	ClientID  string           `json:"client_id,omitempty"`
	UserID    string           `json:"user_id,omitempty"`
	SessionID string           `json:"session_id,omitempty"`
	Location  string           `json:"page_location,omitempty"`
	Title     string           `json:"page_title,omitempty"`
	Referrer  string           `json:"page_referrer,omitempty"`
	Params    map[string]any   `json:"params,omitempty"`
	Items     []map[string]any `json:"items,omitempty"`
	Value     *float64         `json:"value,omitempty"`
	Currency  string           `json:"currency,omitempty"`
	Engaged   int64            `json:"engagement_ms,omitempty"`
	UserAgent string           `json:"user_agent,omitempty"`
	Extra     string           `json:"extra,omitempty"`
}

func show(e *event.Event) *acceptedEvent {
	a := &acceptedEvent{
		ID: e.ID, Source: e.Source, Stream: e.Stream, Time: e.Time(), Name: e.Name, ClientID: e.ClientID, UserID: e.UserID,
		SessionID: e.SessionID, Location: e.PageLocation, Title: e.PageTitle, Referrer: e.PageReferrer, Params: params(e.Params),
		Currency: e.Currency, Engaged: e.EngagementMillis, UserAgent: e.UserAgent, Extra: e.Extra,
	}
	if e.HasValue {
		value := float64(e.ValueMicros) / 1e6
		a.Value = &value
	}
	for i := range e.Items {
		item := &e.Items[i]
		shown := params(item.Params)
		if shown == nil {
			shown = map[string]any{}
		}
		shown["item_id"], shown["item_name"] = item.ID, item.Name
		shown["price"], shown["quantity"] = float64(item.PriceMicros)/1e6, item.Quantity
		a.Items = append(a.Items, shown)
	}
	return a
}

func params(list []event.Param) map[string]any {
	if len(list) == 0 {
		return nil
	}
	m := make(map[string]any, len(list))
	for _, p := range list {
		switch p.Kind {
		case event.ParamInt:
			m[p.Key] = p.Int
		case event.ParamDouble:
			m[p.Key] = p.Double
		case event.ParamBool:
			m[p.Key] = p.Bool
		default:
			m[p.Key] = p.Text
		}
	}
	return m
}
