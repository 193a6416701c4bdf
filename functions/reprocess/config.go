package reprocess

import (
	"errors"
	"fmt"
	"time"

	"github.com/footfall/footfall/shared/function"
)

// Config of the reprocess function.
type Config struct {
	// AdminToken is the operator's. With an empty one nobody is.
	AdminToken function.Secret `env:"ADMIN_TOKEN"`

	// CutMargin is how far ahead a job that is to replay everything up to now
	// ends, and how long one waits after its end: longer than clocks differ.
	CutMargin time.Duration `env:"REPROCESS_CUT_MARGIN" envDefault:"15s"`
	// ArchiveWait is how long after its end a job waits for batches that do not
	// stand in the archive yet, before it goes on without them and says so.
	ArchiveWait time.Duration `env:"REPROCESS_ARCHIVE_WAIT" envDefault:"3h"`
	// PublishDelay is how far ahead a flip is written, so that all instances,
	// which remember what is published for a second, switch together.
	PublishDelay time.Duration `env:"REPROCESS_PUBLISH_DELAY" envDefault:"5s"`
	// Grace is how long a published job can be rolled back; then what it took
	// the place of is removed.
	Grace time.Duration `env:"REPROCESS_GRACE" envDefault:"840h"`
	// Settle is how long after it was discarded a job's data are removed: longer
	// than a shard that is under way may go on.
	Settle time.Duration `env:"REPROCESS_SETTLE" envDefault:"10m"`

	// EraseKeep is how long files of the archive that an erasure has replaced can
	// be read still, by those who found them in a list: as ARCHIVE_MERGE_KEEP.
	EraseKeep time.Duration `env:"REPROCESS_ERASE_KEEP" envDefault:"6h"`
	// EraseSettle is how long after an erasure was asked for its last pass begins:
	// longer than the topics of the Brokers keep messages.
	EraseSettle time.Duration `env:"REPROCESS_ERASE_SETTLE" envDefault:"192h"`

	// ShardBytes is how much of the archive one shard replays, at least one
	// file; ShardMerchants how many merchants one builds or compares.
	ShardBytes     int64 `env:"REPROCESS_SHARD_BYTES" envDefault:"67108864"`
	ShardMerchants int   `env:"REPROCESS_SHARD_MERCHANTS" envDefault:"200"`
	// Ahead is how many shards are told to the workers at once, and Republish
	// after what time without news those that are not done are told again.
	Ahead     int           `env:"REPROCESS_AHEAD" envDefault:"64"`
	Republish time.Duration `env:"REPROCESS_REPUBLISH" envDefault:"10m"`
	// ReadTries is how often a shard with a file that cannot be read to its end
	// is tried before it goes on without the rest.
	ReadTries int `env:"REPROCESS_READ_TRIES" envDefault:"3"`

	// AtOnce is how many shards an instance works on at once, Workers how many
	// chunks of each (0: one for each CPU and one that waits for the store), and
	// ChunkBytes how large these are when decompressed.
	AtOnce     int `env:"REPROCESS_AT_ONCE" envDefault:"1"`
	Workers    int `env:"REPROCESS_WORKERS" envDefault:"0"`
	ChunkBytes int `env:"REPROCESS_CHUNK_BYTES" envDefault:"16777216"`
	// MaxRows is how many events of a merchant are compared at once.
	MaxRows int `env:"REPROCESS_MAX_ROWS" envDefault:"2000000"`
	// Timeout of one call of a store.
	Timeout time.Duration `env:"REPROCESS_TIMEOUT" envDefault:"30s"`
}

// Validate reports all faults.
func (c *Config) Validate() error {
	var errs []error
	for _, n := range []struct {
		name       string
		v, lo, top int64
	}{
		{"CUT_MARGIN", int64(c.CutMargin), 0, int64(time.Hour)},
		{"ARCHIVE_WAIT", int64(c.ArchiveWait), 0, int64(30 * 24 * time.Hour)},
		{"PUBLISH_DELAY", int64(c.PublishDelay), 0, int64(time.Hour)},
		{"GRACE", int64(c.Grace), int64(time.Second), int64(10_000 * time.Hour)},
		{"SETTLE", int64(c.Settle), 0, int64(24 * time.Hour)},
		{"ERASE_KEEP", int64(c.EraseKeep), 0, int64(30 * 24 * time.Hour)},
		{"ERASE_SETTLE", int64(c.EraseSettle), 0, int64(90 * 24 * time.Hour)},
		{"SHARD_BYTES", c.ShardBytes, 1, 1 << 40},
		{"SHARD_MERCHANTS", int64(c.ShardMerchants), 1, 1000},
		{"AHEAD", int64(c.Ahead), 1, 10_000},
		{"REPUBLISH", int64(c.Republish), int64(time.Millisecond), int64(24 * time.Hour)},
		{"READ_TRIES", int64(c.ReadTries), 1, 100},
		{"AT_ONCE", int64(c.AtOnce), 1, 64},
		{"WORKERS", int64(c.Workers), 0, 256},
		{"CHUNK_BYTES", int64(c.ChunkBytes), 1 << 20, 1 << 30},
		{"MAX_ROWS", int64(c.MaxRows), 1, 1 << 40},
		{"TIMEOUT", int64(c.Timeout), int64(100 * time.Millisecond), int64(10 * time.Minute)},
	} {
		if n.v < n.lo || n.v > n.top {
			errs = append(errs, fmt.Errorf("%sREPROCESS_%s: expected %d to %d, got %d", function.Prefix, n.name, n.lo, n.top, n.v))
		}
	}
	return errors.Join(errs...)
}

// DefaultConfig is the configuration of an empty environment.
func DefaultConfig() Config {
	var c Config
	if err := function.Load(nil, nil, &c); err != nil {
		panic(err) // the defaults stand in this file
	}
	return c
}
