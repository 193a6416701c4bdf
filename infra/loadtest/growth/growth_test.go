package main

import (
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestMain makes this program a Footfall where it is told to run.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "run" {
		ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
		defer stop()
		if err := withoutTicks(ctx); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

func TestStep(t *testing.T) {
	if testing.Short() {
		t.Skip("runs for seconds")
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	dir, folder := filepath.Join(t.TempDir(), "step"), t.TempDir()
	s, err := step(ctx, self, dir, 5000, 20)
	if err != nil {
		t.Fatal(err)
	}
	if s.Loaded.Events < 4500 || s.Loaded.Compare.Differences != 0 || s.Loaded.Compare.Values == 0 || s.Ready == 0 || s.Resident == 0 ||
		s.NewEvent == 0 || len(s.Reports) != len(questions) || tableOf(s, "documents").Keys == 0 || s.Loaded.Disk.Archive == 0 {
		t.Errorf("%+v", s)
	}
	began := time.Now()
	again, err := step(ctx, "none", dir, 5000, 20)
	if err != nil || !reflect.DeepEqual(again, s) {
		t.Errorf("measured again after %v: %v\n%+v\n%+v", time.Since(began), err, again, s)
	}
	g := grown{Merchants: 20, Steps: []Step{*s, *s}}
	g.Steps[1].Events *= 10
	if err := g.write(folder); err != nil {
		t.Fatal(err)
	}
	table, err := os.ReadFile(filepath.Join(folder, "growth.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"| what | 5k events | 50k events |", "| start to ready |", "of it documents, bytes per event"} {
		if !strings.Contains(string(table), want) {
			t.Errorf("%q is not in %s", want, table)
		}
	}
	picture, err := os.Open(filepath.Join(folder, "growth.svg"))
	if err != nil {
		t.Fatal(err)
	}
	defer picture.Close()
	for d := xml.NewDecoder(picture); ; {
		if _, err := d.Token(); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
	}
}

func TestNumbers(t *testing.T) {
	if got, err := numbers(" 10000000, 1000000,1000000,"); err != nil || !slices.Equal(got, []int{1_000_000, 10_000_000}) {
		t.Errorf("%v, %v", got, err)
	}
	for _, bad := range []string{"1M", "0", "-5", "999"} {
		if got, err := numbers(bad); err == nil {
			t.Errorf("%q: %v", bad, got)
		}
	}
}
