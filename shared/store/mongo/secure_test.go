package mongo

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"log/slog"
	"net"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/footfall/footfall/infra/services"
	"github.com/footfall/footfall/shared/access"
	"github.com/footfall/footfall/shared/certtest"
	"github.com/footfall/footfall/shared/fault"
	"github.com/footfall/footfall/shared/function"
	"github.com/footfall/footfall/shared/store"
)

const (
	username = "footfall"
	password = "hunter2"
)

// ownServer starts a MongoDB of the test's own, for tests that say how it is started.
func ownServer(t *testing.T) *services.MongoDB {
	t.Helper()
	cache := os.Getenv(services.CacheVariable)
	if cache == "" {
		t.Skipf("%s is not set: name the folder that make services-fetch has filled to run this on a MongoDB of its own", services.CacheVariable)
	}
	software, err := services.Cached(t.Context(), cache, services.KindMongoDB)
	must(t, err)
	m, err := services.StartMongoDB(soon(t), services.Options{Software: software, Dir: t.TempDir()})
	must(t, err)
	t.Cleanup(func() { must(t, m.Kill()) })
	return m
}

func soon(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	t.Cleanup(cancel)
	return ctx
}

// restart starts the server again, so that it asks for this.
func restart(t *testing.T, m *services.MongoDB, secure services.MongoDBSecurity) {
	t.Helper()
	must(t, m.Stop())
	must(t, m.Secure(secure))
	must(t, m.Start(soon(t)))
}

// try opens stores, uses them, and sees to it that nothing said holds a secret.
func try(t *testing.T, cfg Config) error {
	t.Helper()
	var logged bytes.Buffer
	s, err := Open(cfg, slog.New(slog.NewTextHandler(&logged, &slog.HandlerOptions{Level: slog.LevelDebug})))
	if err == nil {
		ctx := soon(t)
		if err = s.prepare(ctx); err == nil {
			err = s.Ready(ctx)
		}
		if err == nil {
			err = s.Journal.Append(ctx, []store.JournalRow{batch(1)})
		}
		if err == nil { // it takes a transaction
			err = s.Registry.CreateMerchant(ctx, access.Merchant{ID: rand.Text()})
		}
		must(t, s.Close(ctx))
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
	m := ownServer(t)
	const database = "footfall"
	admin := mustOpen(t, testConfig(m.URI()))
	must(t, admin.client.Database("admin").RunCommand(soon(t), bson.D{
		{Key: "createUser", Value: username}, {Key: "pwd", Value: password},
		{Key: "roles", Value: bson.A{bson.D{{Key: "role", Value: "readWrite"}, {Key: "db", Value: database}}}},
	}).Err())

	ca, strangers := certtest.New(t), certtest.New(t)
	client, stranger := ca.Client("footfall"), strangers.Client("footfall")
	asking := func(host string) services.MongoDBSecurity {
		p := ca.Server("server-"+host, host)
		return services.MongoDBSecurity{CertFile: p.CertFile, KeyFile: p.KeyFile, CAFile: ca.CAFile, AskClients: true, Auth: true,
			Client: &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: ca.Pool(), ServerName: host,
				GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
					c, err := tls.LoadX509KeyPair(client.CertFile, client.KeyFile)
					return &c, err
				}}}
	}
	type attempt struct {
		name   string
		change func(*Config)
		says   string // in the error; empty: it works
	}
	attempts := func(t *testing.T, all []attempt) {
		for _, c := range all {
			t.Run(c.name, func(t *testing.T) {
				cfg := DefaultConfig(m.URI())
				cfg.Database = database
				cfg.Username, cfg.Password = username, password
				cfg.TLSCAFile, cfg.TLSCertFile, cfg.TLSKeyFile = ca.CAFile, client.CertFile, client.KeyFile
				cfg.Patience, cfg.Timeout = 2*time.Second, 10*time.Second
				c.change(&cfg)
				if c.says != "" {
					cfg.Patience = 500 * time.Millisecond
				}
				if c.says == "" {
					must(t, try(t, cfg))
					return
				}
				// Now and then the driver tells of a look at the server that
				// it has broken off itself, and of the cause the next time.
				eventually(t, "an error that says "+strconv.Quote(c.says), func(context.Context) error {
					err := try(t, cfg)
					if !fault.Is(err, fault.Transient) {
						t.Fatalf("got %v, expected a transient fault", err)
					}
					if !strings.Contains(err.Error(), c.says) {
						return err
					}
					return nil
				})
			})
		}
	}
	withCredentials := func(c *Config, user string) {
		c.Username, c.Password = "", ""
		c.URI = function.Secret(strings.Replace(m.URI(), "mongodb://", "mongodb://"+user+"@", 1))
	}

	restart(t, m, asking("127.0.0.1"))
	attempts(t, []attempt{
		{"all of it", func(*Config) {}, ""},
		{"credentials in the URI", func(c *Config) { withCredentials(c, username+":"+password) }, ""},
		{"credentials that replace those of the URI", func(c *Config) {
			withCredentials(c, "somebody:hunter3")
			c.Username, c.Password = username, password
		}, ""},
		{"another name than the server's", func(c *Config) { c.TLSServerName = "mongodb.example" }, "mongodb.example"},
		{"another authority", func(c *Config) { c.TLSCAFile = strangers.CAFile }, "unknown authority"},
		{"the system's authorities", func(c *Config) { c.TLSCAFile = "" }, "unknown authority"},
		{"no certificate", func(c *Config) { c.TLSCertFile, c.TLSKeyFile = "", "" }, "certificate required"},
		{"a stranger's certificate", func(c *Config) { c.TLSCertFile, c.TLSKeyFile = stranger.CertFile, stranger.KeyFile }, "unknown certificate authority"},
		{"a wrong password", func(c *Config) { c.Password = "hunter3" }, "AuthenticationFailed"},
		{"a wrong password in the URI", func(c *Config) { withCredentials(c, username+":hunter3") }, "AuthenticationFailed"},
		{"another user", func(c *Config) { c.Username = "somebody" }, "AuthenticationFailed"},
		{"a database that does not know the user", func(c *Config) { c.AuthSource = "elsewhere" }, "AuthenticationFailed"},
		{"no credentials", func(c *Config) { c.Username, c.Password = "", "" }, "Unauthorized"},
		{"no TLS", func(c *Config) { c.TLSCAFile, c.TLSCertFile, c.TLSKeyFile = "", "", "" }, "cannot"},
	})

	named := asking("mongodb.example")
	named.AskClients = false
	restart(t, m, named)
	attempts(t, []attempt{
		{"a server by its name, which asks for no certificate", func(c *Config) {
			c.TLSServerName, c.TLSCertFile, c.TLSKeyFile = "mongodb.example", "", ""
		}, ""},
		{"a server of another name", func(*Config) {}, "certificate"},
	})
}

