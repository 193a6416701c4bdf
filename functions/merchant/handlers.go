package merchant

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/footfall/footfall/shared/access"
	"github.com/footfall/footfall/shared/fault"
	"github.com/footfall/footfall/shared/revision"
)

func (s *Service) create(ctx context.Context, r *http.Request) (answer, error) {
	var in input
	if err := readBody(r, &in, inputFields); err != nil {
		return answer{}, err
	}
	key := r.Header.Get("Idempotency-Key")
	if len(key) > maxKey {
		return answer{}, fault.Field("Idempotency-Key", fmt.Sprintf("at most %d bytes", maxKey))
	}
	for try := 1; ; try++ {
		c, err := s.creation(&in, key)
		if err != nil {
			return answer{}, err
		}
		m := &c.merchant
		if err = s.registry.CreateMerchant(ctx, *m); err == nil {
			return answer{status: http.StatusCreated, body: c.view(), version: m.Version, location: location(m.ID)}, nil
		}
		if !fault.Is(err, fault.Conflict) {
			return answer{}, err
		}
		if key != "" {
			if _, found := s.registry.Merchant(ctx, m.ID); found == nil {
				return answer{location: location(m.ID)}, fault.New(fault.Conflict,
					"cannot create a merchant again: this Idempotency-Key made merchant %q", m.ID)
			}
		}
		if try == maxConflicts { // random ids do not collide this often
			return answer{}, err
		}
	}
}

// creation is a new merchant with what is shown of it once.
type creation struct {
	merchant access.Merchant
	secrets  []string // of its streams, in their order
	token    string
}

// creation makes what an input asks for, with an id that its key names, else
// with one of chance.
func (s *Service) creation(in *input, key string) (c creation, err error) {
	m := &c.merchant
	*m = access.Merchant{ID: access.NewMerchantID(), CreatedAt: s.now(), Version: 1, Generation: 1}
	if key != "" {
		m.ID = access.MerchantIDFor(key)
	}
	if err := set(&m.Name, in.Name, "", "name", "a text"); err != nil {
		return c, err
	}
	if err := access.ValidateName("name", m.Name); err != nil {
		return c, err
	}
	if m.Settings, err = in.settings(access.DefaultSettings()); err != nil {
		return c, err
	}
	if m.Streams, c.secrets, err = in.newStreams(); err != nil {
		return c, err
	}
	c.token = access.NewReportToken(m.ID)
	m.ReportTokens = []access.Hash{access.HashOf(c.token)}
	return c, nil
}

func (c *creation) view() merchantView {
	v := viewOf(c.merchant, revision.Book{})
	v.ReportToken = c.token
	for i := range v.Streams {
		v.Streams[i].APISecret = c.secrets[i]
	}
	return v
}

func (s *Service) now() time.Time { return s.clock().UTC().Truncate(time.Millisecond) }

func location(id string) string { return "/v1/merchants/" + id }

func (s *Service) get(ctx context.Context, r *http.Request) (answer, error) {
	m, err := s.registry.Merchant(ctx, r.PathValue("id"))
	if err != nil {
		return answer{}, err
	}
	return s.show(ctx, m)
}

func (s *Service) list(ctx context.Context, r *http.Request) (answer, error) {
	limit, err := pageLimit(r)
	if err != nil {
		return answer{}, err
	}
	ms, next, err := s.registry.Changes(ctx, r.FormValue("cursor"), limit)
	if err != nil {
		return answer{}, err
	}
	book, err := s.published.Book(ctx)
	if err != nil {
		return answer{}, err
	}
	page := pageView{Merchants: make([]merchantView, len(ms))}
	for i, m := range ms {
		page.Merchants[i] = viewOf(m, book)
	}
	if len(ms) == limit {
		page.Next = next
	}
	return answer{status: http.StatusOK, body: page}, nil
}

