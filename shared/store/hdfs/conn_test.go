package hdfs

import (
	"encoding/binary"
	"errors"
	"io"
	"net"
	"os"
	"testing"
	"time"

	"google.golang.org/protobuf/encoding/protowire"
)

// packet is one as the client sends it, with some data.
func packet(number int64) []byte {
	var h []byte
	h = protowire.AppendTag(h, 1, protowire.Fixed64Type)
	h = protowire.AppendFixed64(h, 4096)
	h = protowire.AppendTag(h, 2, protowire.Fixed64Type)
	h = protowire.AppendFixed64(h, uint64(number))
	h = protowire.AppendTag(h, 3, protowire.VarintType)
	h = protowire.AppendVarint(h, 0)
	h = protowire.AppendTag(h, 4, protowire.Fixed32Type)
	h = protowire.AppendFixed32(h, 3)
	p := binary.BigEndian.AppendUint32(nil, 4+4+3)
	p = binary.BigEndian.AppendUint16(p, uint16(len(h)))
	return append(append(p, h...), 1, 2, 3, 4, 'a', 'b', 'c')
}

// ack is an acknowledgement with its length before it.
func ack(number int64, packed bool, statuses ...uint64) []byte {
	var m []byte
	m = protowire.AppendTag(m, 1, protowire.VarintType)
	m = protowire.AppendVarint(m, protowire.EncodeZigZag(number))
	var all []byte
	for _, s := range statuses {
		if packed {
			all = protowire.AppendVarint(all, s)
			continue
		}
		m = protowire.AppendTag(m, 2, protowire.VarintType)
		m = protowire.AppendVarint(m, s)
	}
	if packed {
		m = protowire.AppendTag(m, 2, protowire.BytesType)
		m = protowire.AppendBytes(m, all)
	}
	m = protowire.AppendTag(m, 3, protowire.VarintType)
	m = protowire.AppendVarint(m, 123456)
	return append(binary.AppendUvarint(nil, uint64(len(m))), m...)
}

// stream is a connection that writes a block, and its other end.
func stream(t *testing.T) (*dataConn, net.Conn) {
	t.Helper()
	here, there := net.Pipe()
	t.Cleanup(func() { _, _ = here.Close(), there.Close() })
	go func() { _, _ = io.Copy(io.Discard, there) }()
	c := newDataConn(here)
	if c.readable() {
		t.Error("acknowledgements can be followed before a block is written")
	}
	write(t, c, append([]byte{0, 28, 80}, "request"...))
	if !c.readable() {
		t.Error("acknowledgements cannot be followed")
	}
	answer(t, c, there, append([]byte{5}, "hello"...), 64)
	return c, there
}

func write(t *testing.T, c *dataConn, p []byte) {
	t.Helper()
	if n, err := c.Write(p); n != len(p) || err != nil {
		t.Fatalf("wrote %d of %d bytes: %v", n, len(p), err)
	}
}

// answer lets the client read p in pieces.
func answer(t *testing.T, c *dataConn, there net.Conn, p []byte, piece int) {
	t.Helper()
	go func() { _, _ = there.Write(p) }()
	buf := make([]byte, piece)
	for left := len(p); left > 0; {
		n, err := c.Read(buf)
		if err != nil {
			t.Fatal(err)
		}
		left -= n
	}
}

func soon() time.Time { return time.Now().Add(10 * time.Millisecond) }

func TestAcknowledgements(t *testing.T) {
	t.Parallel()
	for _, piece := range []int{1, 7, 1000} {
		c, there := stream(t)
		write(t, c, packet(1))
		write(t, c, packet(2))
		write(t, c, packet(-1)) // a heartbeat
		if err := c.wait(soon()); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatalf("nothing was acknowledged: %v", err)
		}
		answer(t, c, there, append(ack(-1, false, 0), ack(1, false, 0, 0, 0)...), piece)
		if err := c.wait(soon()); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatalf("the first packet was acknowledged only: %v", err)
		}
		answer(t, c, there, ack(2, true, 0, 0, 0), piece)
		if err := c.wait(time.Now().Add(time.Minute)); err != nil {
			t.Fatal(err)
		}
	}
}

