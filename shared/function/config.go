package function

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/caarlos0/env/v11"
)

// Prefix stands before the name of every variable of ours in the environment.
const Prefix = "FOOTFALL_"

// Config is how a process is run, the same for every function.
type Config struct {
	// Addr to listen on. Where it is not set, Knative's PORT is taken.
	Addr string `env:"ADDR" envDefault:"127.0.0.1:8080"`
	// Instance tells this process from the others of its function, in logs
	// and in what it writes; the host's name where it is empty.
	Instance string `env:"INSTANCE"`
	// Public says that anybody reaches the address. Then neither event paths,
	// which only a Broker may call, nor /metrics are served there.
	Public bool `env:"PUBLIC"`

	LogLevel  slog.Level `env:"LOG_LEVEL" envDefault:"info"`  // debug, info, warn, error
	LogFormat string     `env:"LOG_FORMAT" envDefault:"text"` // text or json
	AccessLog bool       `env:"ACCESS_LOG"`                   // method, route, status, duration; nothing about the sender

	// ProfileAddr serves /debug/pprof/ where it is set. Keep it to loopback.
	ProfileAddr string `env:"PROFILE_ADDR"`

	HeaderTimeout  time.Duration `env:"HEADER_TIMEOUT" envDefault:"5s"`
	ReadTimeout    time.Duration `env:"READ_TIMEOUT" envDefault:"30s"`  // whole request
	WriteTimeout   time.Duration `env:"WRITE_TIMEOUT" envDefault:"60s"` // from the end of the header to the end of the answer
	IdleTimeout    time.Duration `env:"IDLE_TIMEOUT" envDefault:"120s"`
	MaxHeaderBytes int           `env:"MAX_HEADER_BYTES" envDefault:"16384"`

	// DrainQuiet is how long no request may come before a drained process
	// stops listening; half of Grace is the longest that it waits for that.
	// Knative's queue-proxy waits before it lets us know, so that a second or
	// two is enough there; alone, none is needed.
	DrainQuiet time.Duration `env:"DRAIN_QUIET" envDefault:"0s"`
	// Grace is the time from the signal to the end of the process.
	Grace time.Duration `env:"GRACE" envDefault:"25s"`

	// MetricsProtocol pushes metrics besides serving them at /metrics:
	// none, grpc or http/protobuf (OTLP).
	MetricsProtocol string        `env:"METRICS_PROTOCOL" envDefault:"none"`
	MetricsEndpoint string        `env:"METRICS_ENDPOINT"`
	MetricsInterval time.Duration `env:"METRICS_INTERVAL" envDefault:"60s"`
}

// DefaultConfig is the configuration of an empty environment.
func DefaultConfig() Config {
	var c Config
	if err := Load(nil, nil, &c); err != nil {
		panic(err) // the defaults stand in this file
	}
	return c
}

// Validate reports all faults.
func (c *Config) Validate() error {
	var errs []error
	if c.LogFormat != "text" && c.LogFormat != "json" {
		errs = append(errs, fmt.Errorf("%sLOG_FORMAT: expected text or json, got %q", Prefix, c.LogFormat))
	}
	switch c.MetricsProtocol {
	case "none":
		if c.MetricsEndpoint != "" {
			errs = append(errs, fmt.Errorf("%sMETRICS_ENDPOINT: expected nothing while %sMETRICS_PROTOCOL is none", Prefix, Prefix))
		}
	case "grpc", "http/protobuf":
		if c.MetricsEndpoint == "" {
			errs = append(errs, fmt.Errorf("%sMETRICS_ENDPOINT: expected an address for %sMETRICS_PROTOCOL %q", Prefix, Prefix, c.MetricsProtocol))
		}
	default:
		errs = append(errs, fmt.Errorf("%sMETRICS_PROTOCOL: expected none, grpc or http/protobuf, got %q", Prefix, c.MetricsProtocol))
	}
	for _, d := range []struct {
		name string
		v    time.Duration
	}{
		{"HEADER_TIMEOUT", c.HeaderTimeout}, {"READ_TIMEOUT", c.ReadTimeout}, {"WRITE_TIMEOUT", c.WriteTimeout},
		{"IDLE_TIMEOUT", c.IdleTimeout}, {"GRACE", c.Grace}, {"METRICS_INTERVAL", c.MetricsInterval},
	} {
		if d.v <= 0 {
			errs = append(errs, fmt.Errorf("%s%s: expected a duration above zero, got %s", Prefix, d.name, d.v))
		}
	}
	if c.DrainQuiet < 0 || c.DrainQuiet > c.Grace/2 {
		errs = append(errs, fmt.Errorf("%sDRAIN_QUIET: expected a duration from zero to half of %sGRACE, got %s", Prefix, Prefix, c.DrainQuiet))
	}
	if c.MaxHeaderBytes < 1<<10 || c.MaxHeaderBytes > 1<<20 {
		errs = append(errs, fmt.Errorf("%sMAX_HEADER_BYTES: expected 1024 to 1048576, got %d", Prefix, c.MaxHeaderBytes))
	}
	return errors.Join(errs...)
}

