package mongo

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	driver "go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
	"go.mongodb.org/mongo-driver/v2/mongo/readconcern"
	"go.mongodb.org/mongo-driver/v2/mongo/readpref"
	"go.mongodb.org/mongo-driver/v2/mongo/writeconcern"

	"github.com/footfall/footfall/shared/function"
)

// Config of the stores, from the environment.
type Config struct {
	// URI names the servers: mongodb://a,b,c/?replicaSet=… or mongodb+srv://….
	// Its options hold, but for read and write concern, which are not ours to
	// weaken, and what the fields below say.
	URI      function.Secret `env:"MONGODB_URI"`
	Database string          `env:"MONGODB_DATABASE" envDefault:"footfall"`

	// Username and Password replace those of the URI, so that a secret need
	// not be part of an address. AuthSource is the database that knows them.
	Username   string          `env:"MONGODB_USERNAME"`
	Password   function.Secret `env:"MONGODB_PASSWORD"`
	AuthSource string          `env:"MONGODB_AUTH_SOURCE" envDefault:"admin"`

	// TLS asks for TLS, and so does each of the files (PEM): the authority that
	// signed the servers, and the certificate and key that we show them.
	TLS         bool   `env:"MONGODB_TLS"`
	TLSCAFile   string `env:"MONGODB_TLS_CA_FILE"`
	TLSCertFile string `env:"MONGODB_TLS_CERT_FILE"`
	TLSKeyFile  string `env:"MONGODB_TLS_KEY_FILE"`

	// Timeout bounds a call whose context has no deadline, or a later one.
	Timeout time.Duration `env:"MONGODB_TIMEOUT" envDefault:"30s"`
	// Patience is how long a call waits for a primary, and how long it tries
	// again what failed. It is shorter than the callers' deadlines, so that
	// they learn why.
	Patience time.Duration `env:"MONGODB_PATIENCE" envDefault:"3s"`
	// ConnectTimeout bounds the making of one connection.
	ConnectTimeout time.Duration `env:"MONGODB_CONNECT_TIMEOUT" envDefault:"3s"`
	// MaxConns bounds the connections to each server; further calls wait.
	MaxConns int `env:"MONGODB_MAX_CONNS" envDefault:"64"`

	// FoldEvery is how often the counts of processed batches are folded into
	// sums; FoldAfter is the age of batches from which on they are.
	FoldEvery time.Duration `env:"MONGODB_FOLD_EVERY" envDefault:"1m"`
	FoldAfter time.Duration `env:"MONGODB_FOLD_AFTER" envDefault:"1m"`
}

// maxName is the longest name of a database (bytes), less what a test or an
// operator may hang onto it.
const maxName = 60

// Validate reports all faults.
func (c *Config) Validate() error {
	var errs []error
	fault := func(name, format string, args ...any) {
		errs = append(errs, fmt.Errorf("%s%s: %s", function.Prefix, name, fmt.Sprintf(format, args...)))
	}
	if c.URI.Reveal() == "" {
		fault("MONGODB_URI", "expected mongodb://… or mongodb+srv://…, got nothing")
	} else if _, err := c.uri(); err != nil {
		errs = append(errs, err)
	}
	if c.Database == "" || len(c.Database) > maxName || strings.ContainsAny(c.Database, "/\\. \"$*<>:|?\x00") {
		fault("MONGODB_DATABASE", "expected 1 to %d letters, digits, - or _, got %q", maxName, c.Database)
	}
	if c.Username == "" && c.Password != "" {
		fault("MONGODB_USERNAME", "expected a name for %sMONGODB_PASSWORD", function.Prefix)
	}
	if (c.TLSCertFile == "") != (c.TLSKeyFile == "") {
		fault("MONGODB_TLS_CERT_FILE", "expected together with %sMONGODB_TLS_KEY_FILE", function.Prefix)
	}
	for _, d := range []struct {
		name string
		v    time.Duration
	}{
		{"MONGODB_TIMEOUT", c.Timeout}, {"MONGODB_PATIENCE", c.Patience}, {"MONGODB_CONNECT_TIMEOUT", c.ConnectTimeout},
		{"MONGODB_FOLD_EVERY", c.FoldEvery},
	} {
		if d.v < 10*time.Millisecond || d.v > time.Hour {
			fault(d.name, "expected 10ms to 1h, got %s", d.v)
		}
	}
	if c.FoldAfter < 0 || c.FoldAfter > time.Hour {
		fault("MONGODB_FOLD_AFTER", "expected 0s to 1h, got %s", c.FoldAfter)
	}
	if c.MaxConns < 1 || c.MaxConns > 10_000 {
		fault("MONGODB_MAX_CONNS", "expected 1 to 10000, got %d", c.MaxConns)
	}
	return errors.Join(errs...)
}

