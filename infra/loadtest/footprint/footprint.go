// Package footprint tells what a running Footfall takes of its machine, and
// what stands in its data folder.
package footprint

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"

	"github.com/footfall/footfall/infra/loadtest"
	"github.com/footfall/footfall/shared/store/embedded"
)

// Taken is what a process takes at one moment. Sizes are bytes.
type Taken struct {
	CPU        time.Duration    // used since its start
	Resident   int64            // memory, by the kernel's account
	Heap       int64            // to which the garbage collector lets the heap grow: what is live, and GOGC per cent
	Goroutines int64            //
	OpenFiles  int64            // sockets included
	Archive    int64            // of its files
	Kafka      int64            // of the log of the Kafka in the process
	Store      int64            // of all files of the store
	Tables     map[string]int64 // of the store's files by table, and "log" and "dead files"
}

// Of asks a process whose data folder is on this machine.
func Of(ctx context.Context, p *loadtest.Process) (t Taken, err error) {
	if t.CPU, err = p.CPU(); err != nil {
		return t, err
	}
	if t.Resident, err = p.Memory(); err != nil {
		return t, err
	}
	for _, part := range []struct {
		name string
		size *int64
	}{{"archive", &t.Archive}, {"kafka", &t.Kafka}, {"store", &t.Store}} {
		if *part.size, err = FolderBytes(filepath.Join(p.Data, part.name)); err != nil {
			return t, err
		}
	}
	metrics, err := loadtest.Get(ctx, p.URL+"/metrics")
	if err != nil {
		return t, err
	}
	return t, t.read(bytes.NewReader(metrics))
}

// read takes what it knows out of metrics in Prometheus' text form.
func (t *Taken) read(r io.Reader) error {
	t.Tables = map[string]int64{}
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		at := strings.LastIndexByte(lines.Text(), ' ')
		if at < 0 || strings.HasPrefix(lines.Text(), "#") {
			continue
		}
		name := lines.Text()[:at]
		v, err := strconv.ParseFloat(lines.Text()[at+1:], 64)
		if err != nil {
			return fmt.Errorf("cannot read metric %q: %w", name, err)
		}
		switch name {
		case "go_memstats_next_gc_bytes":
			t.Heap = int64(v)
		case "go_goroutines":
			t.Goroutines = int64(v)
		case "process_open_fds":
			t.OpenFiles = int64(v)
		}
		if part, ok := strings.CutPrefix(name, `footfall_store_disk_bytes{part="`); ok {
			t.Tables[strings.TrimSuffix(part, `"}`)] = int64(v)
		}
	}
	if t.Heap == 0 || len(t.Tables) == 0 {
		return errors.Join(lines.Err(), errors.New("expected the metrics of a Footfall on embedded stores"))
	}
	return lines.Err()
}

// FolderBytes are the sizes of all files below dir, those that go meanwhile
// left out.
func FolderBytes(dir string) (sum int64, err error) {
	err = filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			var info fs.FileInfo
			if info, err = d.Info(); err == nil {
				sum += info.Size()
			}
		}
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return err
	})
	return sum, err
}

// Tables counts what stands in the store of a Footfall that has ended.
func Tables(ctx context.Context, dir string) ([]embedded.TableSize, error) {
	stores, err := embedded.Open(dir, embedded.Options{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		return nil, err
	}
	sizes, err := stores.Sizes(ctx)
	return sizes, errors.Join(err, stores.Close())
}

// Machine names this machine as tables of figures do.
func Machine() string {
	memory := "?"
	if info, err := os.ReadFile("/proc/meminfo"); err == nil {
		var kb int64
		if _, err := fmt.Sscanf(string(info), "MemTotal: %d kB", &kb); err == nil {
			memory = fmt.Sprintf("%d GiB", (kb+1<<19)>>20)
		}
	}
	return fmt.Sprintf("%d cores (%s), %s, %s", runtime.NumCPU(), runtime.GOARCH, memory, runtime.Version())
}
