package redis

import (
	"bytes"
	"context"
	"crypto/tls"
	"log/slog"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/footfall/footfall/shared/certtest"
	"github.com/footfall/footfall/shared/fault"
	"github.com/footfall/footfall/shared/store"
	"github.com/footfall/footfall/shared/store/redis/redistest"
)

const (
	username = "footfall"
	password = "hunter2"
	// needs is what the stores need to be allowed, and inCluster what they need
	// besides in a Cluster; shared/docs/formats/redis.md says so.
	needs     = "~ff:* +hello +auth +client|setname +ping +hmget +hset +hdel +hincrby +pexpire +zadd +zrangebyscore +zrem +unlink +multi +exec"
	inCluster = " +cluster|slots"
	// ofSentinels is what a client of a Sentinel needs.
	ofSentinels = "allchannels +hello +auth +client|setname +ping +subscribe +sentinel"
)

// secured is how a server with a certificate for a host is to be, of that
// authority.
func secured(ca *certtest.Authority, host, rules string) redistest.Security {
	pair := ca.Server("server-"+host, host)
	admin := ca.Client("admin")
	return redistest.Security{
		CAFile: ca.CAFile, Pair: pair, AskClients: true, Username: username, Password: password, Rules: rules,
		Client: &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: ca.Pool(), ServerName: host,
			GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
				c, err := tls.LoadX509KeyPair(admin.CertFile, admin.KeyFile)
				return &c, err
			}},
	}
}

// secureConfig is the configuration for a secured server.
func secureConfig(ca *certtest.Authority, mode string, addrs ...string) Config {
	client := ca.Client("footfall")
	return Config{
		Mode: mode, Addrs: addrs, KeyPrefix: "ff:", Username: username, Password: password,
		TLS: true, TLSCAFile: ca.CAFile, TLSCertFile: client.CertFile, TLSKeyFile: client.KeyFile,
		Timeout: 5 * time.Second, DialTimeout: 5 * time.Second, Retries: 1, PoolSize: 4,
	}
}

// use does all that stores do; it returns the first error.
func use(t testing.TB, s *Stores) error {
	t.Helper()
	ctx := within(t, 30*time.Second)
	one := entry("m", 3600, "a record")
	if err := s.Ready(ctx); err != nil {
		return err
	}
	if err := s.Summaries.Put(ctx, []store.SummaryEntry{one}); err != nil {
		return err
	}
	got, err := s.Summaries.Get(ctx, []store.SummaryKey{one.Key})
	if err != nil {
		return err
	}
	if !bytes.Equal(got[0], one.Data) {
		t.Errorf("read %q, wrote %q", got[0], one.Data)
	}
	if err := s.Summaries.Delete(ctx, []store.SummaryKey{one.Key}); err != nil {
		return err
	}
	if err := s.Summaries.Drop(ctx, "m", 9); err != nil {
		return err
	}
	_, err = s.Quotas.Add(ctx, []store.Usage{{Tenant: "m", Events: 1}}, time.Minute)
	return err
}

// try opens stores, uses them, and sees to it that nothing said holds a secret.
func try(t *testing.T, cfg Config) error {
	t.Helper()
	var logged bytes.Buffer
	s, err := Open(cfg, slog.New(slog.NewTextHandler(&logged, &slog.HandlerOptions{Level: slog.LevelDebug})))
	if err == nil {
		err = use(t, s)
		if closed := s.Close(context.Background()); closed != nil {
			t.Errorf("cannot close: %v", closed)
		}
	}
	if err != nil {
		logged.WriteString(err.Error())
	}
	for _, secret := range []string{password, "hunter3"} {
		if strings.Contains(logged.String(), secret) {
			t.Errorf("a password stands in %s", logged.String())
		}
	}
	return err
}