func TestAcknowledgementsThatFail(t *testing.T) {
	t.Parallel()
	for name, bad := range map[string][]byte{
		"the second DataNode fails":   ack(1, false, 0, 1),
		"it fails in a packed answer": ack(1, true, 0, 2),
		"no message":                  {3, 0xff, 0xff, 0xff},
		"a length without end":        {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff},
		"a length of terabytes":       {0xff, 0xff, 0xff, 0xff, 0xff, 0x7f},
	} {
		c, there := stream(t)
		write(t, c, packet(1))
		answer(t, c, there, bad, 1000)
		if err := c.wait(time.Now().Add(time.Minute)); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("%s: error is %v", name, err)
		}
	}
	c, there := stream(t)
	write(t, c, packet(1))
	there.Close()
	if _, err := c.Read(make([]byte, 10)); err == nil {
		t.Error("read from a closed connection")
	}
	if err := c.wait(time.Now().Add(time.Minute)); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("closed: error is %v", err)
	}
}

// A stream that is given up swallows what the client still wants to write.
func TestGivenUp(t *testing.T) {
	t.Parallel()
	c, _ := stream(t)
	c.give()
	write(t, c, packet(1))
	if _, err := c.Read(make([]byte, 10)); err == nil {
		t.Error("read from a stream that was given up")
	}
}

// What an encrypted connection carries is not taken for acknowledgements.
func TestUnreadable(t *testing.T) {
	t.Parallel()
	here, there := net.Pipe()
	t.Cleanup(func() { _, _ = here.Close(), there.Close() })
	go func() { _, _ = io.Copy(io.Discard, there) }()
	c := newDataConn(here)
	write(t, c, []byte{0xde, 0xad, 0xbe, 0xef})
	write(t, c, []byte{0, 0, 0, 17, 1})
	answer(t, c, there, []byte("anything"), 100)
	if c.readable() {
		t.Error("acknowledgements are followed")
	}
}

// A connection to a NameNode that has failed once is never used again.
func TestNameConnStaysBroken(t *testing.T) {
	t.Parallel()
	here, there := net.Pipe()
	defer there.Close()
	p := &pulse{}
	c := &nameConn{Conn: here, timeout: 10 * time.Millisecond, pulse: p}
	go func() { _, _ = io.ReadFull(there, make([]byte, 4)) }()
	if _, err := c.Write([]byte("call")); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Read(make([]byte, 10)); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("read without an answer: %v", err)
	}
	if _, err := c.Write([]byte("call")); !errors.Is(err, net.ErrClosed) {
		t.Errorf("wrote to a broken connection: %v", err)
	}
	if _, err := c.Read(make([]byte, 10)); !errors.Is(err, net.ErrClosed) {
		t.Errorf("read from a broken connection: %v", err)
	}
	if p.held() {
		t.Error("a lease is held that was never answered")
	}
}

func TestPulse(t *testing.T) {
	t.Parallel()
	now := time.Now()
	var p pulse
	if p.beat(now); !p.held() {
		t.Error("not held")
	}
	p = pulse{last: now.Add(-leaseMargin - time.Second)}
	if p.held() {
		t.Error("held without an answer for long")
	}
	if p.beat(now); p.held() {
		t.Error("held again after it may have been lost")
	}
}

func FuzzAcknowledged(f *testing.F) {
	f.Add(ack(5, false, 0, 0, 0)[1:])
	f.Add(ack(5, true, 0, 1)[1:])
	f.Fuzz(func(t *testing.T, m []byte) {
		number, err := acknowledged(m)
		if err == nil && len(m) == 0 && number != -1 {
			t.Errorf("an empty message acknowledges packet %d", number)
		}
		_, _ = packetNumber(m)
	})
}
