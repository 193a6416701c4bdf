package function

import (
	"crypto/tls"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/footfall/footfall/shared/certtest"
)

func TestTLSFilesReportEveryFault(t *testing.T) {
	ca := certtest.New(t)
	a, b := ca.Client("a"), ca.Client("b")
	empty := filepath.Join(t.TempDir(), "empty.pem")
	if err := os.WriteFile(empty, []byte("hunter2"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name   string
		files  TLSFiles
		faults []string // none: it is right
	}{
		{"nothing", TLSFiles{}, nil},
		{"all", TLSFiles{CA: ca.CAFile, Cert: a.CertFile, Key: a.KeyFile, ServerName: "s"}, nil},
		{"files that are not there", TLSFiles{CA: "no-ca", Cert: "no-cert", Key: "no-key"}, []string{"CA_FILE", "no-ca", "CERT_FILE", "no-cert", "KEY_FILE", "no-key"}},
		{"a file without PEM", TLSFiles{CA: empty}, []string{"CA_FILE", empty}},
		{"a certificate without PEM", TLSFiles{Cert: empty, Key: a.KeyFile}, []string{"CERT_FILE", empty}},
		{"a key without PEM", TLSFiles{Cert: a.CertFile, Key: empty}, []string{"CERT_FILE", empty}},
		{"no key", TLSFiles{Cert: a.CertFile}, []string{"KEY_FILE: expected"}},
		{"no certificate", TLSFiles{Key: a.KeyFile}, []string{"CERT_FILE: expected"}},
		{"a key of another", TLSFiles{Cert: a.CertFile, Key: b.KeyFile}, []string{"CERT_FILE", b.KeyFile}},
	} {
		c.files.Variables = "X_TLS_"
		err := c.files.Apply(&tls.Config{MinVersion: tls.VersionTLS12})
		if (err != nil) != (len(c.faults) > 0) {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		for _, f := range c.faults {
			if !strings.Contains(err.Error(), f) {
				t.Errorf("%s: nothing about %s in %v", c.name, f, err)
			}
		}
		if err != nil && (strings.Contains(err.Error(), "hunter2") || !strings.Contains(err.Error(), Prefix+"X_TLS_")) {
			t.Errorf("%s: %v tells what the file holds, or not which variable names it", c.name, err)
		}
	}
}

// A certificate that was renewed is shown without a restart.
func TestTLSFilesAreReadAgain(t *testing.T) {
	ca := certtest.New(t)
	p := ca.Client("client")
	var cfg tls.Config
	if err := (TLSFiles{Cert: p.CertFile, Key: p.KeyFile}).Apply(&cfg); err != nil {
		t.Fatal(err)
	}
	before, err := cfg.GetClientCertificate(nil)
	if err != nil {
		t.Fatal(err)
	}
	ca.Client("client") // into the same files
	after, err := cfg.GetClientCertificate(nil)
	if err != nil || after.Leaf.Equal(before.Leaf) {
		t.Errorf("the old one is shown: %v", err)
	}
	if err := os.Remove(p.KeyFile); err != nil {
		t.Fatal(err)
	}
	if _, err := cfg.GetClientCertificate(nil); err == nil || !strings.Contains(err.Error(), "CERT_FILE") {
		t.Errorf("a file that is gone: %v", err)
	}
}

// A client without the certificate that its server asks for learns so, even
// where it writes before it reads and the server has hung up.
func TestAlertsAreHeard(t *testing.T) {
	ca := certtest.New(t)
	p := ca.Server("server", "127.0.0.1")
	pair, err := tls.LoadX509KeyPair(p.CertFile, p.KeyFile)
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	hungUp := make(chan struct{})
	go func() {
		defer close(hungUp)
		c, err := l.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		// It fails, and what the client wrote meanwhile is never read: the
		// system answers with a reset.
		_ = tls.Server(c, &tls.Config{Certificates: []tls.Certificate{pair}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: ca.Pool()}).Handshake()
	}()
	raw, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	c := tls.Client(HearAlerts(raw), &tls.Config{RootCAs: ca.Pool(), ServerName: "127.0.0.1"})
	defer c.Close()
	if err := c.Handshake(); err != nil {
		t.Fatal(err)
	}
	<-hungUp
	for range 3 { // the first is answered with the reset, which the next ones meet
		if _, err := c.Write([]byte("hello")); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := c.Read(make([]byte, 1)); err == nil || !strings.Contains(err.Error(), "certificate required") {
		t.Errorf("got %v, expected that a certificate is required", err)
	}
}
