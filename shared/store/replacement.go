package store

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/footfall/footfall/shared/event"
	"github.com/footfall/footfall/shared/fault"
)

// Replacement asks for one file in the place of others.
type Replacement struct {
	Hour    event.Hour // of arrival, of all of them
	Sources []string   // paths of complete files; their blocks are written in this order
	At      time.Time  // when, for a later Sweep
	// Edit gives the bytes of a block, of the same batch, in the new file. Where
	// it is nil all are copied as they are.
	Edit func(b *event.Block) ([]byte, error)
}

// Replaced is what a Replace has written.
type Replaced struct {
	File    Digest
	Sources []Digest
	Batches int // in the file
	Doubled int // blocks left out, because their batch stands in the file already
	Edited  int // blocks that differ from their source's
}

// CheckSources compares what a replacement is to replace with the files that
// its hour has.
func CheckSources(r Replacement, files []ArchiveFile) error {
	if len(r.Sources) == 0 {
		return fault.Field("sources", "at least one file")
	}
	for i, s := range r.Sources {
		at := slices.IndexFunc(files, func(f ArchiveFile) bool { return f.Path == s && f.Complete })
		if at < 0 || slices.Contains(r.Sources[:i], s) {
			return fault.New(fault.Conflict, "hour %s has no file %q to replace", r.Hour, s)
		}
	}
	return nil
}

// Digest names a file by what it holds.
type Digest struct {
	Path   string
	Bytes  int64
	SHA256 [sha256.Size]byte
}

// Dropped is what a Drop has removed.
type Dropped struct {
	Files int
	Bytes int64
}

// DamagedFileError is the error of a file that cannot be read to its end.
type DamagedFileError struct {
	Path string
	Err  error
}

func (d *DamagedFileError) Error() string {
	return fmt.Sprintf("archive file %q is damaged: %v", d.Path, d.Err)
}

// Unwrap is what reading it said.
func (d *DamagedFileError) Unwrap() error { return d.Err }

// CopyBlocks writes a file with the blocks of r's sources to w, each batch once.
// It is what adapters have in common, as is what follows.
func CopyBlocks(ctx context.Context, w io.Writer, r Replacement, open func(path string) (io.ReadCloser, error)) (Replaced, error) {
	sum := sha256.New()
	c := copying{out: bufio.NewWriterSize(io.MultiWriter(sum, w), 1<<20), edit: r.Edit, seen: make(map[event.BatchID]bool)}
	if err := c.write(event.ContainerHeader()); err != nil {
		return c.done, err
	}
	for _, source := range r.Sources {
		in, err := open(source)
		if err != nil {
			return c.done, err
		}
		err = c.copy(ctx, in, source)
		if err := errors.Join(err, in.Close()); err != nil {
			return c.done, err
		}
	}
	if err := c.out.Flush(); err != nil {
		return c.done, err
	}
	c.done.Batches = len(c.seen)
	c.done.File.SHA256 = [sha256.Size]byte(sum.Sum(nil))
	return c.done, nil
}

// copying is one CopyBlocks.
type copying struct {
	out  *bufio.Writer
	edit func(b *event.Block) ([]byte, error)
	seen map[event.BatchID]bool // written
	done Replaced
}

func (c *copying) write(data []byte) error {
	n, err := c.out.Write(data)
	c.done.File.Bytes += int64(n)
	return err
}

func (c *copying) copy(ctx context.Context, in io.Reader, path string) error {
	read := &readOnce{r: in}
	sum := sha256.New()
	blocks := event.NewReader(io.TeeReader(read, sum))
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		b, err := blocks.NextBlock()
		switch {
		case errors.Is(err, io.EOF) && read.err == nil:
			c.done.Sources = append(c.done.Sources, Digest{path, read.n, [sha256.Size]byte(sum.Sum(nil))})
			return nil
		case read.err != nil:
			return fmt.Errorf("cannot read archive file %q: %w", path, read.err)
		case err != nil:
			return &DamagedFileError{path, err}
		}
		if c.seen[b.Batch] {
			c.done.Doubled++
			continue
		}
		c.seen[b.Batch] = true
		data := b.Data
		if c.edit != nil {
			if data, err = c.edit(&b); err != nil {
				return fmt.Errorf("cannot edit batch %q of archive file %q: %w", b.Batch, path, err)
			}
			if !bytes.Equal(data, b.Data) {
				c.done.Edited++
			}
		}
		if err := c.write(data); err != nil {
			return err
		}
	}
}

