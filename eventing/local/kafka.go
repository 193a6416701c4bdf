package local

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"

	"github.com/footfall/footfall/shared/fault"
)

// KafkaConfig is how the in-process Kafka keeps its data. Zero values mean the
// defaults.
type KafkaConfig struct {
	Dir string // data folder; empty keeps everything in memory
	// RetentionBytes bounds what a partition keeps of what nobody has released,
	// read or not. Kafka looks every few minutes. Default 64 MiB.
	RetentionBytes int64
	// NoSync leaves it to the operating system when records reach the disk:
	// they survive kill -9 and not a power loss. For whoever has them durable
	// elsewhere, such as in the journal: a sync costs more than all the rest
	// of a publish.
	NoSync bool
	Log    *slog.Logger // default: none
}

// Settings of the in-process Kafka. A segment is the grain in which old
// records leave the disk; the offsets of a group must outlive a long holiday.
const (
	segmentBytes       = 4 << 20
	retentionCheck     = 5 * time.Minute
	offsetsRetention   = 10 * 365 * 24 * time.Hour
	minSessionTimeout  = time.Second
	lockName           = "LOCK"
	defaultRetainBytes = 64 << 20
)

// Kafka is a Kafka in this process, on a port of the loopback interface. A
// produce is answered when it is on the disk (fsync, unless NoSync), so that
// what was acknowledged survives kill -9 and power loss. It serves one process's needs:
// one node, no replicas, one request at a time.
type Kafka struct {
	cluster *kfake.Cluster
	lock    *os.File
}

// StartKafka starts it and reads what its folder holds. A folder that another
// process uses is fault.Conflict.
func StartKafka(cfg KafkaConfig) (*Kafka, error) {
	if cfg.RetentionBytes == 0 {
		cfg.RetentionBytes = defaultRetainBytes
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	opts := []kfake.Opt{
		kfake.NumBrokers(1),
		kfake.ListenFn(func(network, _ string) (net.Listener, error) {
			var lc net.ListenConfig
			return lc.Listen(context.Background(), network, "127.0.0.1:0")
		}),
		kfake.GroupMinSessionTimeout(minSessionTimeout),
		kfake.WithLogger(kafkaLog{cfg.Log}),
		kfake.BrokerConfigs(map[string]string{
			// By age it would take a quiet partition's last record, too, and with it,
			// at the next start, where the partition's numbers go on (see Release).
			"log.retention.ms":          "-1",
			"log.retention.bytes":       strconv.FormatInt(cfg.RetentionBytes, 10),
			"log.cleaner.backoff.ms":    strconv.FormatInt(retentionCheck.Milliseconds(), 10),
			"offsets.retention.minutes": strconv.Itoa(int(offsetsRetention.Minutes())),
		}),
	}
	k := &Kafka{}
	if cfg.Dir != "" {
		if err := k.acquire(cfg.Dir); err != nil {
			return nil, fmt.Errorf("cannot start Kafka in %q: %w", cfg.Dir, err)
		}
		opts = append(opts, kfake.DataDir(cfg.Dir))
		if !cfg.NoSync {
			opts = append(opts, kfake.SyncWrites())
		}
	}
	var err error
	if k.cluster, err = kfake.NewCluster(opts...); err != nil {
		k.release()
		return nil, fmt.Errorf("cannot start Kafka in %q: %w", cfg.Dir, err)
	}
	return k, nil
}

// acquire locks the folder; the lock goes with the process, however it ends.
func (k *Kafka) acquire(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	f, err := os.OpenFile(filepath.Join(dir, lockName), os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		f.Close()
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return fault.New(fault.Conflict, "another process uses it")
		}
		return err
	}
	k.lock = f
	return nil
}

func (k *Kafka) release() {
	if k.lock != nil {
		_ = k.lock.Close() // gives up the lock
		k.lock = nil
	}
}

// Brokers are its bootstrap addresses.
func (k *Kafka) Brokers() []string { return k.cluster.ListenAddrs() }

// Trim removes at once what the topics' retention lets go, instead of at the
// next look.
func (k *Kafka) Trim() { k.cluster.ApplyRetention() }

// Release lets go of a partition's records before an offset, which nobody needs
// any more, by whole segments. The last one of them stays: an empty partition
// begins at 0 again after a restart, where groups have long read on.
func (k *Kafka) Release(topic string, partition int, offset int64) error {
	if offset < 2 {
		return nil
	}
	if err := k.cluster.DeleteRecords(topic, int32(partition), offset-1); err != nil && !errors.Is(err, kerr.OffsetOutOfRange) { // it is gone already
		return fmt.Errorf("cannot release records of topic %q, partition %d, before offset %d: %w", topic, partition, offset, err)
	}
	return nil
}

// Close stops it; clients should be closed before, so that their groups have
// left.
func (k *Kafka) Close() {
	k.cluster.Close()
	k.release()
}

// topicConfig is the topic settings that the in-process Kafka needs to hand
// disk space back in small pieces. Settings of the wiring come first.
func topicConfig(config map[string]string) map[string]string {
	out := map[string]string{"segment.bytes": strconv.Itoa(segmentBytes)}
	for k, v := range config {
		out[k] = v
	}
	return out
}

// kafkaLog lets through what an operator can act on.
type kafkaLog struct{ log *slog.Logger }

func (l kafkaLog) Logf(level kfake.LogLevel, msg string, args ...any) {
	switch level {
	case kfake.LogLevelError:
		l.log.Error("the in-process Kafka reports an error", "err", fmt.Sprintf(msg, args...))
	case kfake.LogLevelWarn:
		l.log.Warn("the in-process Kafka warns", "err", fmt.Sprintf(msg, args...))
	}
}
