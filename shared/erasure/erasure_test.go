package erasure

import (
	"slices"
	"testing"
	"time"

	"github.com/footfall/footfall/shared/event"
)

// A person is found by either name, and never by the other kind of it.
func TestPerson(t *testing.T) {
	client, user := Person{Client: "a"}, Person{User: "a"}
	for _, c := range []struct {
		e            event.Event
		client, user bool
	}{
		{event.Event{ClientID: "a"}, true, false},
		{event.Event{UserID: "a"}, false, true},
		{event.Event{ClientID: "a", UserID: "b"}, true, false},
		{event.Event{ClientID: "ab", UserID: "ba"}, false, false},
		{event.Event{}, false, false},
	} {
		if client.Did(&c.e) != c.client || user.Did(&c.e) != c.user {
			t.Errorf("%+v: client %t, user %t", c.e, client.Did(&c.e), user.Did(&c.e))
		}
	}
	if none := (Person{}); none.Did(&event.Event{}) {
		t.Error("nobody did an event without names")
	}
	if client.Actor() == user.Actor() {
		t.Error("a client and a user of one name are one actor")
	}
}

func TestSpellings(t *testing.T) {
	p := Person{User: "a/b \"c\"@d"}
	for _, want := range []string{`a/b "c"@d`, `a/b \"c\"@d`, "a%2Fb+%22c%22%40d", "a%2Fb%20%22c%22@d"} {
		if !slices.Contains(p.Spellings(), want) {
			t.Errorf("%q is not among %q", want, p.Spellings())
		}
	}
	if got := (&Person{Client: "plain"}).Spellings(); len(got) != 1 {
		t.Errorf("a plain name has %q", got)
	}
}

// What was accepted at the moment of asking, or later, is no part of it.
func TestCovers(t *testing.T) {
	at := time.UnixMilli(1_750_000_000_000)
	e := Erasure{RequestedAt: at}
	if e.Covers(event.FirstBatchID(at.UnixMilli())) || !e.Covers(event.FirstBatchID(at.UnixMilli()-1)) {
		t.Error("the bound is another one")
	}
}

func TestTooManyUsers(t *testing.T) {
	var w Work
	for u := range uint64(maxUsers) {
		if !w.User(maxUsers - u) {
			t.Fatal("a user is no news")
		}
	}
	if w.User(7) || w.Everyone || len(w.Users) != maxUsers || !slices.IsSorted(w.Users) {
		t.Fatalf("%d users, everyone %t", len(w.Users), w.Everyone)
	}
	if !w.User(maxUsers+1) || !w.Everyone || w.Users != nil {
		t.Error("one too many is not everyone")
	}
	if w.User(maxUsers + 2) {
		t.Error("everyone has news")
	}
	if !w.Arrive(3) || w.Arrive(3) || !w.Touch(1) || !w.Touch(-1) || !slices.Equal(w.Touched, []event.Hour{-1, 1}) {
		t.Errorf("hours %v, %v", w.Arrivals, w.Touched)
	}
}
