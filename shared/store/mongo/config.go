package mongo

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/url"
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
	// not be part of an address. AuthSource is the database that knows them:
	// where it is empty, the one that the URI names, else admin.
	Username   string          `env:"MONGODB_USERNAME"`
	Password   function.Secret `env:"MONGODB_PASSWORD"`
	AuthSource string          `env:"MONGODB_AUTH_SOURCE"`

	// TLS asks for TLS, and so does each of the others: the files (PEM) of the
	// authority that signed the servers and of the certificate and key that we
	// show them (read again for each connection), and the name that stands in
	// the servers' certificates where it is not their addresses' host.
	TLS           bool   `env:"MONGODB_TLS"`
	TLSCAFile     string `env:"MONGODB_TLS_CA_FILE"`
	TLSCertFile   string `env:"MONGODB_TLS_CERT_FILE"`
	TLSKeyFile    string `env:"MONGODB_TLS_KEY_FILE"`
	TLSServerName string `env:"MONGODB_TLS_SERVER_NAME"`

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
	if err := c.tls(options.Client()); err != nil {
		errs = append(errs, err)
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
		var file *fs.PathError
		if errors.As(err, &file) { // of tlsCAFile and the like
			return nil, fmt.Errorf("%sMONGODB_URI: cannot read a file that it names: %w", function.Prefix, file)
		}
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
		o.SetAuth(c.credential(o))
	}
	return o, c.tls(o)
}

// credential is who the variables say that we are. How we prove it is the URI's
// to say.
func (c *Config) credential(o *options.ClientOptions) options.Credential {
	var auth options.Credential
	if o.Auth != nil {
		auth = *o.Auth
	}
	auth.AuthSource = cmp.Or(c.AuthSource, auth.AuthSource, authSource(c.URI.Reveal()), "admin")
	auth.Username, auth.Password, auth.PasswordSet = c.Username, c.Password.Reveal(), c.Password != ""
	return auth
}

// authSource is what a URI says of it. The driver forgets it where the URI
// names no user.
func authSource(uri string) string {
	_, query, _ := strings.Cut(uri, "?")
	values, _ := url.ParseQuery(query) // what cannot be read, the driver has refused
	for name, v := range values {
		if strings.EqualFold(name, "authSource") {
			return v[0]
		}
	}
	return ""
}

// tls adds what the files say to what the URI asks for.
func (c *Config) tls(o *options.ClientOptions) error {
	if o.TLSConfig == nil && !c.TLS && c.TLSCAFile == "" && c.TLSCertFile == "" && c.TLSKeyFile == "" && c.TLSServerName == "" {
		return nil
	}
	t := o.TLSConfig
	if t == nil {
		t = &tls.Config{MinVersion: tls.VersionTLS12}
	}
	o.SetTLSConfig(t).SetDialer(dialer{})
	return function.TLSFiles{Variables: "MONGODB_TLS_", CA: c.TLSCAFile, Cert: c.TLSCertFile, Key: c.TLSKeyFile, ServerName: c.TLSServerName}.Apply(t)
}

// dialer makes the connections below TLS.
type dialer struct{ net.Dialer }

func (d dialer) DialContext(ctx context.Context, network, addr string) (net.Conn, error) {
	c, err := d.Dialer.DialContext(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	return function.HearAlerts(c), nil
}

// connect makes a client; it connects when it is first needed.
func (c *Config) connect(more ...*options.ClientOptions) (*driver.Client, error) {
	o, err := c.options()
	if err != nil {
		return nil, err
	}
	return driver.Connect(append([]*options.ClientOptions{o}, more...)...)
}
