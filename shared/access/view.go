package access

import (
	"math"
	"slices"
	"time"
)

// Revision is a version of the processed data of a range, made by one
// reprocess job. What the ETL writes is LiveRevision.
type Revision uint32

// LiveRevision is the revision that the ETL writes.
const LiveRevision Revision = 1

// Layer is what a revision lies over: the batches that arrived in [From, To),
// in ms since the Unix epoch, by the instant in their ids. All events of these
// batches are those of the revision, whatever hour and merchant it finds them in.
type Layer struct {
	Revision Revision `json:"revision"`
	From     int64    `json:"from"`
	To       int64    `json:"to"`
}

// Layers lie over what the ETL wrote, later ones over earlier.
type Layers []Layer

// Owner is the revision that has the events of a batch that arrived at an
// instant (ms): what any other revision says of it does not count.
func (l Layers) Owner(millis int64) Revision {
	for i := len(l) - 1; i >= 0; i-- {
		if millis >= l[i].From && millis < l[i].To {
			return l[i].Revision
		}
	}
	return LiveRevision
}

// Span is the instants [From, To), in ms since the Unix epoch.
type Span struct{ From, To int64 }

// Spans are the instants whose batches a revision owns: ascending, none
// touching the next. The first may begin at math.MinInt64, the last may end at
// math.MaxInt64: it has no end then.
func (l Layers) Spans(rev Revision) []Span {
	edges := []int64{math.MinInt64, math.MaxInt64}
	for i := range l {
		edges = append(edges, l[i].From, l[i].To)
	}
	slices.Sort(edges)
	var spans []Span
	for i, to := range edges[1:] {
		from := edges[i]
		if from == to || l.Owner(from) != rev {
			continue
		}
		if n := len(spans); n > 0 && spans[n-1].To == from {
			spans[n-1].To = to
		} else {
			spans = append(spans, Span{from, to})
		}
	}
	return spans
}

// Revisions are all whose documents may count, LiveRevision first.
func (l Layers) Revisions() []Revision {
	revs := []Revision{LiveRevision}
	for i := range l {
		if !slices.Contains(revs, l[i].Revision) {
			revs = append(revs, l[i].Revision)
		}
	}
	return revs
}

// Top is the revision that a report of these layers is called by.
func (l Layers) Top() Revision {
	if len(l) == 0 {
		return LiveRevision
	}
	return l[len(l)-1].Revision
}

// Equal reports whether both count the same batches of the same revisions.
func (l Layers) Equal(o Layers) bool { return slices.Equal(l, o) }

// View is one way to count a merchant's history: under these settings, with
// these layers. Summaries, first-seen visitors and marks of what is still to be
// counted stand under its generation, beside those of other views.
type View struct {
	Generation uint32    `json:"generation"`
	Settings   Settings  `json:"settings"`
	Layers     Layers    `json:"layers,omitempty"`
	State      ViewState `json:"state"`
	Since      time.Time `json:"since"`          // when it was made
	Ready      time.Time `json:"ready,omitzero"` // when it came to be ready
}

// ViewState is how far a view has come.
type ViewState string

const (
	// ViewNew: it is made known, and its hours may not all be marked yet.
	ViewNew ViewState = "new"
	// ViewBuilding: all its hours are marked; those that are still marked are
	// not counted yet.
	ViewBuilding ViewState = "building"
	// ViewReady: all hours below the watermark were counted. It may be shown.
	ViewReady ViewState = "ready"
	// ViewGone: it is not shown any more, and what stands under its generation
	// is being removed.
	ViewGone ViewState = "gone"
)

// Published tells which revisions are published.
type Published interface {
	// Published reports whether a revision is. LiveRevision always is.
	Published(Revision) bool
}

// AllViews are the merchant's views, oldest first; one without a list has one.
func (m *Merchant) AllViews() []View {
	if len(m.Views) == 0 {
		return []View{{Generation: m.Generation, Settings: m.Settings, State: ViewReady, Since: m.CreatedAt}}
	}
	return m.Views
}

// View is what reports show: of the ready views whose revisions are all
// published the one of the highest revision, and of those the newest. Where
// none is ready, as of a merchant that had no events yet, it is one that will be.
func (m *Merchant) View(p Published) View {
	views := m.AllViews()
	best := -1
	for i := range views {
		v := &views[i]
		if v.State == ViewGone || !v.Layers.Published(p) {
			continue
		}
		if best < 0 || v.before(&views[best]) {
			best = i
		}
	}
	if best < 0 {
		return views[0]
	}
	return views[best]
}

// before reports whether v is rather shown than o.
func (v *View) before(o *View) bool {
	if ready := v.State == ViewReady; ready != (o.State == ViewReady) {
		return ready
	}
	if v.Layers.Top() != o.Layers.Top() {
		return v.Layers.Top() > o.Layers.Top()
	}
	return v.Generation > o.Generation
}

// Published reports whether all revisions of the layers are.
func (l Layers) Published(p Published) bool {
	for i := range l {
		if !p.Published(l[i].Revision) {
			return false
		}
	}
	return true
}

// ViewOf returns the view of a generation.
func (m *Merchant) ViewOf(generation uint32) (View, bool) {
	for _, v := range m.AllViews() {
		if v.Generation == generation {
			return v, true
		}
	}
	return View{}, false
}

// In is the merchant as a view counts it: with its settings (but for those that
// alter no numbers), generation and layers, and no other views.
func (m Merchant) In(v View) Merchant {
	s := v.Settings
	s.KeepIP, s.QuotaEventsPerMinute, s.InternalNetworks = m.Settings.KeepIP, m.Settings.QuotaEventsPerMinute, m.Settings.InternalNetworks
	s.CustomDefinitions = m.Settings.CustomDefinitions
	m.Settings, m.Generation, m.Layers, m.Views = s, v.Generation, v.Layers, nil
	return m
}
