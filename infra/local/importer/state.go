package importer

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
)

// Counts says what became of the lines.
type Counts struct {
	Lines    int64            `json:"lines"`
	Pages    int64            `json:"pages"`   // lines that are events
	Skipped  map[string]int64 `json:"skipped"` // lines that are not, by reason
	Sent     int64            `json:"sent"`    // events that were answered
	Accepted int64            `json:"accepted"`
	Rejected map[string]int64 `json:"rejected"` // by reason
}

func newCounts() Counts { return Counts{Skipped: map[string]int64{}, Rejected: map[string]int64{}} }

// mark is a place in the log: every line before it was read, and Digest is the
// hash of their bytes, by which the same log is known again.
type mark struct {
	Lines   int64
	Pages   int64
	Skipped map[string]int64
	Digest  string
}

// state is what an import remembers when it is interrupted.
type state struct {
	Version int    `json:"version"`
	Digest  string `json:"digest"` // of the first Counts.Lines lines
	Counts  Counts `json:"counts"`
}

const stateVersion = 1

// stateFile keeps the state of one import. The zero value keeps nothing.
type stateFile struct{ path string }

// newStateFile names the file for one log read into one stream: it lies in
// dir, or in the user's cache folder where dir is "".
func newStateFile(dir, url, stream, base, log string) (stateFile, error) {
	if dir == "" {
		cache, err := os.UserCacheDir()
		if err != nil {
			return stateFile{}, fmt.Errorf("cannot find a folder for the import's state (name one with -state): %w", err)
		}
		dir = filepath.Join(cache, "footfall", "import")
	}
	log, err := filepath.Abs(log)
	if err != nil {
		return stateFile{}, fmt.Errorf("cannot name %q: %w", log, err)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return stateFile{}, fmt.Errorf("cannot make the folder for the import's state: %w", err)
	}
	name := sha256.New()
	for _, part := range []string{url, stream, base, log} {
		fmt.Fprintf(name, "%d %s\n", len(part), part)
	}
	return stateFile{filepath.Join(dir, hex.EncodeToString(name.Sum(nil)[:16])+".json")}, nil
}

// load returns the state, and false where there is none that can be used: an
// import that starts again is slow, not wrong.
func (f stateFile) load() (state, bool) {
	if f.path == "" {
		return state{}, false
	}
	var s state
	data, err := os.ReadFile(f.path)
	if err != nil || json.Unmarshal(data, &s) != nil || s.Version != stateVersion || s.Counts.Lines == 0 {
		return state{}, false
	}
	if s.Counts.Skipped == nil {
		s.Counts.Skipped = map[string]int64{}
	}
	if s.Counts.Rejected == nil {
		s.Counts.Rejected = map[string]int64{}
	}
	return s, true
}

// save replaces the file in one step.
func (f stateFile) save(s state) error {
	if f.path == "" {
		return nil
	}
	s.Version = stateVersion
	data, err := json.Marshal(s)
	if err == nil {
		err = os.WriteFile(f.path+".new", data, 0o600)
	}
	if err == nil {
		err = os.Rename(f.path+".new", f.path)
	}
	if err != nil {
		return fmt.Errorf("cannot keep the import's state: %w", err)
	}
	return nil
}

// remove forgets a finished import.
func (f stateFile) remove() error {
	if f.path == "" {
		return nil
	}
	if err := os.Remove(f.path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("cannot remove the import's state: %w", err)
	}
	return nil
}

// reached takes a mark into the counts.
func (c *Counts) reached(m mark) {
	c.Lines, c.Pages, c.Skipped = m.Lines, m.Pages, maps.Clone(m.Skipped)
}