// DefaultConfig is the configuration of an empty environment but for the URI.
func DefaultConfig(uri string) Config {
	var c Config
	if err := function.Load([]string{function.Prefix + "MONGODB_URI=" + uri}, nil, &c); err != nil {
		c.URI = function.Secret(uri) // Open tells what is wrong with it
	}
	return c
}

// uri reads the URI. What the driver says of a bad one may hold a part of it,
// and with it the password: it is not passed on.
func (c *Config) uri() (*options.ClientOptions, error) {
	o := options.Client().ApplyURI(c.URI.Reveal())
	if err := o.Validate(); err != nil {
		return nil, fmt.Errorf("%sMONGODB_URI: expected a connection string such as mongodb://user:password@host:27017,host:27017/?replicaSet=name, "+
			"got one that cannot be read (it is not shown, for it may hold a password)", function.Prefix)
	}
	return o, nil
}

// options are those of the client.
//
// A write is acknowledged when a majority has it in its journal: what was
// answered survives the loss of any one server. A read goes to the primary and
// sees what a majority has: whatever was acknowledged to anybody before, and
// nothing that a fail-over could take back. So a watermark that was answered
// never goes back, and who is told that a mark was taken off finds the record
// that was written before.
func (c *Config) options() (*options.ClientOptions, error) {
	o, err := c.uri()
	if err != nil {
		return nil, err
	}
	journaled := true
	o.SetWriteConcern(&writeconcern.WriteConcern{W: writeconcern.WCMajority, Journal: &journaled}).
		SetReadConcern(readconcern.Majority()).
		SetReadPreference(readpref.Primary()).
		SetRetryReads(true).
		SetServerSelectionTimeout(c.Patience).
		SetConnectTimeout(c.ConnectTimeout).
		SetMaxPoolSize(uint64(c.MaxConns)).
		SetMaxConnecting(4).
		SetMaxConnIdleTime(5 * time.Minute)
	if o.RetryWrites == nil {
		o.SetRetryWrites(true)
	}
	if o.AppName == nil {
		o.SetAppName("footfall")
	}
	if c.Username != "" {
		o.SetAuth(options.Credential{AuthSource: c.AuthSource, Username: c.Username, Password: c.Password.Reveal(), PasswordSet: c.Password != ""})
	}
	return o, c.tls(o)
}

// tls adds what the files say to what the URI asks for.
func (c *Config) tls(o *options.ClientOptions) error {
	if !c.TLS && c.TLSCAFile == "" && c.TLSCertFile == "" {
		return nil
	}
	t := o.TLSConfig
	if t == nil {
		t = &tls.Config{MinVersion: tls.VersionTLS12}
	}
	if c.TLSCAFile != "" {
		pem, err := os.ReadFile(c.TLSCAFile)
		if err != nil {
			return fmt.Errorf("%sMONGODB_TLS_CA_FILE: %w", function.Prefix, err)
		}
		if t.RootCAs = x509.NewCertPool(); !t.RootCAs.AppendCertsFromPEM(pem) {
			return fmt.Errorf("%sMONGODB_TLS_CA_FILE: expected certificates in PEM, found none in %q", function.Prefix, c.TLSCAFile)
		}
	}
	if c.TLSCertFile != "" {
		cert, err := tls.LoadX509KeyPair(c.TLSCertFile, c.TLSKeyFile)
		if err != nil {
			return fmt.Errorf("%sMONGODB_TLS_CERT_FILE: %w", function.Prefix, err)
		}
		t.Certificates = []tls.Certificate{cert}
	}
	o.SetTLSConfig(t)
	return nil
}

// connect makes a client; it connects when it is first needed.
func (c *Config) connect(more ...*options.ClientOptions) (*driver.Client, error) {
	o, err := c.options()
	if err != nil {
		return nil, err
	}
	return driver.Connect(append([]*options.ClientOptions{o}, more...)...)
}