// Load fills configuration structs (pointers, with caarlos0/env tags, without
// our prefix) from an environment such as os.Environ(), calls their Validate
// method where they have one, and reports every fault at once. A variable with
// our prefix that neither a struct nor known names is a fault too, since
// it is most likely a misspelt one. known lists further names, whole.
//
// Where the environment has PORT and no FOOTFALL_ADDR, a *Config listens on
// that port of every interface, as Knative asks.
func Load(environ []string, known []string, into ...any) error {
	vars := make(map[string]string, len(environ))
	for _, kv := range environ {
		if name, value, ok := strings.Cut(kv, "="); ok {
			vars[name] = value
		}
	}
	if port := vars["PORT"]; port != "" && vars[Prefix+"ADDR"] == "" {
		vars[Prefix+"ADDR"] = ":" + port
	}
	var errs []error
	names := slices.Clone(known)
	for _, cfg := range into {
		own, err := Names(cfg)
		if err != nil {
			return err
		}
		names = append(names, own...)
		if err := env.ParseWithOptions(cfg, env.Options{Prefix: Prefix, Environment: vars}); err != nil {
			errs = append(errs, parseFaults(cfg, err)...)
			continue // its Validate would report the same fields once more
		}
		if v, ok := cfg.(interface{ Validate() error }); ok {
			if err := v.Validate(); err != nil {
				errs = append(errs, err)
			}
		}
	}
	errs = append(errs, unknownNames(vars, names)...)
	if len(errs) > 0 {
		return fmt.Errorf("cannot load the configuration from the environment:\n%w", errors.Join(errs...))
	}
	return nil
}

// Names lists the variables that a configuration struct reads, whole names.
func Names(cfg any) ([]string, error) {
	params, err := env.GetFieldParamsWithOptions(cfg, env.Options{Prefix: Prefix, Environment: map[string]string{"": ""}})
	if err != nil {
		return nil, fmt.Errorf("cannot read the tags of %T: %w", cfg, err)
	}
	names := make([]string, len(params))
	for i, p := range params {
		names[i] = p.Key
	}
	return names, nil
}

// parseFaults takes the library's list apart, one line for each fault, and
// names variables where the library names fields.
func parseFaults(cfg any, err error) []error {
	var all env.AggregateError
	if !errors.As(err, &all) {
		return []error{err}
	}
	names := fieldNames(reflect.TypeOf(cfg), Prefix)
	errs := make([]error, len(all.Errors))
	for i, err := range all.Errors {
		errs[i] = err
		var parse env.ParseError
		if errors.As(err, &parse) && names[parse.Name] != "" {
			errs[i] = fmt.Errorf("%s: expected a value of type %s: %w", names[parse.Name], parse.Type, parse.Err)
		}
	}
	return errs
}

// fieldNames maps the fields of a configuration struct to their variables.
func fieldNames(t reflect.Type, prefix string) map[string]string {
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	names := map[string]string{}
	for i := range t.NumField() {
		f := t.Field(i)
		if tag, _, _ := strings.Cut(f.Tag.Get("env"), ","); tag != "" {
			names[f.Name] = prefix + tag
		} else if f.Type.Kind() == reflect.Struct {
			maps.Copy(names, fieldNames(f.Type, prefix+f.Tag.Get("envPrefix")))
		}
	}
	return names
}

func unknownNames(vars map[string]string, known []string) []error {
	var errs []error
	for name := range vars {
		if !strings.HasPrefix(name, Prefix) || slices.Contains(known, name) {
			continue
		}
		if near := nearest(name, known); near != "" {
			errs = append(errs, fmt.Errorf("%s: no such variable; the nearest is %s", name, near))
		} else {
			errs = append(errs, fmt.Errorf("%s: no such variable", name))
		}
	}
	slices.SortFunc(errs, func(a, b error) int { return cmp.Compare(a.Error(), b.Error()) })
	return errs
}

// nearest is the known name with the fewest edits to name.
func nearest(name string, known []string) string {
	best, bestEdits := "", len(name)
	for _, k := range known {
		if d := edits(name, k); d < bestEdits {
			best, bestEdits = k, d
		}
	}
	return best
}

// edits is the Levenshtein distance of a and b in bytes.
func edits(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			substitute := diagonal
			if a[i] != b[j] {
				substitute++
			}
			diagonal = row[j+1]
			row[j+1] = min(substitute, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
