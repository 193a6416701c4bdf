package footprint

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestRead(t *testing.T) {
	var taken Taken
	err := taken.read(strings.NewReader(`# HELP go_goroutines Number of goroutines that currently exist.
# TYPE go_goroutines gauge
go_goroutines 323
go_memstats_next_gc_bytes 7.258185e+06
process_open_fds 135
footfall_store_disk_bytes{part="journal rows"} 1.6339e+04
footfall_store_disk_bytes{part="log"} 0
`))
	if err != nil {
		t.Fatal(err)
	}
	if taken.Goroutines != 323 || taken.Heap != 7258185 || taken.OpenFiles != 135 || taken.Tables["journal rows"] != 16339 || len(taken.Tables) != 2 {
		t.Errorf("%+v", taken)
	}
	if err := taken.read(strings.NewReader("go_goroutines many\n")); err == nil {
		t.Error("a value that is none is no error")
	}
	if err := taken.read(strings.NewReader("go_goroutines 1\n")); err == nil {
		t.Error("another program's metrics are no error")
	}
}

func TestFolderBytes(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"a/b/one", "two"} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, make([]byte, 100), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if n, err := FolderBytes(dir); n != 200 || err != nil {
		t.Errorf("%d bytes, %v", n, err)
	}
	if n, err := FolderBytes(filepath.Join(dir, "none")); n != 0 || err != nil {
		t.Errorf("a folder that is not there: %d bytes, %v", n, err)
	}
}