// The stores work with all that a server asks for, and without any one of it
// say what is wrong.
func TestSecurity(t *testing.T) {
	ca, strangers := certtest.New(t), certtest.New(t)
	server := redistest.StartSecured(t, secured(ca, "127.0.0.1", needs))
	named := redistest.StartSecured(t, secured(ca, "redis.example", needs))
	asksNobody := secured(ca, "127.0.0.1", needs)
	asksNobody.AskClients = false
	open := redistest.StartSecured(t, asksNobody)
	stranger := strangers.Client("footfall")
	for _, c := range []struct {
		name   string
		addr   string
		change func(*Config)
		says   string // in the error; empty: it works
	}{
		{"all of it", server.Addr, func(*Config) {}, ""},
		{"no certificate where none is asked for", open.Addr, func(c *Config) { c.TLSCertFile, c.TLSKeyFile = "", "" }, ""},
		{"a server by its name", named.Addr, func(c *Config) { c.TLSServerName = "redis.example" }, ""},
		{"a server of another name", named.Addr, func(*Config) {}, "certificate"},
		{"another name than the server's", server.Addr, func(c *Config) { c.TLSServerName = "redis.example" }, "redis.example"},
		{"another authority", server.Addr, func(c *Config) { c.TLSCAFile = strangers.CAFile }, "unknown authority"},
		{"the system's authorities", server.Addr, func(c *Config) { c.TLSCAFile = "" }, "unknown authority"},
		{"no certificate", server.Addr, func(c *Config) { c.TLSCertFile, c.TLSKeyFile = "", "" }, "certificate required"},
		{"a stranger's certificate", server.Addr, func(c *Config) { c.TLSCertFile, c.TLSKeyFile = stranger.CertFile, stranger.KeyFile }, "unknown certificate authority"},
		{"a wrong password", server.Addr, func(c *Config) { c.Password = "hunter3" }, "WRONGPASS"},
		{"another user", server.Addr, func(c *Config) { c.Username = "somebody" }, "WRONGPASS"},
		{"no credentials", server.Addr, func(c *Config) { c.Username, c.Password = "", "" }, "NOAUTH"},
		{"keys of others", server.Addr, func(c *Config) { c.KeyPrefix = "other:" }, "NOPERM"},
		{"no TLS", server.Addr, func(c *Config) { c.TLS, c.TLSCAFile, c.TLSCertFile, c.TLSKeyFile = false, "", "", "" }, "cannot reach Redis"},
	} {
		t.Run(c.name, func(t *testing.T) {
			cfg := secureConfig(ca, ModeSingle, c.addr)
			c.change(&cfg)
			err := try(t, cfg)
			if c.says == "" {
				if err != nil {
					t.Error(err)
				}
				return
			}
			if !fault.Is(err, fault.Transient) || !strings.Contains(err.Error(), c.says) {
				t.Errorf("got %v, expected a transient fault that says %q", err, c.says)
			}
		})
	}
}

// A Sentinel has credentials of its own, and the master behind it others.
func TestSecuritySentinel(t *testing.T) {
	ca := certtest.New(t)
	master := redistest.StartSecured(t, secured(ca, "127.0.0.1", needs))
	watch := secured(ca, "127.0.0.1", ofSentinels)
	watch.Username, watch.Password = "watcher", "of sentinels"
	sentinel := redistest.StartSecuredSentinel(t, watch, "footfall-master", master)
	cfg := secureConfig(ca, ModeSentinel, sentinel.Addr)
	cfg.Master, cfg.SentinelUsername, cfg.SentinelPassword = "footfall-master", "watcher", "of sentinels"
	if err := try(t, cfg); err != nil {
		t.Error(err)
	}
	cfg.SentinelPassword = "hunter3"
	err := try(t, cfg)
	if !fault.Is(err, fault.Transient) || !strings.Contains(err.Error(), "WRONGPASS") {
		t.Errorf("a wrong password of the Sentinels: %v", err)
	}
	cfg.SentinelPassword, cfg.Password = "of sentinels", "hunter3"
	err = try(t, cfg)
	if !fault.Is(err, fault.Transient) || !strings.Contains(err.Error(), "WRONGPASS") {
		t.Errorf("a wrong password of the master: %v", err)
	}
}

// The nodes that a Cluster names are reached as the first one was.
func TestSecurityCluster(t *testing.T) {
	ca := certtest.New(t)
	node := redistest.StartSecured(t, secured(ca, "127.0.0.1", needs+inCluster),
		"cluster-enabled yes", "tls-cluster yes", "cluster-announce-ip 127.0.0.1", "cluster-port 0")
	admin := node.Client()
	defer admin.Close()
	if err := admin.ClusterAddSlotsRange(within(t, 10*time.Second), 0, 16383).Err(); err != nil {
		t.Fatal(err)
	}
	cfg := secureConfig(ca, ModeCluster, node.Addr)
	eventually(t, "a cluster", func(ctx context.Context) error {
		info, err := admin.ClusterInfo(ctx).Result()
		if err == nil && !strings.Contains(info, "cluster_state:ok") {
			return context.DeadlineExceeded
		}
		return err
	})
	if err := try(t, cfg); err != nil {
		t.Error(err)
	}
	cfg.Password = "hunter3"
	err := try(t, cfg)
	if !fault.Is(err, fault.Transient) || !strings.Contains(err.Error(), "WRONGPASS") {
		t.Errorf("a wrong password: %v", err)
	}
}

// A server that takes connections and shakes no hand keeps nobody beyond his
// deadline.
func TestSecurityKeepsDeadlines(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	ca := certtest.New(t)
	cfg := secureConfig(ca, ModeSingle, l.Addr().String())
	cfg.DialTimeout = time.Minute
	s, err := Open(cfg, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close(context.Background())
	began := time.Now()
	ctx := within(t, 100*time.Millisecond)
	if err := s.Ready(ctx); !fault.Is(err, fault.Transient) {
		t.Errorf("got %v, expected a transient fault", err)
	}
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("took %s", took)
	}
}
