//go:build plantedbug

package transform

import (
	"slices"
	"strings"
	"time"

	"github.com/footfall/footfall/shared/event"
)

// reading is a batch's events as an older version understood them, wrongly:
//
//   - a purchase counts an hour before it happened,
//   - the page of a page_view lacks the last part of its path,
//   - the stream of a sign_up is looked for in lower case, where it is nobody's.
func reading(b *event.Batch) *event.Batch {
	read := *b
	read.Events = slices.Clone(b.Events)
	for i := range read.Events {
		switch e := &read.Events[i]; e.Name {
		case "purchase":
			e.TimeMicros -= time.Hour.Microseconds()
		case "page_view":
			e.PageLocation = withoutLastPart(e.PageLocation)
		case "sign_up":
			e.Stream = strings.ToLower(e.Stream)
		}
	}
	return &read
}

func withoutLastPart(location string) string {
	path, _, _ := strings.Cut(location, "?")
	host := strings.Index(path, "://") + len("://")
	if last := strings.LastIndex(path, "/"); last > host {
		return path[:last]
	}
	return location
}
