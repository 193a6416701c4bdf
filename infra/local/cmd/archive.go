package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/footfall/footfall/shared/event"
	"github.com/footfall/footfall/shared/store/embedded"
)

// archive lists and prints the archive of a data folder. It only reads, so it
// may run beside a running Footfall; files that are being written are listed,
// and printed as far as they are whole.
func archive(ctx context.Context, args []string, data string, stdin io.Reader, stdout io.Writer) error {
	if len(args) == 0 {
		return errors.New("archive: expected ls or cat")
	}
	out := bufio.NewWriterSize(stdout, 64<<10)
	var err error
	switch args[0] {
	case "ls":
		err = archiveList(ctx, args[1:], data, out)
	case "cat":
		err = archiveCat(ctx, args[1:], data, stdin, out)
	default:
		err = fmt.Errorf("archive: expected ls or cat, got %q", args[0])
	}
	return errors.Join(err, out.Flush())
}

func archiveList(ctx context.Context, args []string, data string, out io.Writer) error {
	from, to := event.Hour(0), event.HourOf(time.Now())+1
	for i, into := range []*event.Hour{&from, &to} {
		if i >= len(args) {
			break
		}
		t, err := instant(args[i])
		if err != nil {
			return err
		}
		*into = event.HourOf(t)
	}
	files, err := embedded.ListArchive(ctx, filepath.Join(data, "archive"), from, to)
	if err != nil {
		return err
	}
	for _, f := range files {
		state := "complete"
		if !f.Complete {
			state = "being written"
		}
		fmt.Fprintf(out, "%s  %12d  %-13s  %s\n", f.Hour, f.Bytes, state, f.Path)
	}
	return nil
}

func instant(s string) (time.Time, error) {
	for _, layout := range []string{time.RFC3339, "2006-01-02T15", time.DateOnly} {
		if t, err := time.Parse(layout, s); err == nil {
			return t, nil
		}
	}
	return time.Time{}, fmt.Errorf("cannot read time %q: expected 2026-11-23, 2026-11-23T18 or RFC 3339, in UTC", s)
}

// batchLine is one batch as a line of JSON.
type batchLine struct {
	BatchID    string          `json:"batch_id"`
	ReceivedAt time.Time       `json:"received_at"`
	Instance   string          `json:"instance"`
	Events     []event.Event   `json:"events"`
	Refused    []event.Refused `json:"refused,omitempty"`
}

func archiveCat(ctx context.Context, args []string, data string, stdin io.Reader, out io.Writer) error {
	if len(args) == 0 {
		return errors.New("archive cat: expected the paths that archive ls prints, or -")
	}
	lines := json.NewEncoder(out)
	seen := map[event.BatchID]bool{} // a batch may stand in the archive twice
	for _, path := range args {
		if err := catFile(ctx, path, data, stdin, lines, seen); err != nil {
			return fmt.Errorf("cannot print %q: %w", path, err)
		}
	}
	return nil
}

func catFile(ctx context.Context, path, data string, stdin io.Reader, lines *json.Encoder, seen map[event.BatchID]bool) error {
	in := stdin
	if path != "-" {
		if !filepath.IsAbs(path) {
			path = filepath.Join(data, "archive", path)
		}
		file, err := os.Open(path)
		if err != nil {
			return err
		}
		defer file.Close()
		in = file
	}
	batches := event.NewReader(in)
	for ctx.Err() == nil {
		b, err := batches.Next()
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return nil // the end, or the block that is just being written
		}
		if err != nil {
			return err
		}
		if seen[b.ID] {
			continue
		}
		seen[b.ID] = true
		if err := lines.Encode(batchLine{b.ID.String(), b.ReceivedAt, b.Instance, b.Events, b.Refused}); err != nil {
			return err
		}
	}
	return ctx.Err()
}
