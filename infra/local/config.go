package local

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"

	"github.com/footfall/footfall/functions/archive"
	"github.com/footfall/footfall/functions/etl"
	"github.com/footfall/footfall/functions/ingest"
	"github.com/footfall/footfall/functions/merchant"
	"github.com/footfall/footfall/functions/report"
	"github.com/footfall/footfall/functions/reprocess"
	"github.com/footfall/footfall/functions/summary"
	"github.com/footfall/footfall/shared/access"
	"github.com/footfall/footfall/shared/broker/kafka"
	"github.com/footfall/footfall/shared/function"
	"github.com/footfall/footfall/shared/transform"
)

// Config is what the runner itself needs beside its functions' own settings.
type Config struct {
	Data         string          `env:"DATA" envDefault:"./data"`
	AdminToken   function.Secret `env:"ADMIN_TOKEN"`   // made and kept in Data where it is empty
	KafkaBrokers []string        `env:"KAFKA_BROKERS"` // host:port; empty: the Kafka in this process
	Security     kafka.Security  // of KafkaBrokers
	// StoreCacheBytes is the memory for blocks read from the stores.
	StoreCacheBytes int64 `env:"STORE_CACHE_BYTES" envDefault:"33554432"`
	// FrameCacheBytes is the memory for decoded processed data, and for facts packed
	// from them.
	FrameCacheBytes int64 `env:"FRAME_CACHE_BYTES" envDefault:"25165824"`
	// KafkaRetentionBytes bounds what each partition of the Kafka in this process
	// keeps of what is not delivered; what is goes within a minute.
	KafkaRetentionBytes int64 `env:"KAFKA_RETENTION_BYTES" envDefault:"268435456"`
}

// Validate reports all faults.
func (c *Config) Validate() error {
	var errs []error
	if c.Data == "" {
		errs = append(errs, fmt.Errorf("%sDATA: expected a folder", function.Prefix))
	}
	for _, b := range c.KafkaBrokers {
		if _, _, err := net.SplitHostPort(b); err != nil {
			errs = append(errs, fmt.Errorf("%sKAFKA_BROKERS: expected host:port, got %q", function.Prefix, b))
		}
	}
	errs = append(errs, c.Security.Validate())
	for name, v := range map[string]int64{
		"STORE_CACHE_BYTES": c.StoreCacheBytes, "FRAME_CACHE_BYTES": c.FrameCacheBytes,
		"KAFKA_RETENTION_BYTES": c.KafkaRetentionBytes,
	} {
		if v <= 0 {
			errs = append(errs, fmt.Errorf("%s%s: expected more than zero, got %d", function.Prefix, name, v))
		}
	}
	return errors.Join(errs...)
}

// settings are the configurations of everything that the runner holds, from
// one environment.
type settings struct {
	process   function.Config
	runner    Config
	ingest    ingest.Config
	archive   archive.Config
	transform transform.Config
	etl       etl.Config
	summary   summary.Config
	report    report.Config
	merchant  merchant.Config
	reprocess reprocess.Config
}

func load(environ []string) (*settings, error) {
	s := new(settings)
	err := function.Load(environ, nil, &s.process, &s.runner, &s.ingest, &s.archive, &s.transform, &s.etl, &s.summary, &s.report, &s.merchant, &s.reprocess)
	if err != nil {
		return nil, err
	}
	if s.ingest.UnarchivedAfter <= s.archive.FileAge {
		return nil, fmt.Errorf("%[1]sJOURNAL_UNARCHIVED_AFTER: expected longer than %[1]sARCHIVE_FILE_AGE (%s), got %s: "+
			"batches would be published again while their file still fills", function.Prefix, s.archive.FileAge, s.ingest.UnarchivedAfter)
	}
	return s, nil
}

// DataDir is the data folder that an environment names, for the tools that
// only read it.
func DataDir(environ []string) string {
	for _, kv := range environ {
		if dir, ok := strings.CutPrefix(kv, function.Prefix+"DATA="); ok && dir != "" {
			return dir
		}
	}
	return "./data"
}

// KeptToken is the given admin token, else the one kept in the data folder,
// else a new one, kept there from now on and readable by its owner only.
func KeptToken(given function.Secret, data string) (function.Secret, error) {
	if given != "" {
		return given, nil
	}
	path := filepath.Join(data, "admin-token")
	kept, err := os.ReadFile(path)
	if err == nil {
		if token := strings.TrimSpace(string(kept)); token != "" {
			return function.Secret(token), nil
		}
	} else if !errors.Is(err, os.ErrNotExist) {
		return "", fmt.Errorf("cannot read the admin token: %w", err)
	}
	token := access.NewAdminToken()
	if err := writeFile(path, []byte(token+"\n"), 0o600); err != nil {
		return "", fmt.Errorf("cannot keep the admin token: %w", err)
	}
	return function.Secret(token), nil
}

// writeFile replaces a file in one step.
func writeFile(path string, data []byte, mode os.FileMode) error {
	temp := path + ".new"
	if err := os.WriteFile(temp, data, mode); err != nil {
		return err
	}
	return os.Rename(temp, path)
}
