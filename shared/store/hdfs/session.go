package hdfs

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"time"

	"github.com/colinmarc/hdfs/v2"
	krb "github.com/jcmturner/gokrb5/v8/client"
	krbconf "github.com/jcmturner/gokrb5/v8/config"
	"github.com/jcmturner/gokrb5/v8/keytab"
)

// session is a client with a name of its own, by which HDFS knows its leases:
// it renews them every second until it is closed.
type session struct {
	client *hdfs.Client
	pulse  pulse
	once   sync.Once

	mu   sync.Mutex
	name *nameConn
	data *dataConn // the last one
}

// sessions makes sessions.
type sessions struct {
	cfg Config

	mu       sync.Mutex
	kerberos *krb.Client
}

// begin connects to the active NameNode.
func (ss *sessions) begin() (*session, error) {
	kerberos, err := ss.login()
	if err != nil {
		return nil, err
	}
	s := &session{}
	dialer := net.Dialer{Timeout: ss.cfg.DialTimeout, KeepAlive: 15 * time.Second}
	opts := hdfs.ClientOptions{
		Addresses:              ss.cfg.NameNodes,
		User:                   ss.cfg.User,
		UseDatanodeHostname:    ss.cfg.DatanodeHostnames,
		DataTransferProtection: ss.cfg.DataTransferProtection,
		KerberosClient:         kerberos,
		NamenodeDialFunc: func(ctx context.Context, network, addr string) (net.Conn, error) {
			c, err := dialer.DialContext(ctx, network, addr)
			if err != nil {
				return nil, err
			}
			nc := &nameConn{Conn: c, timeout: ss.cfg.CallTimeout, pulse: &s.pulse}
			s.mu.Lock()
			s.name = nc
			s.mu.Unlock()
			return nc, nil
		},
		DatanodeDialFunc: func(ctx context.Context, network, addr string) (net.Conn, error) {
			c, err := dialer.DialContext(ctx, network, addr)
			if err != nil {
				return nil, err
			}
			// For the handshake; the client sets its own afterwards.
			if err := c.SetDeadline(time.Now().Add(ss.cfg.CallTimeout)); err != nil {
				return nil, errors.Join(err, c.Close())
			}
			dc := newDataConn(c)
			s.mu.Lock()
			s.data = dc
			s.mu.Unlock()
			return dc, nil
		},
	}
	if kerberos != nil {
		opts.KerberosServicePrincipleName = ss.cfg.KerberosServicePrincipal
	}
	if s.client, err = hdfs.NewClient(opts); err != nil {
		s.cut()
		return nil, fmt.Errorf("cannot connect to a NameNode: %w", err)
	}
	return s, nil
}

// dataConn is the connection to the DataNode; nil where there was none yet.
func (s *session) dataConn() *dataConn {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.data
}

// broken reports whether the connection to the NameNode has failed.
func (s *session) broken() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.name == nil || s.name.broken.Load()
}

// cut closes the connections under the client.
func (s *session) cut() {
	s.mu.Lock()
	name, data := s.name, s.data
	s.mu.Unlock()
	if name != nil {
		_ = name.fail(net.ErrClosed)
	}
	if data != nil {
		data.give()
	}
}

// close ends the session. Leases that it still has end by themselves.
func (s *session) close() {
	s.once.Do(func() {
		s.cut()
		_ = s.client.Close() // the connection is closed already
	})
}

// login is the Kerberos client, once it has a ticket; nil without Kerberos. It
// renews its ticket by itself.
func (ss *sessions) login() (*krb.Client, error) {
	if ss.cfg.KerberosKeytab == "" {
		return nil, nil
	}
	ss.mu.Lock()
	defer ss.mu.Unlock()
	if ss.kerberos != nil {
		return ss.kerberos, nil
	}
	c, err := newKerberos(ss.cfg)
	if err != nil {
		return nil, err
	}
	if err := c.Login(); err != nil {
		c.Destroy()
		return nil, fmt.Errorf("cannot log in as Kerberos principal %q: %w", ss.cfg.KerberosPrincipal, err)
	}
	ss.kerberos = c
	return c, nil
}

func newKerberos(cfg Config) (*krb.Client, error) {
	conf, err := krbconf.Load(cfg.KerberosConf)
	if err != nil {
		// Directives that only other programs understand are no fault.
		var unsupported krbconf.UnsupportedDirective
		if !errors.As(err, &unsupported) {
			return nil, fmt.Errorf("cannot read Kerberos configuration %q: %w", cfg.KerberosConf, err)
		}
	}
	keys, err := keytab.Load(cfg.KerberosKeytab)
	if err != nil {
		return nil, fmt.Errorf("cannot read keytab %q: %w", cfg.KerberosKeytab, err)
	}
	name, realm := splitPrincipal(cfg.KerberosPrincipal)
	return krb.NewWithKeytab(name, realm, keys, conf, krb.DisablePAFXFAST(true)), nil
}

func (ss *sessions) close() {
	ss.mu.Lock()
	defer ss.mu.Unlock()
	if ss.kerberos != nil {
		ss.kerberos.Destroy()
		ss.kerberos = nil
	}
}

const (
	alreadyBeingCreated = "org.apache.hadoop.hdfs.protocol.AlreadyBeingCreatedException"
	recoveryInProgress  = "org.apache.hadoop.hdfs.protocol.RecoveryInProgressException"
	fileNotFound        = "java.io.FileNotFoundException"
)

// isLeased reports whether HDFS refuses because another client has the file
// open, or because it is just taking it from a dead one: come again later.
func isLeased(err error) bool {
	var remote hdfs.Error
	if !errors.As(err, &remote) {
		return false
	}
	switch remote.Exception() {
	case alreadyBeingCreated, recoveryInProgress:
		return true
	}
	return false
}

// isGone reports whether a file that was opened is not there any more: the
// client asks where its blocks are when it begins to read.
func isGone(err error) bool {
	var remote hdfs.Error
	return errors.As(err, &remote) && remote.Exception() == fileNotFound
}

func isMissing(err error) bool { return errors.Is(err, os.ErrNotExist) }

// closeWriter closes a file and waits until HDFS has it complete. Not to be
// called again, whatever it returns.
func closeWriter(w *hdfs.FileWriter, until time.Time) error {
	for pause := 2 * time.Millisecond; ; pause = min(2*pause, 200*time.Millisecond) {
		err := w.Close()
		if !hdfs.IsErrReplicating(err) || time.Until(until) < pause {
			return err
		}
		time.Sleep(pause)
	}
}