// A server that takes connections and shakes no hand keeps nobody beyond his
// deadline.
func TestSecurityKeepsDeadlines(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	defer l.Close()
	cfg := testConfig("mongodb://" + l.Addr().String() + "/?directConnection=true")
	cfg.TLSCAFile, cfg.Patience, cfg.ConnectTimeout = certtest.New(t).CAFile, time.Minute, time.Minute
	s := mustOpen(t, cfg)
	ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
	defer cancel()
	began := time.Now()
	if err := s.Ready(ctx); !fault.Is(err, fault.Transient) {
		t.Errorf("got %v, expected a transient fault", err)
	}
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("took %s", took)
	}
}

// What the variables and the URI say of credentials adds up.
func TestCredentials(t *testing.T) {
	for _, c := range []struct {
		uri, source                   string
		wantSource, wantUser, wantHow string
	}{
		{"mongodb://a/", "", "admin", "u", ""},
		{"mongodb://a/?authSource=users", "", "users", "u", ""},
		{"mongodb://a:1,b:2/db?replicaSet=r&authsource=users", "", "users", "u", ""},
		{"mongodb://a/?authSource=users", "people", "people", "u", ""},
		{"mongodb://x:y@a/users?authMechanism=SCRAM-SHA-1", "", "users", "u", "SCRAM-SHA-1"},
	} {
		cfg := DefaultConfig(c.uri)
		cfg.Username, cfg.Password, cfg.AuthSource = "u", "p", c.source
		o, err := cfg.options()
		must(t, err)
		if o.Auth.AuthSource != c.wantSource || o.Auth.Username != c.wantUser || o.Auth.Password != "p" || o.Auth.AuthMechanism != c.wantHow {
			t.Errorf("%s with source %q: user %q of %q by %q", c.uri, c.source, o.Auth.Username, o.Auth.AuthSource, o.Auth.AuthMechanism)
		}
	}
}

// Validate names the variable of each file that cannot be read, the URI's, too.
func TestFilesThatCannotBeRead(t *testing.T) {
	cfg := DefaultConfig("mongodb://somebody:hunter2@a/?tls=true&tlsCAFile=no-such-file.pem")
	cfg.TLSCAFile, cfg.TLSCertFile, cfg.TLSKeyFile = "no-ca.pem", "no-cert.pem", "no-key.pem"
	err := cfg.Validate()
	if err == nil {
		t.Fatal("valid")
	}
	for _, want := range []string{"MONGODB_URI", "no-such-file.pem", "MONGODB_TLS_CA_FILE", "MONGODB_TLS_CERT_FILE", "MONGODB_TLS_KEY_FILE"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("nothing about %s in %v", want, err)
		}
	}
	if strings.Contains(err.Error(), "hunter2") {
		t.Errorf("the password stands in %v", err)
	}
}
