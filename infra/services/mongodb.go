package services

import (
	"context"
	"crypto/tls"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
)

// MongoDB is SecantusDB, which speaks MongoDB's protocol over MongoDB's own
// storage engine. It is one Python process: good to judge logic and faults
// by, not speed.
type MongoDB struct {
	*Server
	plain  []string // what it is started with where nothing is secured
	secure MongoDBSecurity
}

// MongoDBSecurity is what the server asks of its clients; the zero value is
// nothing.
type MongoDBSecurity struct {
	CertFile, KeyFile string      // PEM of what it shows; without, connections are plain
	CAFile            string      // PEM of who signs its clients
	AskClients        bool        // each client must show a certificate
	Auth              bool        // each client must log in
	Client            *tls.Config // for whoever looks whether it answers; nil where connections are plain
}

// secantusLaunch starts SecantusDB so that it hears SIGTERM always. Its main
// thread sleeps on a lock without end; a signal that the system has given to
// another of its threads is seen only when that sleep is over.
const secantusLaunch = `import sys, time
from secantus import cli, server
def wait(self):
    while not self._stop_event.is_set():
        time.sleep(0.1)
server.SecantusDBServer.wait = wait
sys.exit(cli.main())
`

// StartMongoDB starts SecantusDB on a free port with its data in opts.Dir and
// returns when it answers. An acknowledged write is on disk; clients can make
// it fail with configureFailPoint.
func StartMongoDB(ctx context.Context, opts Options) (*MongoDB, error) {
	if err := os.MkdirAll(opts.Dir, 0o700); err != nil {
		return nil, err
	}
	ports, err := choosePorts(opts.Dir, "mongodb")
	if err != nil {
		return nil, err
	}
	at := func(name string) string { return filepath.Join(opts.Dir, name) }
	// An empty configuration, so that it does not look for one in the home folder.
	if err := os.WriteFile(at("secantusd.toml"), nil, 0o600); err != nil {
		return nil, err
	}
	s := &Server{name: "mongodb", addr: ports.address("mongodb"), dir: opts.Dir, opts: opts,
		program: program{path: opts.Software.Python, args: []string{"-c", secantusLaunch, "--config", at("secantusd.toml"),
			"--host", "127.0.0.1", "--port", strconv.Itoa(ports["mongodb"]), "--storage-path", at("data"),
			"--sync-on-commit", "--enable-test-commands", "--cache-size", "256M", "--log-level", "WARNING"}}}
	m := &MongoDB{Server: s, plain: s.program.args}
	s.probe = func(ctx context.Context) error { return mongoAnswers(ctx, s.addr, m.secure.Client) }
	return m, startOrKill(ctx, s)
}

// Secure says what the server asks of its clients from its next start on; it
// must not be running. Users are made before, while it asks for nothing.
func (m *MongoDB) Secure(s MongoDBSecurity) error {
	if m.Running() {
		return fmt.Errorf("cannot secure %s: it is running", m.name)
	}
	args := slices.Clone(m.plain)
	if s.CertFile != "" {
		args = append(args, "--tls-cert-file", s.CertFile, "--tls-key-file", s.KeyFile)
	}
	if s.CAFile != "" {
		args = append(args, "--tls-ca-file", s.CAFile)
	}
	if s.AskClients {
		args = append(args, "--tls-require-client-cert")
	}
	if s.Auth {
		args = append(args, "--auth")
	}
	m.secure, m.program.args = s, args
	return nil
}

// URI is the connection string for clients.
func (m *MongoDB) URI() string { return "mongodb://" + m.addr + "/?directConnection=true" }

// mongoAnswers sends {hello: 1, $db: "admin"}; any answer to it will do.
func mongoAnswers(ctx context.Context, addr string, secure *tls.Config) error {
	dial := (&net.Dialer{}).DialContext
	if secure != nil {
		dial = (&tls.Dialer{Config: secure}).DialContext
	}
	conn, err := dial(ctx, "tcp", addr)
	if err != nil {
		return err
	}
	defer conn.Close()
	if deadline, ok := ctx.Deadline(); ok {
		if err := conn.SetDeadline(deadline); err != nil {
			return err
		}
	}
	const body = "\x10hello\x00\x01\x00\x00\x00" + "\x02$db\x00\x06\x00\x00\x00admin\x00" + "\x00"
	const opMsg, header = 2013, 16
	le := binary.LittleEndian
	// Length, request, response to, opcode, then flags and a body section.
	msg := le.AppendUint32(nil, uint32(header+4+1+4+len(body)))
	for _, n := range []uint32{1, 0, opMsg, 0} {
		msg = le.AppendUint32(msg, n)
	}
	msg = append(msg, 0)
	msg = le.AppendUint32(msg, uint32(4+len(body)))
	if _, err := conn.Write(append(msg, body...)); err != nil {
		return err
	}
	var answer [header]byte
	if _, err := io.ReadFull(conn, answer[:]); err != nil {
		return err
	}
	if op := le.Uint32(answer[12:]); op != opMsg {
		return fmt.Errorf("%s answers hello with operation %d", addr, op)
	}
	return nil
}
