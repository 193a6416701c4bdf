package watched

import (
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"go.opentelemetry.io/otel/metric/noop"
)

func readText(path string) (string, error) {
	data, err := os.ReadFile(path)
	if err == nil && string(data) == "broken" {
		err = errors.New("broken")
	}
	return string(data), err
}

func TestFileIsReadAgainWhenItChanges(t *testing.T) {
	path := filepath.Join(t.TempDir(), "list")
	at := time.Date(2026, 11, 26, 12, 0, 0, 0, time.UTC)
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		at = at.Add(time.Second)
		if err := os.Chtimes(path, at, at); err != nil {
			t.Fatal(err)
		}
	}
	open := func() (*File[string], error) {
		return Open(path, readText, slog.New(slog.DiscardHandler), noop.Meter{})
	}
	if _, err := open(); err == nil {
		t.Error("a missing file was opened")
	}
	write("broken")
	if _, err := open(); err == nil {
		t.Error("a broken file was opened")
	}
	write("one")
	f, err := open()
	if err != nil {
		t.Fatal(err)
	}
	step := func(what string, changed bool, value string) {
		t.Helper()
		if got := f.Check(); got != changed || f.Get() != value {
			t.Errorf("%s: changed %t, %q; expected %t, %q", what, got, f.Get(), changed, value)
		}
	}
	step("unchanged", false, "one")
	write("two")
	step("may still be written", false, "one")
	write("three")
	step("was still written", false, "one")
	step("settled", true, "three")
	step("unchanged again", false, "three")
	write("broken")
	step("broken, may still be written", false, "three")
	step("broken", false, "three")
	step("still broken", false, "three")
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	step("away", false, "three")
	write("four")
	step("back", false, "three")
	step("back and settled", true, "four")
}