// pageLimit is how many a page of a list is asked to hold.
func pageLimit(r *http.Request) (int, error) {
	text := r.FormValue("limit")
	if text == "" {
		return defaultPage, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 || n > maxPage {
		return 0, fault.Field("limit", fmt.Sprintf("a number from 1 to %d", maxPage))
	}
	return n, nil
}

func (s *Service) patch(ctx context.Context, r *http.Request) (answer, error) {
	var in input
	if err := readBody(r, &in, inputFields); err != nil {
		return answer{}, err
	}
	if in.Streams.given {
		return answer{}, fault.Field("streams", "no such field here: POST to streams adds one")
	}
	m, err := s.change(ctx, r, func(m *access.Merchant) (bool, error) {
		name := m.Name
		if err := set(&name, in.Name, m.Name, "name", "a text"); err != nil {
			return false, err
		}
		if err := access.ValidateName("name", name); err != nil {
			return false, err
		}
		settings, err := in.settings(m.Settings)
		if err != nil {
			return false, err
		}
		changed := name != m.Name || settings.KeepIP != m.Settings.KeepIP || !slices.Equal(settings.InternalNetworks, m.Settings.InternalNetworks) || !settings.SameQuota(&m.Settings) ||
			!slices.Equal(settings.CustomDefinitions, m.Settings.CustomDefinitions) || settings.AltersNumbers(m.Settings)
		m.Name = name
		altered := settings.AltersNumbers(m.Settings)
		if *m = m.WithSettings(settings, s.now()); !altered {
			return changed, nil
		}
		some, err := s.hasEvents(ctx, m)
		if err == nil && !some {
			*m = m.AtOnce() // nobody waits for the new numbers of nothing
		}
		return changed, err
	})
	if err != nil {
		return answer{}, err
	}
	return s.show(ctx, m)
}

// show answers with a merchant.
func (s *Service) show(ctx context.Context, m access.Merchant) (answer, error) {
	book, err := s.published.Book(ctx)
	if err != nil {
		return answer{}, err
	}
	return answer{status: http.StatusOK, body: viewOf(m, book), version: m.Version}, nil
}

func (s *Service) addStream(ctx context.Context, r *http.Request) (answer, error) {
	var in streamInput
	if err := readBody(r, &in, streamFields); err != nil {
		return answer{}, err
	}
	var stream access.Stream
	var secret string
	m, err := s.change(ctx, r, func(m *access.Merchant) (_ bool, err error) {
		if len(m.Streams) >= access.MaxStreams {
			return false, fault.New(fault.Conflict, "cannot add a stream to merchant %q: it has %d", m.ID, len(m.Streams))
		}
		if stream, secret, err = in.newStream(""); err != nil {
			return false, err
		}
		m.Streams = append(slices.Clone(m.Streams), stream)
		return true, nil
	})
	if err != nil {
		return answer{}, err
	}
	v := viewOfStream(stream)
	v.APISecret = secret
	return answer{status: http.StatusCreated, body: v, version: m.Version}, nil
}

func (s *Service) patchStream(ctx context.Context, r *http.Request) (answer, error) {
	var in streamInput
	if err := readBody(r, &in, streamFields); err != nil {
		return answer{}, err
	}
	var stream access.Stream
	m, err := s.changeStream(ctx, r, func(st *access.Stream) error {
		err := in.apply(st, "")
		stream = *st
		return err
	})
	if err != nil {
		return answer{}, err
	}
	return answer{status: http.StatusOK, body: viewOfStream(stream), version: m.Version}, nil
}

func (s *Service) addSecret(ctx context.Context, r *http.Request) (answer, error) {
	secret := access.NewAPISecret()
	m, err := s.changeStream(ctx, r, func(st *access.Stream) (err error) {
		st.APISecrets, err = withToken(st.APISecrets, secret, "API secrets")
		return err
	})
	if err != nil {
		return answer{}, err
	}
	return answer{status: http.StatusCreated, body: tokenView{ID: idOf(access.HashOf(secret)), APISecret: secret}, version: m.Version}, nil
}

func (s *Service) removeSecret(ctx context.Context, r *http.Request) (answer, error) {
	m, err := s.changeStream(ctx, r, func(st *access.Stream) (err error) {
		st.APISecrets, err = withoutToken(st.APISecrets, r.PathValue("secret"), "API secret")
		return err
	})
	return answer{status: http.StatusNoContent, version: m.Version}, err
}

func (s *Service) addReportToken(ctx context.Context, r *http.Request) (answer, error) {
	token := access.NewReportToken(r.PathValue("id"))
	m, err := s.change(ctx, r, func(m *access.Merchant) (_ bool, err error) {
		m.ReportTokens, err = withToken(m.ReportTokens, token, "report tokens")
		return true, err
	})
	if err != nil {
		return answer{}, err
	}
	return answer{status: http.StatusCreated, body: tokenView{ID: idOf(access.HashOf(token)), ReportToken: token}, version: m.Version}, nil
}

func (s *Service) removeReportToken(ctx context.Context, r *http.Request) (answer, error) {
	m, err := s.change(ctx, r, func(m *access.Merchant) (_ bool, err error) {
		m.ReportTokens, err = withoutToken(m.ReportTokens, r.PathValue("token"), "report token")
		return true, err
	})
	return answer{status: http.StatusNoContent, version: m.Version}, err
}

// changeStream changes the stream that the request's path names.
func (s *Service) changeStream(ctx context.Context, r *http.Request, f func(st *access.Stream) error) (access.Merchant, error) {
	return s.change(ctx, r, func(m *access.Merchant) (bool, error) {
		m.Streams = slices.Clone(m.Streams)
		st := m.Stream(r.PathValue("stream"))
		if st == nil {
			return false, fault.New(fault.NotFound, "cannot find stream %q of merchant %q", r.PathValue("stream"), m.ID)
		}
		return true, f(st)
	})
}

func withToken(hashes []access.Hash, token, what string) ([]access.Hash, error) {
	if len(hashes) >= access.MaxTokens {
		return hashes, fault.New(fault.Conflict, "cannot add one more: expected at most %d %s; remove one first", access.MaxTokens, what)
	}
	return append(slices.Clone(hashes), access.HashOf(token)), nil
}

// withoutToken removes the hash that id names: its first letters, at least 8,
// or all of it.
func withoutToken(hashes []access.Hash, id, what string) ([]access.Hash, error) {
	if len(id) < 8 {
		return hashes, fault.Field("id", "at least 8 letters of the "+what+"'s id")
	}
	named := func(h access.Hash) bool { return strings.HasPrefix(string(h), id) }
	kept := slices.DeleteFunc(slices.Clone(hashes), named)
	switch len(hashes) - len(kept) {
	case 1:
		return kept, nil
	case 0:
		return hashes, fault.New(fault.NotFound, "cannot find %s %q", what, id)
	default:
		return hashes, fault.New(fault.Conflict, "cannot tell which %s is meant by %q: expected more letters", what, id)
	}
}
