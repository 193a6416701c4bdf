package function

import (
	"encoding/json"
	"errors"
	"math"
	"net/http"
	"strconv"
	"time"

	"github.com/footfall/footfall/shared/fault"
)

// Problem is the body of every answer that is an error (RFC 9457, media type
// application/problem+json).
type Problem struct {
	Title    string `json:"title"`
	Status   int    `json:"status"`
	Kind     string `json:"kind"` // fault.Kind: "invalid", "not_found", …
	Field    string `json:"field,omitempty"`
	Expected string `json:"expected,omitempty"`
	Message  string `json:"message"`
}

// ProblemOf describes an error as it is, to whoever may know.
func ProblemOf(err error) Problem {
	kind := fault.KindOf(err)
	p := Problem{
		Title:   http.StatusText(kind.Status()),
		Status:  kind.Status(),
		Kind:    kind.String(),
		Message: err.Error(),
	}
	var f *fault.Error
	if errors.As(err, &f) {
		p.Field, p.Expected = f.Field, f.Expected
	}
	return p
}

// errorNoter is a response writer that wants to know the error behind an
// answer: the server's, which logs those that are ours.
type errorNoter interface{ noteError(error) }

// WriteError answers a person or a sender of events with err: its kind decides
// the status, a 503 carries Retry-After. What a transient error says about our
// stores stays in the log.
func WriteError(w http.ResponseWriter, err error) {
	kind, p := fault.KindOf(err), ProblemOf(err)
	var retryAfter time.Duration
	var f *fault.Error
	if errors.As(err, &f) {
		retryAfter = f.RetryAfter
	}
	switch kind {
	case fault.Transient:
		p.Message = "Footfall cannot do this right now; please try again"
		noteError(w, err)
	case fault.Unauthenticated:
		w.Header().Set("WWW-Authenticate", `Bearer realm="footfall"`)
	}
	if p.Status == http.StatusServiceUnavailable && retryAfter <= 0 {
		retryAfter = time.Second
	}
	if retryAfter > 0 {
		w.Header().Set("Retry-After", strconv.FormatInt(int64(math.Ceil(retryAfter.Seconds())), 10))
	}
	writeJSON(w, p.Status, "application/problem+json", p)
}

// WriteJSON answers with a value as JSON. A value that cannot be encoded is
// a fault of ours: 500.
func WriteJSON(w http.ResponseWriter, status int, v any) {
	writeJSON(w, status, "application/json", v)
}

func writeJSON(w http.ResponseWriter, status int, contentType string, v any) {
	body, err := json.Marshal(v)
	if err != nil {
		noteError(w, err)
		http.Error(w, `{"title":"Internal Server Error","status":500}`, http.StatusInternalServerError)
		return
	}
	h := w.Header()
	h.Set("Content-Type", contentType)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Content-Length", strconv.Itoa(len(body)+1))
	w.WriteHeader(status)
	// The client may be gone; nothing is left to tell it.
	_, _ = w.Write(append(body, '\n'))
}

// noteError hands err to the server's writer, through whatever wraps it.
func noteError(w http.ResponseWriter, err error) {
	for w != nil {
		if n, ok := w.(errorNoter); ok {
			n.noteError(err)
			return
		}
		u, ok := w.(interface{ Unwrap() http.ResponseWriter })
		if !ok {
			return
		}
		w = u.Unwrap()
	}
}
