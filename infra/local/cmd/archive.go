package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/footfall/footfall/infra/local"
	"github.com/footfall/footfall/shared/event"
	"github.com/footfall/footfall/shared/function"
	"github.com/footfall/footfall/shared/store"
	"github.com/footfall/footfall/shared/store/embedded"
	"github.com/footfall/footfall/shared/store/hdfs"
)

// archive lists and prints the archive of a data folder, or that in HDFS where
// the environment names NameNodes. It only reads, so it may run beside a
// running Footfall; files that are being written are listed, and in a data
// folder printed as far as they are whole.
func archive(ctx context.Context, args, environ []string, stdin io.Reader, stdout io.Writer) (err error) {
	if len(args) == 0 {
		return errors.New("archive: expected ls or cat")
	}
	from, err := archiveOf(environ)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, from.close()) }()
	out := bufio.NewWriterSize(stdout, 64<<10)
	switch args[0] {
	case "ls":
		err = archiveList(ctx, args[1:], from, out)
	case "cat":
		err = archiveCat(ctx, args[1:], from, stdin, out)
	default:
		err = fmt.Errorf("archive: expected ls or cat, got %q", args[0])
	}
	return errors.Join(err, out.Flush())
}

// archived is where an archive is read.
type archived struct {
	list  func(ctx context.Context, from, to event.Hour) ([]store.ArchiveFile, error)
	open  func(ctx context.Context, path string) (io.ReadCloser, error)
	close func() error
}

func archiveOf(environ []string) (*archived, error) {
	var inHDFS []string
	for _, kv := range environ {
		if strings.HasPrefix(kv, function.Prefix+"HDFS_") {
			inHDFS = append(inHDFS, kv)
		}
	}
	if len(inHDFS) > 0 {
		var cfg hdfs.Config
		if err := function.Load(inHDFS, nil, &cfg); err != nil {
			return nil, err
		}
		a, err := hdfs.Open(cfg, slog.New(slog.DiscardHandler))
		if err != nil {
			return nil, err
		}
		return &archived{list: a.List, open: a.Open, close: a.Close}, nil
	}
	dir := filepath.Join(local.DataDir(environ), "archive")
	return &archived{
		list: func(ctx context.Context, from, to event.Hour) ([]store.ArchiveFile, error) {
			return embedded.ListArchive(ctx, dir, from, to)
		},
		open: func(_ context.Context, path string) (io.ReadCloser, error) {
			if !filepath.IsAbs(path) {
				path = filepath.Join(dir, path)
			}
			return os.Open(path)
		},
		close: func() error { return nil },
	}, nil
}

func archiveList(ctx context.Context, args []string, in *archived, out io.Writer) error {
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
	files, err := in.list(ctx, from, to)
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

func archiveCat(ctx context.Context, args []string, in *archived, stdin io.Reader, out io.Writer) error {
	if len(args) == 0 {
		return errors.New("archive cat: expected the paths that archive ls prints, or -")
	}
	lines := json.NewEncoder(out)
	seen := map[event.BatchID]bool{} // a batch may stand in the archive twice
	for _, path := range args {
		if err := catFile(ctx, path, in, stdin, lines, seen); err != nil {
			return fmt.Errorf("cannot print %q: %w", path, err)
		}
	}
	return nil
}

func catFile(ctx context.Context, path string, from *archived, stdin io.Reader, lines *json.Encoder, seen map[event.BatchID]bool) error {
	in := stdin
	if path != "-" {
		file, err := from.open(ctx, path)
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
