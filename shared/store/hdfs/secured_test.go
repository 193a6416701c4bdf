package hdfs

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/footfall/footfall/infra/services"
	"github.com/footfall/footfall/shared/event"
	"github.com/footfall/footfall/shared/store"
	"github.com/footfall/footfall/shared/store/storetest"
)

// reconfigure stops an HDFS and starts it with more settings.
func reconfigure(t *testing.T, h *services.HDFS, settings map[string]string) {
	t.Helper()
	if err := h.Stop(); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(h.NameNode.Dir(), "conf", "hdfs-site.xml")
	site, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var more strings.Builder
	for name, value := range settings {
		fmt.Fprintf(&more, "<property><name>%s</name><value>%s</value></property>\n", name, value)
	}
	text := strings.Replace(string(site), "</configuration>", more.String()+"</configuration>", 1)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := h.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// Where data travel encrypted, acknowledgements cannot be followed, and every
// write closes the file. The same suite holds.
func TestEncrypted(t *testing.T) {
	t.Parallel()
	h := ownHDFS(t)
	reconfigure(t, h, map[string]string{
		"dfs.block.access.token.enable": "true",
		"dfs.encrypt.data.transfer":     "true",
		// Without it the client cannot read what the DataNode encrypts.
		"dfs.encrypt.data.transfer.cipher.suites": "AES/CTR/NoPadding",
	})
	cfg := configFor(t, h.Addr())
	storetest.Archive(t, func(tb storetest.TB) (store.Archive, func() store.Archive) {
		cfg := cfg
		id, err := event.NewBatchID()
		if err != nil {
			tb.Fatalf("cannot make an id: %v", err)
		}
		cfg.Root += "/" + id.String()
		return mustOpen(tb, cfg), nil
	})
	a := mustOpen(t, cfg)
	tr := send(a, 4)
	eventually(t, 30*time.Second, "nothing is acknowledged", func() bool { n, _ := tr.count(); return n > 50 })
	acknowledged := tr.stop(t)
	a.crash()
	completeAll(t, acknowledged, map[event.BatchID]bool{}, mustOpen(t, cfg))
}

// The first NameNode of the list is away, or answers that it is on standby.
func TestNameNodes(t *testing.T) {
	t.Parallel()
	cfg := testConfig(t)
	removeRoot(t, cfg)
	cfg.NameNodes = append([]string{"127.0.0.1:1"}, cfg.NameNodes...)
	a := mustOpen(t, cfg)
	b, err := newBlock(noon, 1000)
	if err != nil {
		t.Fatal(err)
	}
	if err := a.Append(t.Context(), []store.Block{b}); err != nil {
		t.Fatal(err)
	}
	completeAll(t, map[event.BatchID]bool{b.Batch: true}, map[event.BatchID]bool{}, a)
}
