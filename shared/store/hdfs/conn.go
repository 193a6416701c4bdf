package hdfs

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/protobuf/encoding/protowire"
)

// leaseMargin is how long after its last renewal that was answered a lease
// still counts as held. HDFS keeps it for 60 s (the soft limit).
const leaseMargin = 45 * time.Second

// pulse tells whether a client's lease is held for certain.
type pulse struct {
	mu   sync.Mutex
	last time.Time // when the last request that was answered was sent
	lost bool
}

func (p *pulse) beat(sent time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.lost = p.lost || !p.last.IsZero() && time.Since(p.last) > leaseMargin
	p.last = sent
}

func (p *pulse) held() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return !p.lost && time.Since(p.last) <= leaseMargin
}

// nameConn is a connection to a NameNode. The client sends a request and then
// reads its answer, one after the other. One that has failed stays failed: the
// client goes on to the next NameNode only where a write fails.
type nameConn struct {
	net.Conn
	timeout time.Duration
	pulse   *pulse
	broken  atomic.Bool
	sent    atomic.Int64 // when the last request was sent
}

func (c *nameConn) Write(p []byte) (int, error) {
	if c.broken.Load() {
		return 0, net.ErrClosed
	}
	now := time.Now()
	c.sent.Store(now.UnixNano())
	if err := c.SetWriteDeadline(now.Add(c.timeout)); err != nil {
		return 0, c.fail(err)
	}
	n, err := c.Conn.Write(p)
	if err != nil {
		return n, c.fail(err)
	}
	return n, nil
}

func (c *nameConn) Read(p []byte) (int, error) {
	if c.broken.Load() {
		return 0, net.ErrClosed
	}
	if err := c.SetReadDeadline(time.Now().Add(c.timeout)); err != nil {
		return 0, c.fail(err)
	}
	n, err := c.Conn.Read(p)
	if err != nil {
		return n, c.fail(err)
	}
	c.pulse.beat(time.Unix(0, c.sent.Load()))
	return n, nil
}

func (c *nameConn) fail(err error) error {
	c.broken.Store(true)
	_ = c.Close()
	return err
}

// dataConn is a connection to a DataNode. On one that writes a block in the
// clear it follows the packets out and their acknowledgements in.
type dataConn struct {
	net.Conn
	discard atomic.Bool // swallow what is written: the stream is given up

	mu          sync.Mutex
	writes      bool  // it writes a block, and what passes is readable
	opened      bool  // the DataNode has answered the request
	sent, acked int64 // numbers of packets
	in          []byte
	err         error
	changed     chan struct{}
}

func newDataConn(c net.Conn) *dataConn { return &dataConn{Conn: c, changed: make(chan struct{}, 1)} }

// opWriteBlock begins a request to write a block: version of the data transfer
// protocol (28) and operation (80).
var opWriteBlock = []byte{0, 28, 80}

func (c *dataConn) Write(p []byte) (int, error) {
	if c.discard.Load() {
		return len(p), nil
	}
	c.mu.Lock()
	switch {
	case c.writes:
		if n, ok := packetNumber(p); ok {
			c.sent = max(c.sent, n)
		}
	case bytes.HasPrefix(p, opWriteBlock):
		c.writes = true
	}
	c.mu.Unlock()
	n, err := c.Conn.Write(p)
	if err != nil {
		c.note(err)
	}
	return n, err
}

func (c *dataConn) Read(p []byte) (int, error) {
	if c.discard.Load() {
		return 0, net.ErrClosed
	}
	n, err := c.Conn.Read(p)
	if n > 0 {
		c.follow(p[:n])
	}
	if err != nil {
		c.note(err)
	}
	return n, err
}

// give gives the stream up: the client can then end its goroutines without
// writing anything any more.
func (c *dataConn) give() {
	c.discard.Store(true)
	_ = c.Close()
}

func (c *dataConn) note(err error) {
	c.mu.Lock()
	if c.err == nil {
		c.err = err
	}
	c.mu.Unlock()
	c.wake()
}

func (c *dataConn) wake() {
	select {
	case c.changed <- struct{}{}:
	default:
	}
}

