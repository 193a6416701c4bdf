package erasure

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/footfall/footfall/shared/event"
	"github.com/footfall/footfall/shared/fault"
	"github.com/footfall/footfall/shared/processed"
)

// Request asks for an erasure. Its JSON is the body of
// POST /v1/merchants/{id}/erasures. One of ClientID and UserID is given.
type Request struct {
	ClientID string `json:"client_id,omitempty"`
	UserID   string `json:"user_id,omitempty"`
	Reason   string `json:"reason"`
	By       string `json:"by,omitempty"` // who asks, for the record
}

const (
	maxID     = 1024 // bytes
	maxReason = 2000 // letters
)

// Validate returns the first fault as an Invalid error that names the field.
func (r *Request) Validate() error {
	field, id := "client_id", r.ClientID
	if r.UserID != "" {
		field, id = "user_id", r.UserID
	}
	switch {
	case r.ClientID != "" && r.UserID != "":
		return fault.Field("user_id", "none beside client_id: each is an erasure of its own")
	case id == "" || len(id) > maxID:
		return fault.Field(field, fmt.Sprintf("1 to %d bytes, as they stand in the person's events", maxID))
	}
	for _, text := range []struct {
		field string
		text  *string
		min   int
	}{{"reason", &r.Reason, 1}, {"by", &r.By, 0}} {
		*text.text = strings.TrimSpace(*text.text)
		if n := len([]rune(*text.text)); n < text.min || n > maxReason {
			return fault.Field(text.field, fmt.Sprintf("%d to %d letters", text.min, maxReason))
		}
	}
	return nil
}

// Person is who is to be erased, by one of the two names that events have for
// people.
type Person struct {
	Client string `json:"client_id,omitempty"`
	User   string `json:"user_id,omitempty"`
}

// Name is the client or user id.
func (p *Person) Name() string { return p.Client + p.User }

// Did reports whether an accepted event is the person's.
func (p *Person) Did(e *event.Event) bool {
	if p.Client != "" {
		return e.ClientID == p.Client
	}
	return p.User != "" && e.UserID == p.User
}

// Spellings are the forms in which the person's name may stand in bytes that
// were not understood: as it is, in JSON, in a query.
func (p *Person) Spellings() []string {
	name := p.Name()
	forms := []string{name, url.QueryEscape(name), url.PathEscape(name)}
	if quoted, err := json.Marshal(name); err == nil {
		forms = append(forms, string(quoted[1:len(quoted)-1]))
	}
	slices.Sort(forms)
	return slices.Compact(forms)
}

// Actor is the hash by which processed data know the person.
func (p *Person) Actor() uint64 {
	if p.Client != "" {
		return processed.HashActor(processed.ActorClient, p.Client)
	}
	return processed.HashActor(processed.ActorUser, p.User)
}

// Column is where a frame with the columns of actors has the hash.
func (p *Person) Column(f *processed.Frame) []uint64 {
	if p.Client != "" {
		return f.Client
	}
	return f.User
}

// Subject names a person to those who know the name already, and to nobody
// else: a salt and the SHA-256 of salt, kind and name, in hex. It is what is left
// of the name when an erasure is done.
func (p *Person) Subject() (string, error) {
	salt := make([]byte, 16)
	if _, err := rand.Read(salt); err != nil {
		return "", fmt.Errorf("cannot make a salt: %w", err)
	}
	return p.subject(hex.EncodeToString(salt)), nil
}

func (p *Person) subject(salt string) string {
	kind := "client_id"
	if p.User != "" {
		kind = "user_id"
	}
	sum := sha256.Sum256([]byte(salt + "\x00" + kind + "\x00" + p.Name()))
	return salt + ":" + hex.EncodeToString(sum[:])
}

// Is reports whether a subject was made of this person.
func (p *Person) Is(subject string) bool {
	salt, _, _ := strings.Cut(subject, ":")
	return p.subject(salt) == subject
}

// State is how far an erasure has come.
type State string

const (
	// Waiting: batches that were accepted before it was asked for are not all
	// archived and processed yet.
	Waiting State = "waiting"
	// Erasing: a pass goes through processed data, rejects and archive.
	Erasing State = "erasing"
	// Keeping: reports show the person no more, but files of the archive that
	// were replaced are kept for those who still read them, and messages of the
	// Broker may bring a batch once more.
	Keeping State = "keeping"
	// Checking: a pass looks whether anything is left, or has come back.
	Checking State = "checking"
	// Done: a whole pass has found nothing.
	Done State = "done"
)

