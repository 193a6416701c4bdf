package ingest

import (
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"time"

	"github.com/footfall/footfall/shared/access"
)

// Config is ingest's configuration. Variables have the prefix FOOTFALL_.
type Config struct {
	Instance string `env:"INSTANCE"` // name in batches; the host's name where empty

	MaxWireBytes    int `env:"INGEST_MAX_WIRE_BYTES" envDefault:"1048576"`    // of a compressed body
	MaxBodyBytes    int `env:"INGEST_MAX_BODY_BYTES" envDefault:"4194304"`    // of a plain body, or after decompression
	MaxBufferBytes  int `env:"INGEST_MAX_BUFFER_BYTES" envDefault:"67108864"` // of all requests under way
	MaxRequests     int `env:"INGEST_MAX_REQUESTS" envDefault:"8192"`         // under way
	MaxRefusedBytes int `env:"INGEST_MAX_REFUSED_BYTES" envDefault:"262144"`  // refused events waiting to be kept

	FlushAge     time.Duration `env:"INGEST_FLUSH_AGE" envDefault:"30ms"`      // the longest that a batch waits for company
	FlushEvents  int           `env:"INGEST_FLUSH_EVENTS" envDefault:"4000"`   // no waiting at so many events
	FlushBytes   int           `env:"INGEST_FLUSH_BYTES" envDefault:"2097152"` // or at so many bytes, before compression
	LaneEvents   int           `env:"INGEST_LANE_EVENTS" envDefault:"1000"`    // a flush becomes one batch for each so many events
	MaxLanes     int           `env:"INGEST_MAX_LANES" envDefault:"8"`         // and at most so many
	WriteTimeout time.Duration `env:"INGEST_WRITE_TIMEOUT" envDefault:"5s"`    // of one write to journal or Broker

	// QuotaEventsPerMinute is how many events a merchant may send in a minute,
	// unless its settings say otherwise; 0 is no limit.
	QuotaEventsPerMinute int64 `env:"QUOTA_EVENTS_PER_MINUTE" envDefault:"0"`

	// TrustedProxies are the networks whose X-Forwarded-For and headers of
	// place are believed.
	TrustedProxies []netip.Prefix `env:"TRUSTED_PROXIES"`
	CountryHeader  string         `env:"COUNTRY_HEADER"` // holds an ISO 3166-1 alpha-2 code, such as Cf-Ipcountry
	RegionHeader   string         `env:"REGION_HEADER"`  // holds a name, such as Cf-Region
	CityHeader     string         `env:"CITY_HEADER"`    // holds a name, such as X-Appengine-City

	// DataCentreFile lists networks, one a line, from which programs come and
	// hardly any visitors; it is read again when it changes.
	DataCentreFile string `env:"DATA_CENTRE_FILE"`

	StreamsRefresh time.Duration `env:"STREAMS_REFRESH" envDefault:"2s"` // how old the snapshot of streams may be

	RepublishAfter time.Duration `env:"JOURNAL_REPUBLISH_AFTER" envDefault:"1m"` // a batch that is not published
	StaleAfter     time.Duration `env:"JOURNAL_STALE_AFTER" envDefault:"30m"`    // a published batch that is not processed
	// UnarchivedAfter must be longer than FOOTFALL_ARCHIVE_FILE_AGE: only a
	// complete file makes its batches archived, and what is published again
	// while its file fills is processed and archived twice.
	UnarchivedAfter  time.Duration `env:"JOURNAL_UNARCHIVED_AFTER" envDefault:"3h"` // a processed batch that is not archived
	TickBatches      int           `env:"JOURNAL_TICK_BATCHES" envDefault:"3000"`   // looked for at a time, and published again in one tick, at most
	JournalRetention time.Duration `env:"JOURNAL_RETENTION" envDefault:"168h"`      // of rows of finished batches
}

// Validate reports all faults.
func (c *Config) Validate() error {
	var errs []error
	positive := func(name string, v int64) {
		if v <= 0 {
			errs = append(errs, fmt.Errorf("FOOTFALL_%s: expected more than zero, got %d", name, v))
		}
	}
	positive("INGEST_MAX_WIRE_BYTES", int64(c.MaxWireBytes))
	positive("INGEST_MAX_BODY_BYTES", int64(c.MaxBodyBytes))
	positive("INGEST_MAX_REQUESTS", int64(c.MaxRequests))
	positive("INGEST_FLUSH_EVENTS", int64(c.FlushEvents))
	positive("INGEST_FLUSH_BYTES", int64(c.FlushBytes))
	positive("INGEST_LANE_EVENTS", int64(c.LaneEvents))
	positive("INGEST_WRITE_TIMEOUT", int64(c.WriteTimeout))
	positive("STREAMS_REFRESH", int64(c.StreamsRefresh))
	positive("JOURNAL_REPUBLISH_AFTER", int64(c.RepublishAfter))
	positive("JOURNAL_STALE_AFTER", int64(c.StaleAfter))
	positive("JOURNAL_UNARCHIVED_AFTER", int64(c.UnarchivedAfter))
	positive("JOURNAL_TICK_BATCHES", int64(c.TickBatches))
	positive("JOURNAL_RETENTION", int64(c.JournalRetention))
	if c.MaxBufferBytes < 2*c.MaxBodyBytes {
		errs = append(errs, fmt.Errorf("FOOTFALL_INGEST_MAX_BUFFER_BYTES: expected at least twice FOOTFALL_INGEST_MAX_BODY_BYTES, got %d", c.MaxBufferBytes))
	}
	if c.MaxRefusedBytes < 0 {
		errs = append(errs, fmt.Errorf("FOOTFALL_INGEST_MAX_REFUSED_BYTES: expected zero or more, got %d", c.MaxRefusedBytes))
	}
	if c.QuotaEventsPerMinute < 0 || c.QuotaEventsPerMinute > access.MaxQuota {
		errs = append(errs, fmt.Errorf("FOOTFALL_QUOTA_EVENTS_PER_MINUTE: expected 0 to %d, got %d", int64(access.MaxQuota), c.QuotaEventsPerMinute))
	}
	if c.MaxBodyBytes > 64<<20 {
		errs = append(errs, fmt.Errorf("FOOTFALL_INGEST_MAX_BODY_BYTES: expected at most 67108864, got %d", c.MaxBodyBytes))
	}
	if c.MaxLanes < 1 || c.MaxLanes > 256 {
		errs = append(errs, fmt.Errorf("FOOTFALL_INGEST_MAX_LANES: expected 1 to 256, got %d", c.MaxLanes))
	}
	if c.FlushAge < 0 || c.FlushAge > time.Second {
		errs = append(errs, fmt.Errorf("FOOTFALL_INGEST_FLUSH_AGE: expected 0s to 1s, got %s", c.FlushAge))
	}
	for _, h := range []struct {
		name   string
		header *string
	}{{"COUNTRY_HEADER", &c.CountryHeader}, {"REGION_HEADER", &c.RegionHeader}, {"CITY_HEADER", &c.CityHeader}} {
		if *h.header == "" {
			continue
		}
		if len(c.TrustedProxies) == 0 {
			errs = append(errs, fmt.Errorf("FOOTFALL_%s: expected FOOTFALL_TRUSTED_PROXIES with it, for only a proxy's word counts", h.name))
		}
		*h.header = http.CanonicalHeaderKey(*h.header)
	}
	for _, p := range c.TrustedProxies {
		if !p.IsValid() {
			errs = append(errs, fmt.Errorf("FOOTFALL_TRUSTED_PROXIES: expected networks such as 10.0.0.0/8, got %q", p))
		}
	}
	return errors.Join(errs...)
}
