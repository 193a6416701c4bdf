package hdfs

import (
	"bufio"
	"context"
	"encoding/binary"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/footfall/footfall/shared/event"
	"github.com/footfall/footfall/shared/store"
)

// nameNode stands before a real NameNode. While it is active it passes on what
// comes; on standby it answers as a NameNode on standby does.
type nameNode struct {
	real     string
	listener net.Listener

	mu     sync.Mutex
	active bool
	conns  []net.Conn
}

func standBefore(t *testing.T, real string, active bool) *nameNode {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	n := &nameNode{real: real, listener: l, active: active}
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			n.mu.Lock()
			n.conns = append(n.conns, c)
			active := n.active
			n.mu.Unlock()
			serving.Go(func() {
				defer func() { _ = c.Close() }()
				if active {
					n.pass(c)
				} else {
					_ = standby(c)
				}
			})
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		n.become(false)
		serving.Wait()
	})
	return n
}

// become changes its state and drops who is connected.
func (n *nameNode) become(active bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.active = active
	for _, c := range n.conns {
		_ = c.Close()
	}
	n.conns = nil
}

func (n *nameNode) pass(c net.Conn) {
	to, err := net.Dial("tcp", n.real)
	if err != nil {
		return
	}
	defer func() { _ = to.Close() }()
	go func() {
		_, _ = io.Copy(c, to)
		_ = c.Close()
	}()
	_, _ = io.Copy(to, c)
}

// standby reads calls, each behind its length, and refuses them all.
func standby(c net.Conn) error {
	r := bufio.NewReader(c)
	if _, err := r.Discard(len("hrpc") + 3); err != nil {
		return err
	}
	for {
		var size [4]byte
		if _, err := io.ReadFull(r, size[:]); err != nil {
			return err
		}
		call := make([]byte, binary.BigEndian.Uint32(size[:]))
		if _, err := io.ReadFull(r, call); err != nil {
			return err
		}
		header, _ := protowire.ConsumeBytes(call)
		var id int64
		var client []byte
		if err := fields(header, func(f protowire.Number, _ protowire.Type, v uint64, b []byte) error {
			switch f {
			case 3:
				id = protowire.DecodeZigZag(v)
			case 4:
				client = b
			}
			return nil
		}); err != nil {
			return err
		}
		if id < 0 {
			continue // who it is
		}
		var answer []byte
		for f, v := range map[protowire.Number]uint64{1: uint64(id), 2: 1, 3: 9, 6: 1} { // call, ERROR, version, ERROR_APPLICATION
			answer = protowire.AppendTag(answer, f, protowire.VarintType)
			answer = protowire.AppendVarint(answer, v)
		}
		for f, v := range map[protowire.Number]string{4: "org.apache.hadoop.ipc.StandbyException", 5: "Operation category READ is not supported in state standby", 7: string(client)} {
			answer = protowire.AppendTag(answer, f, protowire.BytesType)
			answer = protowire.AppendString(answer, v)
		}
		answer = protowire.AppendBytes(nil, answer)
		if _, err := c.Write(append(binary.BigEndian.AppendUint32(nil, uint32(len(answer))), answer...)); err != nil {
			return err
		}
	}
}

// The active NameNode and the one on standby change places under load, twice.
func TestFailover(t *testing.T) {
	t.Parallel()
	cfg := testConfig(t)
	removeRoot(t, cfg)
	behind := cfg.NameNodes[0]
	first, second := standBefore(t, behind, false), standBefore(t, behind, true)
	cfg.NameNodes = []string{first.listener.Addr().String(), second.listener.Addr().String()}
	a := mustOpen(t, cfg)
	tr := send(a, 4)
	told := map[event.BatchID]bool{}
	for range 2 {
		before, _ := tr.count()
		eventually(t, 30*time.Second, "nothing is acknowledged", func() bool { n, _ := tr.count(); return n > before+20 })
		eventually(t, 30*time.Second, "nothing is completed", func() bool {
			ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
			defer cancel()
			ids, err := a.Complete(ctx, time.Now(), store.ClosePolicy{})
			for _, id := range ids {
				told[id] = true
			}
			return err == nil && len(ids) > 0
		})
		second.become(false)
		first.become(true)
		first, second = second, first
	}
	acknowledged := tr.stop(t)
	completeAll(t, acknowledged, told, a)
}
