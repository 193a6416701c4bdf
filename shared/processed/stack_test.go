package processed_test

import (
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/footfall/footfall/shared/event"
	"github.com/footfall/footfall/shared/processed"
)

// What is taken off a stack is what was put on it, wherever it lies.
func TestStackKeepsRows(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var stack processed.Stack
		var rows []processed.Row
		for k := range rapid.IntRange(1, 5).Draw(t, "frames") {
			more := genRows(t, event.BatchID{byte(k + 1)}, int64(rapid.IntRange(-5, 500_000).Draw(t, "hour")))
			stack.Append(build(more))
			rows = append(rows, more...)
		}
		checkStack(t, &stack, rows, rapid.SliceOfNDistinct(rapid.IntRange(0, len(rows)-1), 0, len(rows), rapid.ID).Draw(t, "chosen"))
	})
}

// TestStackOfMany goes over the ends of blocks, with columns that begin late, and
// values that need more room than those before.
func TestStackOfMany(t *testing.T) {
	var stack processed.Stack
	var rows []processed.Row
	for n := range 12 {
		more := sampleRows(1000 + n)
		for i := range more {
			r := &more[i]
			r.Batch = event.BatchID{byte(n)}
			r.Millis += int64(n%5) * 3_600_000
			r.Text[processed.ColTerm] = ""
			if n > 7 && i%3 == 0 {
				r.Text[processed.ColTerm] = r.Text[processed.ColPagePath]
				r.Value = int64(i) << (4 * n)
				r.Params = []processed.Param{{Key: "late", Text: "yes"}}
			}
		}
		stack.Append(build(more))
		rows = append(rows, more...)
	}
	var chosen []int
	for i := 0; i < len(rows); i += 1 + i%7 {
		chosen = append(chosen, i)
	}
	checkStack(t, &stack, rows, chosen)
	if perRow := stack.Size() / int64(len(rows)); perRow < 30 || perRow > 150 {
		t.Errorf("%d bytes per row are not likely", perRow)
	}
}

func checkStack(t interface {
	Helper()
	Fatalf(string, ...any)
}, stack *processed.Stack, rows []processed.Row, chosen []int) {
	t.Helper()
	if stack.Len() != len(rows) {
		t.Fatalf("%d rows, want %d", stack.Len(), len(rows))
	}
	slices.Sort(chosen)
	places, want := make([]uint32, len(chosen)), make([]processed.Row, len(chosen))
	for i, c := range chosen {
		places[i], want[i] = uint32(c), rows[c]
	}
	sameRows(t, stack.Select(places), want)
	users, sessions := map[uint64]uint32{}, map[processed.Session]uint32{}
	for i, r := range rows {
		row := uint32(i)
		if stack.Millis(row) != r.Millis || stack.ID(row) != r.EventID || (stack.Code(processed.ColPagePath, row) == 0) != (r.Text[processed.ColPagePath] == "") {
			t.Fatalf("row %d is another", i)
		}
		if _, met := users[r.User]; !met {
			users[r.User] = uint32(len(users))
		}
		of := processed.Session{Client: r.Client, Session: r.Session}
		if _, met := sessions[of]; !met {
			sessions[of] = uint32(len(sessions))
		}
		number, ok := stack.UserNumber(r.User)
		if stack.User(row) != users[r.User] || !ok || number != users[r.User] || stack.Session(row) != sessions[of] {
			t.Fatalf("row %d is of user %d and session %d, want %d and %d", i, stack.User(row), stack.Session(row), users[r.User], sessions[of])
		}
	}
	if _, ok := stack.UserNumber(0x1234567890abcdef); ok {
		t.Fatalf("expected nothing of a user who has no row")
	}
}
