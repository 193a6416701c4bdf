package reprocess

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/footfall/footfall/shared/erasure"
	"github.com/footfall/footfall/shared/event"
	"github.com/footfall/footfall/shared/fault"
	"github.com/footfall/footfall/shared/store"
)

// folders are the hours of the archive that may have something of the person
// (see arrival), ascending.
func (p *pass) folders() []event.Hour {
	var hours []event.Hour
	for _, h := range p.e.Work.Arrivals {
		hours = append(hours, h-1, h, h+1)
	}
	slices.Sort(hours)
	return slices.Compact(hours)
}

// archive looks through the files of an hour for one that has something of the
// person, and edits it when that is recorded.
func (p *pass) archive(ctx context.Context) (bool, error) {
	w := &p.e.Work
	hours := p.folders()
	at, _ := slices.BinarySearch(hours, w.Hour)
	if at == len(hours) {
		p.next(erasure.Forget)
		return true, nil
	}
	h := hours[at]
	listing, cancel := p.call(ctx)
	files, err := p.Archive.List(listing, h, h+1)
	cancel()
	if err != nil {
		return false, err
	}
	if w.Found {
		return p.rewrite(ctx, &p.e.Proof.Files[len(p.e.Proof.Files)-1], files)
	}
	for i := range files {
		f := &files[i]
		if !f.Complete || p.isDamaged(f.Path) {
			continue
		}
		found, err := p.search(ctx, f.Path)
		var damaged *store.DamagedFileError
		switch {
		case errors.As(err, &damaged):
			p.damaged(damaged)
			return true, nil
		case fault.Is(err, fault.NotFound): // it has been replaced since it was listed
			return waitFor(p.e, busy(h)), nil
		case err != nil:
			return false, err
		case found > 0:
			w.Found = true
			w.Pass.Archived += found
			p.e.Proof.Files = append(p.e.Proof.Files, erasure.File{Before: erasure.Digest{Path: f.Path, Bytes: f.Bytes}, Hour: h, At: p.Clock().UTC()})
			return true, nil
		}
	}
	w.Hour, p.e.WaitingFor = h+1, ""
	return true, nil
}

// rewrite puts a file without the person in the place of one.
func (p *pass) rewrite(ctx context.Context, f *erasure.File, files []store.ArchiveFile) (bool, error) {
	w := &p.e.Work
	if !slices.ContainsFunc(files, func(o store.ArchiveFile) bool { return o.Path == f.Before.Path }) {
		// Whoever died here had switched already, or others have merged it
		// meanwhile: then the file that they made is searched.
		w.Found, f.At = false, p.Clock().UTC()
		return true, nil
	}
	done, err := p.Archive.Replace(ctx, store.Replacement{Hour: f.Hour, Sources: []string{f.Before.Path}, At: p.Clock(), Edit: p.edit})
	var damaged *store.DamagedFileError
	switch {
	case errors.As(err, &damaged):
		p.damaged(damaged)
		w.Found = false
		return true, nil
	case fault.Is(err, fault.Conflict), fault.Is(err, fault.NotFound):
		return waitFor(p.e, busy(f.Hour)), nil
	case err != nil:
		return false, err
	}
	f.Before, f.After, f.Batches, f.At = digest(&done.Sources[0]), digest(&done.File), done.Edited, p.Clock().UTC()
	w.Found, p.e.WaitingFor = false, ""
	return true, nil
}

// damaged tells that a file must be seen to by hand.
func (p *pass) damaged(d *store.DamagedFileError) {
	p.e.Problems = append(p.e.Problems, fmt.Sprintf("file %q of the archive cannot be read to its end, and so not be edited: %v", d.Path, d.Err))
}

func (p *pass) isDamaged(path string) bool {
	return slices.ContainsFunc(p.e.Problems, func(problem string) bool { return strings.Contains(problem, strconv.Quote(path)) })
}

func digest(d *store.Digest) erasure.Digest {
	return erasure.Digest{Path: d.Path, Bytes: d.Bytes, SHA256: hex.EncodeToString(d.SHA256[:])}
}

// search counts what a file has of the person.
func (p *pass) search(ctx context.Context, path string) (found int64, err error) {
	in, err := p.Archive.Open(ctx, path)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, in.Close()) }()
	read := &failing{Reader: in}
	blocks := event.NewReader(read)
	for {
		b, err := blocks.NextBlock()
		if failed := errors.Join(read.err, ctx.Err()); failed != nil {
			return 0, failed
		}
		if errors.Is(err, io.EOF) {
			return found, nil
		}
		if err != nil {
			return 0, &store.DamagedFileError{Path: path, Err: err}
		}
		if !p.e.Covers(b.Batch) || !slices.ContainsFunc(p.spellings, b.Mentions) {
			continue
		}
		batch, err := b.Decode()
		if err != nil {
			return 0, &store.DamagedFileError{Path: path, Err: err}
		}
		found += p.blank(batch)
	}
}

// failing keeps the error that reading ended with, other than the file's end:
// what could not be read is not damaged.
type failing struct {
	io.Reader
	err error
}

func (r *failing) Read(p []byte) (int, error) {
	n, err := r.Reader.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		r.err = err
	}
	return n, err
}

// edit is search for who writes the file anew.
func (p *pass) edit(b *event.Block) ([]byte, error) {
	if !p.e.Covers(b.Batch) || !slices.ContainsFunc(p.spellings, b.Mentions) {
		return b.Data, nil
	}
	return b.Edit(func(batch *event.Batch) bool { return p.blank(batch) > 0 })
}

// blank erases what a batch has of the person, in the merchant's streams.
func (p *pass) blank(b *event.Batch) (n int64) {
	for i := range b.Events {
		if e := &b.Events[i]; p.e.Person.Did(e) && p.m.Stream(e.Stream) != nil {
			e.Erase()
			n++
		}
	}
	for i := range b.Refused {
		r := &b.Refused[i]
		if p.m.Stream(r.Stream) != nil && p.mentioned(r.ID+"\x00"+r.Detail+"\x00"+string(r.Data)) {
			r.Erase()
			n++
		}
	}
	return n
}
