package report

import (
	"container/list"
	"context"
	"net/http"
	"strings"
	"sync"

	"github.com/footfall/footfall/shared/access"
	"github.com/footfall/footfall/shared/report"
	"github.com/footfall/footfall/shared/store"
	"github.com/footfall/footfall/shared/summary"
)

// tags remembers of which state of a merchant's data an answer's entity tag is,
// so that a reader who has the answer need not have it worked out again while
// nothing was written. What is not remembered is worked out and compared.
type tags struct {
	mu    sync.Mutex
	order *list.List // of *keptTag; used last in front
	byKey map[tagKey]*list.Element
}

// tagKey is a question in one form, about a merchant in a view, with settings
// and in an hour of the clock.
type tagKey struct {
	view     albumKey
	settings uint64
	form     string
	answerKey
}

type keptTag struct {
	key     tagKey
	version store.Version
	tag     string
	meta    report.Meta
}

// mostTags bounds what is remembered; a question is at most longText bytes.
const mostTags = 4096

func newTags() *tags { return &tags{order: list.New(), byKey: map[tagKey]*list.Element{}} }

func (t *tags) kept(key tagKey) (keptTag, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	at := t.byKey[key]
	if at == nil {
		return keptTag{}, false
	}
	t.order.MoveToFront(at)
	return *at.Value.(*keptTag), true
}

func (t *tags) keep(k keptTag) {
	if len(k.key.question) > longText {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if at := t.byKey[k.key]; at != nil {
		at.Value = &k
		t.order.MoveToFront(at)
		return
	}
	t.byKey[k.key] = t.order.PushFront(&k)
	if t.order.Len() > mostTags {
		delete(t.byKey, t.order.Remove(t.order.Back()).(*keptTag).key)
	}
}

func (s *Service) tagKey(m *access.Merchant, cal *summary.Calendar, form, question string) tagKey {
	return tagKey{keyOf(m), m.Version, form, answerKey{question, cal.Hour(s.clock().UnixMilli()).From}}
}

// unchanged reports whether a reader who has one of the tags has the answer
// still, told from nothing having been written since; meta is then how fresh it
// is by now.
func (s *Service) unchanged(ctx context.Context, m *access.Merchant, cal *summary.Calendar, q *report.Query, key tagKey, has string) (kept keptTag, same bool) {
	if kept, same = s.tags.kept(key); !same || !matches(has, kept.tag) {
		return kept, false
	}
	marks, err := s.live.marks(ctx)
	if err != nil {
		return kept, false // the answer's own way tells what is wrong
	}
	version, err := s.ports.Processed.Version(ctx, m.ID)
	if err != nil || version != kept.version {
		return kept, false
	}
	kept.meta.Watermark = marks.watermark
	kept.meta.Pending, err = s.pending(ctx, m, cal, q, &marks)
	return kept, err == nil
}

// remember keeps a tag where nothing was written while its answer was made.
func (s *Service) remember(ctx context.Context, key tagKey, result *report.Result, of store.Version, tag string) {
	if now, err := s.ports.Processed.Version(ctx, key.view.merchant); err == nil && now == of && of != (store.Version{}) {
		s.tags.keep(keptTag{key, of, tag, result.Meta})
	}
}

// matches is the weak comparison of If-None-Match (RFC 9110, 13.1.2).
func matches(header, tag string) bool {
	if strings.TrimSpace(header) == "*" {
		return true
	}
	for part := range strings.SplitSeq(header, ",") {
		if strings.TrimPrefix(strings.TrimSpace(part), "W/") == strings.TrimPrefix(tag, "W/") {
			return true
		}
	}
	return false
}

// tell writes an answer's tag and how fresh it is into its header.
func tell(w http.ResponseWriter, tag string, meta *report.Meta) {
	w.Header().Set("ETag", tag)
	meta.Headers(w.Header().Set)
}
