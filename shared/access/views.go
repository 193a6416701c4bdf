package access

import (
	"slices"
	"time"
)

// WithSettings returns the merchant under valid new settings. Where they alter
// numbers, every way to count the history gets a view with them, beside the one
// that has the old ones and is shown until the new one is ready. Views of
// earlier changes that are not ready yet are given up.
func (m Merchant) WithSettings(s Settings, now time.Time) Merchant {
	altered := m.Settings.AltersNumbers(s)
	views := m.AllViews()
	m.Settings = s.Normal()
	if !altered {
		return m
	}
	m.Views = views
	for i := range views {
		if views[i].State != ViewGone {
			m, _ = m.WithView(views[i].Layers, now)
		}
	}
	return m
}

// WithView returns the merchant with a view of layers under the settings that
// were asked for last: one that it has, or a new one. Others of these layers
// that are not ready are given up.
func (m Merchant) WithView(layers Layers, now time.Time) (Merchant, View) {
	m.Views = slices.Clone(m.AllViews())
	for i := len(m.Views) - 1; i >= 0; i-- {
		v := &m.Views[i]
		if v.State == ViewGone || !v.Layers.Equal(layers) {
			continue
		}
		if !v.Settings.AltersNumbers(m.Settings) {
			return m, *v
		}
		if v.State == ViewReady {
			break
		}
		v.State = ViewGone
	}
	m.Generation++
	v := View{Generation: m.Generation, Settings: m.Settings, Layers: slices.Clone(layers), State: ViewNew, Since: now}
	m.Views = append(m.Views, v)
	return m, v
}

// AtOnce returns the merchant without views in whose place newer ones of the
// same layers stand, ready or not: for one that has no events to be counted
// before.
func (m Merchant) AtOnce() Merchant {
	m.Views = slices.Clone(m.AllViews())
	for i := range m.Views {
		newer := func(v View) bool { return v.State != ViewGone && v.Layers.Equal(m.Views[i].Layers) }
		if slices.ContainsFunc(m.Views[i+1:], newer) {
			m.Views[i].State = ViewGone
		}
	}
	return m
}

// WithState returns the merchant with a view in another state.
func (m Merchant) WithState(generation uint32, state ViewState, now time.Time) Merchant {
	m.Views = slices.Clone(m.AllViews())
	for i := range m.Views {
		if v := &m.Views[i]; v.Generation == generation {
			if v.State = state; state == ViewReady {
				v.Ready = now
			}
		}
	}
	return m
}

// Without returns the merchant without a view.
func (m Merchant) Without(generation uint32) Merchant {
	m.Views = slices.DeleteFunc(slices.Clone(m.AllViews()), func(v View) bool { return v.Generation == generation })
	if len(m.Views) == 1 {
		// What AllViews says of a merchant without a list says it all.
		if v := &m.Views[0]; v.State == ViewReady && len(v.Layers) == 0 && v.Generation == m.Generation && !v.Settings.AltersNumbers(m.Settings) {
			m.Views = nil
		}
	}
	return m
}

// Superseded tells since when a newer ready view of the same layers is shown in
// a ready view's place, whatever is published; ok is false where none is.
func (m *Merchant) Superseded(v *View) (since time.Time, ok bool) {
	if v.State != ViewReady {
		return since, false
	}
	views := m.AllViews()
	for i := range views {
		o := &views[i]
		if o.State == ViewReady && o.Generation > v.Generation && o.Layers.Equal(v.Layers) && (!ok || o.Ready.Before(since)) {
			since, ok = o.Ready, true
		}
	}
	return since, ok
}
