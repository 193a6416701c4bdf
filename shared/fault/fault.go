// Package fault answers the first question about any error: does it help to
// try again? One table maps a kind to the HTTP status that a Knative Broker
// understands: it retries 5xx, 404, 408, 409 and 429, and nothing else.
package fault

import (
	"errors"
	"fmt"
	"net/http"
	"time"
)

// Kind is what a caller can do about an error.
type Kind uint8

const (
	Transient       Kind = iota // try again: a store is away, a deadline passed. The default for unknown errors
	Invalid                     // the input is wrong and stays wrong
	Unauthenticated             // no valid credential
	Forbidden                   // the credential does not reach this
	NotFound                    // for people; never answered to a Broker
	Conflict                    // for people; never answered to a Broker
	TooLarge                    // over a stated limit
	Unsupported                 // a media type or encoding that is not taken
	Overloaded                  // a bounded buffer is full: try later
	QuotaExceeded               // the tenant has used up what it may send: try later
)

var kinds = [...]struct {
	name   string
	status int
}{
	Transient:       {"transient", http.StatusServiceUnavailable},
	Invalid:         {"invalid", http.StatusBadRequest},
	Unauthenticated: {"unauthenticated", http.StatusUnauthorized},
	Forbidden:       {"forbidden", http.StatusForbidden},
	NotFound:        {"not_found", http.StatusNotFound},
	Conflict:        {"conflict", http.StatusConflict},
	TooLarge:        {"too_large", http.StatusRequestEntityTooLarge},
	Unsupported:     {"unsupported", http.StatusUnsupportedMediaType},
	Overloaded:      {"overloaded", http.StatusServiceUnavailable},
	QuotaExceeded:   {"quota_exceeded", http.StatusTooManyRequests},
}

// String is the kind's name as it stands in answers and logs.
func (k Kind) String() string { return kinds[k].name }

// Status is the HTTP status for a person or a sender of events.
func (k Kind) Status() int { return kinds[k].status }

// BrokerStatus is the status that makes a Broker do the right thing: 503 where
// a retry helps, 422 (dead letter at once) where it never will.
func (k Kind) BrokerStatus() int {
	switch k {
	case Transient, Overloaded, QuotaExceeded:
		return http.StatusServiceUnavailable
	default:
		return http.StatusUnprocessableEntity
	}
}

// Error carries a kind, and the field at fault where there is one.
type Error struct {
	Kind       Kind
	Field      string        // "data.page.location", "metrics", …
	Expected   string        // what would have been right
	RetryAfter time.Duration // a hint for Overloaded and Transient
	Err        error
}

func (e *Error) Error() string {
	switch {
	case e.Field != "" && e.Err != nil:
		return fmt.Sprintf("%s: expected %s: %v", e.Field, e.Expected, e.Err)
	case e.Field != "":
		return fmt.Sprintf("%s: expected %s", e.Field, e.Expected)
	case e.Err != nil:
		return e.Err.Error()
	default:
		return e.Kind.String()
	}
}

func (e *Error) Unwrap() error { return e.Err }

// New makes an error of a kind from a format that may wrap with %w.
func New(kind Kind, format string, args ...any) error {
	return &Error{Kind: kind, Err: fmt.Errorf(format, args...)}
}

// Field makes an Invalid error that names the field and what was expected.
func Field(field, expected string) error {
	return &Error{Kind: Invalid, Field: field, Expected: expected}
}

// KindOf is the kind of err; Transient where nothing says otherwise, because
// an unknown error must not lose an event.
func KindOf(err error) Kind {
	var e *Error
	if errors.As(err, &e) {
		return e.Kind
	}
	return Transient
}

// Is reports whether err is of a kind.
func Is(err error, kind Kind) bool {
	var e *Error
	return errors.As(err, &e) && e.Kind == kind
}