// readOnce keeps the error that reading ended with, other than the file's end:
// what could not be read is not damaged.
type readOnce struct {
	r   io.Reader
	n   int64
	err error
}

func (r *readOnce) Read(p []byte) (int, error) {
	n, err := r.r.Read(p)
	r.n += int64(n)
	if err != nil && !errors.Is(err, io.EOF) {
		r.err = err
	}
	return n, err
}

// A Replace makes its new file under a hidden name, then a note beside the
// place it is for, then gives it its final name: that is the switch. A note
// whose file is not there says nothing. Sources go before the note does.

// ReplacementNote says which files of a folder another one replaces, all by
// their names in it.
type ReplacementNote struct {
	File    string    `json:"file"`
	Sources []string  `json:"sources"`
	At      time.Time `json:"at"`
}

const (
	noteEnd     = ".replaces"
	replacedEnd = "-merged.avro"
)

// NewReplacement names a new file and is the note of it.
func NewReplacement(r Replacement) (ReplacementNote, error) {
	id, err := event.NewBatchID()
	if err != nil {
		return ReplacementNote{}, err
	}
	text := id.String() // of its time and of chance
	n := ReplacementNote{File: text[:12] + text[24:] + replacedEnd, At: r.At.UTC()}
	for _, s := range r.Sources {
		n.Sources = append(n.Sources, path.Base(s))
	}
	return n, nil
}

// Name is the note's own name in the folder.
func (n *ReplacementNote) Name() string { return "_" + n.File + noteEnd }

// Encode is the note as it is written.
func (n *ReplacementNote) Encode() ([]byte, error) { return json.Marshal(n) }

// ReplacementNotes are the notes of a folder.
type ReplacementNotes struct {
	Live  []ReplacementNote
	Inert []string // names of notes whose file is not there
}

// ReadNotes reads the notes among the names of a folder.
func ReadNotes(names []string, read func(name string) ([]byte, error)) (ReplacementNotes, error) {
	var notes ReplacementNotes
	for _, name := range names {
		file, ok := noted(name)
		if !ok {
			continue
		}
		if !slices.Contains(names, file) {
			notes.Inert = append(notes.Inert, name)
			continue
		}
		data, err := read(name)
		if err != nil {
			return notes, err
		}
		n := ReplacementNote{}
		if err := json.Unmarshal(data, &n); err != nil || n.File != file {
			return notes, fmt.Errorf("cannot read the note %q of an archive folder: found %q", name, data)
		}
		notes.Live = append(notes.Live, n)
	}
	return notes, nil
}

func noted(name string) (file string, ok bool) {
	file, ok = strings.CutSuffix(name, noteEnd)
	if !ok {
		return "", false
	}
	return strings.CutPrefix(file, "_")
}

// Replaced are the names of the files that do not count.
func (n *ReplacementNotes) Replaced() map[string]bool {
	var all map[string]bool
	for _, note := range n.Live {
		for _, s := range note.Sources {
			if all == nil {
				all = make(map[string]bool)
			}
			all[s] = true
		}
	}
	return all
}

// Due are the notes of replacements before a time, whose sources may go, in an
// order that never brings back what was replaced: a note counts while its file
// stands, so it goes before that file does, as another one's source.
func (n *ReplacementNotes) Due(before time.Time) []ReplacementNote {
	var due []ReplacementNote
	left := slices.Clone(n.Live)
	for {
		at := slices.IndexFunc(left, func(note ReplacementNote) bool {
			return note.At.Before(before) && !slices.ContainsFunc(left, func(other ReplacementNote) bool {
				return slices.Contains(note.Sources, other.File)
			})
		})
		if at < 0 {
			return due
		}
		due = append(due, left[at])
		left = slices.Delete(left, at, at+1)
	}
}

// SameSwitches reports whether two lists of a folder's names agree on what has
// been switched to. Where a list is not one step, a Replace beside it may show
// in part only; two that agree are what the folder was between them.
func SameSwitches(a, b []string) bool {
	switches := func(names []string) (s []string) {
		for _, n := range names {
			if strings.HasSuffix(n, noteEnd) || strings.HasSuffix(n, replacedEnd) {
				s = append(s, n)
			}
		}
		slices.Sort(s)
		return s
	}
	return slices.Equal(switches(a), switches(b))
}