// follow reads acknowledgements: messages with their length before them. The
// first one answers the request.
func (c *dataConn) follow(p []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.writes || c.err != nil {
		return
	}
	c.in = append(c.in, p...)
	for {
		size, n := binary.Uvarint(c.in)
		if n == 0 || n > 0 && uint64(len(c.in)-n) < size {
			if size > 1<<20 {
				c.err = errors.New("expected an acknowledgement")
			}
			break
		}
		if n < 0 {
			c.err = errors.New("expected an acknowledgement")
			break
		}
		m := c.in[n : n+int(size)]
		if c.opened {
			if number, err := acknowledged(m); err != nil {
				c.err = err
			} else {
				c.acked = max(c.acked, number)
			}
		}
		c.opened = true
		c.in = c.in[n+int(size):]
	}
	c.wake()
}

// readable reports whether acknowledgements can be followed: not where the
// connection is encrypted or signed.
func (c *dataConn) readable() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.writes
}

// wait returns when every packet that was sent is acknowledged by all
// DataNodes of the pipeline.
func (c *dataConn) wait(until time.Time) error {
	timer := time.NewTimer(time.Until(until))
	defer timer.Stop()
	for {
		c.mu.Lock()
		done, err := c.acked >= c.sent, c.err
		c.mu.Unlock()
		if err != nil {
			return fmt.Errorf("cannot read what the DataNode acknowledges: %w", err)
		}
		if done {
			return nil
		}
		select {
		case <-c.changed:
		case <-timer.C:
			return fmt.Errorf("cannot wait any longer for the DataNode's acknowledgement: %w", os.ErrDeadlineExceeded)
		}
	}
}

// packetNumber is the number of a packet, from its header: length (4 bytes),
// length of the header (2 bytes), PacketHeaderProto. Heartbeats have none.
func packetNumber(p []byte) (int64, bool) {
	if len(p) < 6 {
		return 0, false
	}
	size := int(binary.BigEndian.Uint16(p[4:]))
	if len(p) < 6+size {
		return 0, false
	}
	const sequence = 2 // sfixed64
	number, found := int64(0), false
	err := fields(p[6:6+size], func(f protowire.Number, t protowire.Type, v uint64, _ []byte) error {
		if f == sequence && t == protowire.Fixed64Type {
			number, found = int64(v), true
		}
		return nil
	})
	return number, err == nil && found && number >= 0
}

// acknowledged reads a PipelineAckProto: the number of the packet, and one
// status for each DataNode of the pipeline. A heartbeat has number -1.
func acknowledged(m []byte) (number int64, err error) {
	const sequence, reply = 1, 2
	number = -1
	status := func(v uint64) error {
		if v != 0 {
			return fmt.Errorf("a DataNode of the pipeline failed with status %d", v)
		}
		return nil
	}
	err = fields(m, func(f protowire.Number, t protowire.Type, v uint64, b []byte) error {
		switch {
		case f == sequence && t == protowire.VarintType:
			number = protowire.DecodeZigZag(v)
		case f == reply && t == protowire.VarintType:
			return status(v)
		case f == reply && t == protowire.BytesType: // packed
			for len(b) > 0 {
				v, n := protowire.ConsumeVarint(b)
				if n < 0 {
					return protowire.ParseError(n)
				}
				if err := status(v); err != nil {
					return err
				}
				b = b[n:]
			}
		}
		return nil
	})
	return number, err
}

// fields calls fn with each field of a message.
func fields(m []byte, fn func(f protowire.Number, t protowire.Type, v uint64, b []byte) error) error {
	for len(m) > 0 {
		f, t, n := protowire.ConsumeTag(m)
		if n < 0 {
			return protowire.ParseError(n)
		}
		m = m[n:]
		var v uint64
		var b []byte
		switch t {
		case protowire.VarintType:
			v, n = protowire.ConsumeVarint(m)
		case protowire.Fixed64Type:
			v, n = protowire.ConsumeFixed64(m)
		case protowire.BytesType:
			b, n = protowire.ConsumeBytes(m)
		default:
			n = protowire.ConsumeFieldValue(f, t, m)
		}
		if n < 0 {
			return protowire.ParseError(n)
		}
		m = m[n:]
		if err := fn(f, t, v, b); err != nil {
			return err
		}
	}
	return nil
}
