package redistest

import (
	"crypto/tls"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/footfall/footfall/shared/certtest"
)

// The user as whom this package itself uses a secured server.
const (
	adminName     = "redistest"
	adminPassword = "of the tests"
)

// Security is what a server asks of its clients. It takes no plain connection
// and nobody without a name and a password.
type Security struct {
	CAFile     string        // of the authority that signs clients
	Pair       certtest.Pair // what the server shows
	AskClients bool          // clients must show a certificate
	Username   string        // of a user beside that of this package
	Password   string
	Rules      string      // what the user may do, as ACL SETUSER takes it
	Client     *tls.Config // what this package itself connects with
}

// lines are the security in the words of redis.conf.
func (c *Security) lines(port string) []string {
	ask := "no"
	if c.AskClients {
		ask = "yes"
	}
	return []string{
		"bind 127.0.0.1", "port 0", "tls-port " + port, "tls-replication yes", "tls-auth-clients " + ask,
		fmt.Sprintf("tls-ca-cert-file %q", c.CAFile), fmt.Sprintf("tls-cert-file %q", c.Pair.CertFile), fmt.Sprintf("tls-key-file %q", c.Pair.KeyFile),
		"user default off",
		fmt.Sprintf("user %s on %q allkeys allchannels allcommands", adminName, ">"+adminPassword),
		fmt.Sprintf("user %s on %q %s", c.Username, ">"+c.Password, c.Rules),
	}
}

// StartSecured starts a server that asks for TLS and credentials; more are
// lines of redis.conf. Where redis-server was built without TLS it skips the
// test.
func StartSecured(t testing.TB, secure Security, more ...string) *Server {
	t.Helper()
	return startSecured(t, &secure, append([]string{`save ""`}, more...))
}

// StartSecuredSentinel starts a Sentinel that asks for security itself and
// watches over a secured master, which it reaches as this package does.
func StartSecuredSentinel(t testing.TB, secure Security, name string, master *Server) *Server {
	t.Helper()
	host, port, err := net.SplitHostPort(master.Addr)
	if err != nil {
		t.Fatal(err)
	}
	s := startSecured(t, &secure, []string{
		fmt.Sprintf("sentinel monitor %s %s %s 1", name, host, port),
		fmt.Sprintf("sentinel auth-user %s %s", name, adminName),
		fmt.Sprintf("sentinel auth-pass %s %q", name, adminPassword),
	}, "--sentinel")
	return s
}

func startSecured(t testing.TB, secure *Security, more []string, args ...string) *Server {
	t.Helper()
	s := &Server{t: t, dir: t.TempDir(), Addr: FreeAddr(t), secure: secure}
	_, port, err := net.SplitHostPort(s.Addr)
	if err != nil {
		t.Fatal(err)
	}
	conf := filepath.Join(s.dir, "redis.conf")
	lines := append(secure.lines(port), fmt.Sprintf("dir %q", s.dir))
	if err := os.WriteFile(conf, []byte(strings.Join(append(lines, more...), "\n")+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	s.args = append([]string{conf}, args...)
	s.Restart()
	t.Cleanup(s.Kill)
	return s
}

// withoutTLS tells whether a server has ended because it knows no TLS.
func withoutTLS(said string) bool {
	return strings.Contains(said, "tls-port") && strings.Contains(said, "Bad directive")
}
