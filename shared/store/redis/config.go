package redis

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	"github.com/footfall/footfall/shared/function"
)

// Modes of Config.
const (
	ModeSingle   = "single"   // one address: a server, or what stands before some
	ModeSentinel = "sentinel" // the addresses of Sentinels, which know the master
	ModeCluster  = "cluster"  // the addresses of some of a Cluster's nodes, which know the others
)

// Config is where Redis is. Variables have the prefix FOOTFALL_.
type Config struct {
	Mode   string   `env:"REDIS_MODE" envDefault:"single"`
	Addrs  []string `env:"REDIS_ADDRS" envDefault:"127.0.0.1:6379"` // host:port
	Master string   `env:"REDIS_MASTER"`                            // the master's name, of ModeSentinel
	DB     int      `env:"REDIS_DB" envDefault:"0"`                 // not in a Cluster, which has only 0
	// KeyPrefix stands before every key, for a Redis that others use, too.
	KeyPrefix string `env:"REDIS_KEY_PREFIX" envDefault:"ff:"`

	Username         string          `env:"REDIS_USERNAME"`
	Password         function.Secret `env:"REDIS_PASSWORD"`
	SentinelUsername string          `env:"REDIS_SENTINEL_USERNAME"`
	SentinelPassword function.Secret `env:"REDIS_SENTINEL_PASSWORD"`

	TLS           bool   `env:"REDIS_TLS"`             // of Sentinels, too
	TLSCAFile     string `env:"REDIS_TLS_CA_FILE"`     // PEM; the system's authorities where empty
	TLSCertFile   string `env:"REDIS_TLS_CERT_FILE"`   // PEM, for a server that asks who we are; read again for each connection
	TLSKeyFile    string `env:"REDIS_TLS_KEY_FILE"`    // PEM
	TLSServerName string `env:"REDIS_TLS_SERVER_NAME"` // in the certificates; each address's host where empty

	Timeout     time.Duration `env:"REDIS_TIMEOUT" envDefault:"3s"`      // of one round trip, with its retries
	DialTimeout time.Duration `env:"REDIS_DIAL_TIMEOUT" envDefault:"1s"` // of one connection
	Retries     int           `env:"REDIS_RETRIES" envDefault:"4"`       // of what is transient, some tens to hundreds of milliseconds apart
	PoolSize    int           `env:"REDIS_POOL_SIZE" envDefault:"16"`    // connections to each server, at most
}

// Validate reports all faults.
func (c *Config) Validate() error {
	var errs []error
	fail := func(name, format string, args ...any) {
		errs = append(errs, fmt.Errorf("%sREDIS_%s: expected %s", function.Prefix, name, fmt.Sprintf(format, args...)))
	}
	if len(c.Addrs) == 0 {
		fail("ADDRS", "at least one host:port")
	}
	for _, a := range c.Addrs {
		if host, port, err := net.SplitHostPort(a); err != nil || host == "" || port == "" {
			fail("ADDRS", "host:port, got %q", a)
		}
	}
	switch c.Mode {
	case ModeSingle:
		if len(c.Addrs) > 1 {
			fail("MODE", "%s or %s with %d addresses, got %s", ModeSentinel, ModeCluster, len(c.Addrs), c.Mode)
		}
	case ModeSentinel:
		if c.Master == "" {
			fail("MASTER", "the name under which the Sentinels know the master")
		}
	case ModeCluster:
		if c.DB != 0 {
			fail("DB", "0 in a Cluster, got %d", c.DB)
		}
	default:
		fail("MODE", "%s, %s or %s, got %q", ModeSingle, ModeSentinel, ModeCluster, c.Mode)
	}
	if c.Mode != ModeSentinel {
		if c.Master != "" {
			fail("MASTER", "nothing unless REDIS_MODE is %s", ModeSentinel)
		}
		if c.SentinelUsername != "" || c.SentinelPassword != "" {
			fail("SENTINEL_PASSWORD", "nothing unless REDIS_MODE is %s", ModeSentinel)
		}
	}
	if c.Username != "" && c.Password == "" {
		fail("PASSWORD", "a password with REDIS_USERNAME")
	}
	if c.SentinelUsername != "" && c.SentinelPassword == "" {
		fail("SENTINEL_PASSWORD", "a password with REDIS_SENTINEL_USERNAME")
	}
	if strings.ContainsAny(c.KeyPrefix, "{}") {
		fail("KEY_PREFIX", "a prefix without braces, which say where a Cluster keeps a key, got %q", c.KeyPrefix)
	}
	if c.DB < 0 {
		fail("DB", "zero or more, got %d", c.DB)
	}
	for _, d := range []struct {
		name string
		v    time.Duration
	}{{"TIMEOUT", c.Timeout}, {"DIAL_TIMEOUT", c.DialTimeout}} {
		if d.v < time.Millisecond {
			fail(d.name, "at least 1ms, got %s", d.v)
		}
	}
	if c.Retries < 0 || c.Retries > 20 {
		fail("RETRIES", "0 to 20, got %d", c.Retries)
	}
	if c.PoolSize < 1 || c.PoolSize > 10_000 {
		fail("POOL_SIZE", "1 to 10000, got %d", c.PoolSize)
	}
	if !c.TLS && (c.TLSCAFile != "" || c.TLSCertFile != "" || c.TLSKeyFile != "" || c.TLSServerName != "") {
		fail("TLS", "true with REDIS_TLS_CA_FILE and the like")
	}
	if _, err := c.tls(); err != nil {
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// tls is nil where connections are plain. What is wrong with a file is
// reported even then.
func (c *Config) tls() (*tls.Config, error) {
	t := &tls.Config{MinVersion: tls.VersionTLS12}
	err := function.TLSFiles{Variables: "REDIS_TLS_", CA: c.TLSCAFile, Cert: c.TLSCertFile, Key: c.TLSKeyFile, ServerName: c.TLSServerName}.Apply(t)
	if err != nil || !c.TLS {
		return nil, err
	}
	return t, nil
}
