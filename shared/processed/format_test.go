package processed_test

import (
	"encoding/hex"
	"os"
	"strings"
	"testing"

	"github.com/footfall/footfall/shared/event"
	"github.com/footfall/footfall/shared/processed"
)

// exampleRows are the two rows of the example on the format's page.
func exampleRows() []processed.Row {
	rows := make([]processed.Row, 2)
	for i := range rows {
		rows[i] = processed.Row{
			Batch: event.BatchID{0x01, 0x9a, 0xb0}, Seq: uint32(3 + 2*i), EventID: processed.ID{Hi: 1, Lo: uint64(i)},
			Millis: 1_795_456_800_000 + int64(i)*1500, User: 0x1122334455667788, Client: 0x1122334455667788,
		}
		rows[i].Text[processed.ColName] = "page_view"
		rows[i].Text[processed.ColPagePath] = []string{"/", "/a"}[i]
	}
	rows[1].Params = []processed.Param{{Key: "plan", Text: "pro"}}
	return rows
}

// TestFormatPage compares the bytes on the format's page with those of the
// code, both ways: stored documents are read for years.
func TestFormatPage(t *testing.T) {
	page, err := os.ReadFile("../docs/formats/processed.md")
	if err != nil {
		t.Fatal(err)
	}
	var digits strings.Builder
	_, example, _ := strings.Cut(string(page), "## Example")
	for line := range strings.Lines(example) {
		if code, _, ok := strings.Cut(line, "  |"); ok && strings.HasPrefix(line, "    ") {
			digits.WriteString(strings.ReplaceAll(strings.TrimSpace(code), " ", ""))
		}
	}
	want := hex.EncodeToString(processed.Encode(build(exampleRows())))
	if digits.String() != want {
		t.Errorf("the page has\n%s\nthe code writes\n%s", digits.String(), want)
	}
	data, err := hex.DecodeString(digits.String())
	if err != nil {
		t.Fatal(err)
	}
	f, err := processed.Decode(data, processed.Everything())
	if err != nil {
		t.Fatal(err)
	}
	sameRows(t, f, exampleRows())
}

// A document of before is read; one of after is not.
func TestVersions(t *testing.T) {
	data := processed.Encode(build(exampleRows()))
	for version, readable := range map[byte]bool{0: false, 1: true, processed.Version: true, processed.Version + 1: false} {
		data[0] = version
		f, err := processed.Decode(data, processed.Everything())
		if (err == nil) != readable {
			t.Errorf("version %d: %v", version, err)
		}
		u := processed.NewUnion(processed.Everything())
		if err := u.Add(data, nil); (err == nil) != readable {
			t.Errorf("version %d in a union: %v", version, err)
		}
		if readable {
			sameRows(t, f, exampleRows())
		}
	}
}