// Erasure is one, from the wish to the proof.
type Erasure struct {
	ID       string `json:"id"`
	Version  uint64 `json:"version"` // for optimistic updates
	Merchant string `json:"merchant_id"`
	// Person is taken away when the erasure is done; Subject stays.
	Person  Person `json:"person,omitzero"`
	Subject string `json:"subject"`
	Reason  string `json:"reason"`
	By      string `json:"by,omitempty"`
	// RequestedAt bounds the erasure: what was accepted later is no part of it.
	RequestedAt time.Time `json:"requested_at"`
	State       State     `json:"state"`
	Since       time.Time `json:"since"`
	WaitingFor  string    `json:"waiting_for,omitempty"`
	Work        Work      `json:"work,omitzero"`
	Proof       Proof     `json:"proof"`
	// Problems say what could not be removed, and has to be by hand.
	Problems []string `json:"problems,omitempty"`
}

// Open reports whether there is anything left to do.
func (e *Erasure) Open() bool { return e.State != Done }

// Covers reports whether a batch was accepted before the erasure was asked for.
func (e *Erasure) Covers(b event.BatchID) bool { return b.Millis() < e.RequestedAt.UnixMilli() }

// Step is a part of a pass.
type Step string

// The steps, in their order.
const (
	Documents Step = "documents"
	Rejects   Step = "rejects"
	Archive   Step = "archive"
	Forget    Step = "forget"
	Remaining Step = "remaining" // of other users whose events were also the person's
)

// Work is where a pass stands. What was found is recorded before it is changed,
// so that whoever dies in between leaves nothing out of the proof.
type Work struct {
	Step     Step         `json:"step,omitempty"`
	Found    bool         `json:"found,omitempty"`    // what is to be changed at this place is recorded
	Revision uint32       `json:"revision,omitempty"` // of rejects
	Hour     event.Hour   `json:"hour,omitempty"`     // from which documents are looked at
	Cursor   string       `json:"cursor,omitempty"`   // after which rejects are looked at
	Touched  []event.Hour `json:"touched,omitempty"`  // hours of the documents that were found, to be counted again when they are changed
	Arrivals []event.Hour `json:"arrivals,omitempty"` // hours of the archive with something of the person, ascending
	Users    []uint64     `json:"users,omitempty"`    // whose first event may be another now, ascending
	Everyone bool         `json:"everyone,omitempty"` // Users would be too many: all of the merchant's
	Pass     Pass         `json:"pass"`
}

// maxUsers is how many users are remembered one by one. A client of so many is a
// server's, and all of the merchant's users are forgotten and seen again.
const maxUsers = 100_000

// Arrive adds an hour of arrival, and reports whether it is a new one.
func (w *Work) Arrive(h event.Hour) (news bool) { w.Arrivals, news = with(w.Arrivals, h); return news }

// Touch adds an hour that is to be counted again.
func (w *Work) Touch(h event.Hour) (news bool) { w.Touched, news = with(w.Touched, h); return news }

// User adds a user who lost events.
func (w *Work) User(u uint64) (news bool) {
	if w.Everyone {
		return false
	}
	if w.Users, news = with(w.Users, u); len(w.Users) > maxUsers {
		w.Everyone, w.Users = true, nil
	}
	return news
}

func with[T event.Hour | uint64](sorted []T, v T) (list []T, news bool) {
	at, there := slices.BinarySearch(sorted, v)
	if there {
		return sorted, false
	}
	return slices.Insert(sorted, at, v), true
}

// Pass is what one pass has found, and therefore removed.
type Pass struct {
	Began    time.Time `json:"began"`
	Ended    time.Time `json:"ended,omitzero"`
	Rows     int64     `json:"processed_events"` // of processed data, in all revisions
	Rejects  int64     `json:"rejects"`
	Archived int64     `json:"archived_events"` // in complete files
}

// Nothing reports whether the pass found nothing.
func (p *Pass) Nothing() bool { return p.Rows == 0 && p.Rejects == 0 && p.Archived == 0 }

// File is a file of the archive that another one has taken the place of. After
// is empty, and Before has no hash, where a process died while it was done: the
// file is edited all the same, as the next pass finds.
type File struct {
	Before  Digest     `json:"before"`
	After   Digest     `json:"after"`
	Batches int        `json:"batches"` // that were edited
	Hour    event.Hour `json:"hour"`
	At      time.Time  `json:"at"`
}

// Digest names a file by what it holds.
type Digest struct {
	Path   string `json:"path"`
	Bytes  int64  `json:"bytes"`
	SHA256 string `json:"sha256"`
}

// Proof says what was removed.
type Proof struct {
	Passes []Pass `json:"passes,omitempty"` // the last one of a done erasure found nothing
	Files  []File `json:"files,omitempty"`
	// ErasedAt is when reports and archive had nothing of the person any more.
	ErasedAt time.Time `json:"erased_at,omitzero"`
	// SweptAt is when the replaced files were removed.
	SweptAt time.Time `json:"swept_at,omitzero"`
	DoneAt  time.Time `json:"done_at,omitzero"`
}
