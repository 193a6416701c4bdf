package kafka

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	kafkago "github.com/segmentio/kafka-go"

	"github.com/footfall/footfall/shared/fault"
)

// GroupConfig is how one member of a consumer group reads one topic. Zero
// values mean the defaults.
type GroupConfig struct {
	Group string
	Topic string

	MaxWait        time.Duration // of a long poll while nothing comes; default 5 s
	MaxBytes       int           // of one fetch; default 4 MiB. A larger record comes alone
	PartitionBytes int           // of one partition in a fetch; default 1 MiB
	SessionTimeout time.Duration // after which a dead member's partitions go to others; default 10 s
	Log            *slog.Logger  // default: none
}

func (c *GroupConfig) validate() error {
	if c.Group == "" || c.Topic == "" {
		return fault.Field("group, topic", "a name each")
	}
	if c.MaxWait == 0 {
		c.MaxWait = 5 * time.Second
	}
	if c.MaxBytes == 0 {
		c.MaxBytes = 4 << 20
	}
	if c.PartitionBytes == 0 {
		c.PartitionBytes = 1 << 20
	}
	if c.SessionTimeout == 0 {
		c.SessionTimeout = 10 * time.Second
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return nil
}

// Handler takes a group member's records. Its methods are called from the
// consumer's own goroutines; Ready, Wait and Take from one per leader.
type Handler interface {
	// Assigned begins a generation: the partitions that are the member's now,
	// with the offset of the next record of each. commit stores offsets, by
	// partition, as those of the next record to process; it may be called
	// until Revoked has returned.
	Assigned(offsets map[int]int64, commit func(map[int]int64) error)
	// Ready reports whether the handler has room for records of a partition.
	Ready(partition int) bool
	// Wait returns when some partition may be ready, or ctx is done.
	Wait(ctx context.Context)
	// Take receives what a fetch brought for a partition, in order of offset;
	// records is empty where only end has moved. end is the offset after the
	// partition's last record. Take may block while the handler is full.
	Take(ctx context.Context, partition int, records []Record, end int64)
	// Skipped tells of records that were lost to the topic's retention before
	// they could be read.
	Skipped(partition int, from, to int64)
	// Revoked ends the generation: the handler finishes and commits what it
	// can within the session timeout.
	Revoked()
}

// Consume joins the group and hands its records to h until ctx is done, then
// revokes, leaves the group and returns nil. Failures to reach Kafka are
// logged and tried again. Only a wrong configuration is an error.
func (c *Client) Consume(ctx context.Context, cfg GroupConfig, h Handler) error {
	if err := cfg.validate(); err != nil {
		return fmt.Errorf("cannot consume topic %q: %w", cfg.Topic, err)
	}
	group, err := kafkago.NewConsumerGroup(kafkago.ConsumerGroupConfig{
		ID: cfg.Group, Topics: []string{cfg.Topic}, Brokers: c.cfg.Brokers,
		Dialer: &kafkago.Dialer{
			ClientID: c.cfg.ClientID, Timeout: c.cfg.Timeout, DialFunc: c.dial, TLS: c.tls, SASLMechanism: c.sasl,
		},
		StartOffset:           kafkago.FirstOffset,
		SessionTimeout:        cfg.SessionTimeout,
		RebalanceTimeout:      cfg.SessionTimeout,
		HeartbeatInterval:     cfg.SessionTimeout / 3,
		JoinGroupBackoff:      500 * time.Millisecond,
		WatchPartitionChanges: true, PartitionWatchInterval: 30 * time.Second,
		Timeout: c.cfg.Timeout,
	})
	if err != nil {
		return fmt.Errorf("cannot consume topic %q as group %q: %w", cfg.Topic, cfg.Group, err)
	}
	stop := context.AfterFunc(ctx, func() { _ = group.Close() }) // always nil
	defer func() {
		stop()
		_ = group.Close()
	}()
	for failing := false; ; {
		gen, err := group.Next(ctx)
		switch {
		case ctx.Err() != nil || errors.Is(err, kafkago.ErrGroupClosed):
			return nil
		case errors.Is(err, kafkago.InvalidSessionTimeout):
			return fault.New(fault.Invalid, "cannot join group %q: Kafka refuses a session timeout of %v, see its group.min.session.timeout.ms and group.max.session.timeout.ms: %w", cfg.Group, cfg.SessionTimeout, err)
		case err != nil:
			// Twice a second while Kafka is away: told once.
			level := slog.LevelWarn
			if failing {
				level = slog.LevelDebug
			}
			failing = true
			cfg.Log.Log(ctx, level, "cannot join consumer group, trying again", "group", cfg.Group, "topic", cfg.Topic, "err", err)
			continue
		}
		if failing {
			failing = false
			cfg.Log.Info("joined consumer group again", "group", cfg.Group, "topic", cfg.Topic)
		}
		ended := make(chan struct{})
		gen.Start(func(ctx context.Context) {
			defer close(ended)
			c.generation(ctx, &cfg, gen, h)
		})
		<-ended
	}
}

// generation runs from the assignment of partitions to their revocation.
func (c *Client) generation(gctx context.Context, cfg *GroupConfig, gen *kafkago.Generation, h Handler) {
	// kafka-go's own context cannot be asked for a deadline; an ordinary child
	// of Background that ends with it serves the calls below.
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	defer context.AfterFunc(gctx, cancel)()

	assigned := gen.Assignments[cfg.Topic]
	offsets := make(map[int]int64, len(assigned))
	for _, a := range assigned {
		offsets[a.ID] = a.Offset
	}
	for try := 0; ; try++ {
		err := c.resolve(ctx, cfg.Topic, offsets)
		if err == nil {
			break
		}
		cfg.Log.Warn("cannot find where to start, trying again", "group", cfg.Group, "topic", cfg.Topic, "err", err)
		if pause(ctx, try) != nil {
			return
		}
	}
	copied := make(map[int]int64, len(offsets))
	for p, o := range offsets {
		copied[p] = o
	}
	h.Assigned(copied, func(o map[int]int64) error {
		if err := gen.CommitOffsets(map[string]map[int]int64{cfg.Topic: o}); err != nil {
			return fault.New(fault.Transient, "cannot commit offsets of group %q: %w", cfg.Group, err)
		}
		return nil
	})
	defer h.Revoked()
	c.fetchAll(ctx, cfg, offsets, h)
}

// resolve replaces "from the start" by the start's offset.
func (c *Client) resolve(ctx context.Context, topic string, offsets map[int]int64) error {
	var ask []kafkago.OffsetRequest
	for p, o := range offsets {
		if o < 0 {
			ask = append(ask, kafkago.FirstOffsetOf(p))
		}
	}
	if len(ask) == 0 {
		return nil
	}
	found, err := c.listOffsets(ctx, topic, ask)
	if err != nil {
		return err
	}
	for _, o := range found {
		offsets[o.Partition] = o.FirstOffset
	}
	return nil
}

func (c *Client) listOffsets(ctx context.Context, topic string, ask []kafkago.OffsetRequest) ([]kafkago.PartitionOffsets, error) {
	ctx, cancel := c.deadline(ctx)
	defer cancel()
	res, err := c.api.ListOffsets(ctx, &kafkago.ListOffsetsRequest{Addr: c.addr, Topics: map[string][]kafkago.OffsetRequest{topic: ask}})
	if err != nil {
		return nil, fault.New(fault.Transient, "cannot list offsets of topic %q: %w", topic, err)
	}
	for _, o := range res.Topics[topic] {
		if o.Error != nil {
			return nil, fault.New(fault.Transient, "cannot list offsets of topic %q partition %d: %w", topic, o.Partition, o.Error)
		}
	}
	return res.Topics[topic], nil
}

// InitOffsets gives a group that has none yet a committed offset in every
// partition of the topic: the end, as Knative starts a new Trigger. It must be
// called before anything is published that the group must see; afterwards it
// changes nothing. Where the group is at work elsewhere, that member's offsets
// stand.
func (c *Client) InitOffsets(ctx context.Context, group, topic string) error {
	ctx, cancel := c.deadline(ctx)
	defer cancel()
	var err error
	for try := 0; ; try++ {
		if err = c.initOffsets(ctx, group, topic); err == nil {
			return nil
		}
		if pause(ctx, try) != nil {
			return fault.New(fault.Transient, "cannot set the first offsets of group %q on topic %q: %w", group, topic, err)
		}
	}
}

func (c *Client) initOffsets(ctx context.Context, group, topic string) error {
	l, err := c.layout(ctx, topic, true)
	if err != nil {
		return err
	}
	fetched, err := c.committed(ctx, group, topic, l.partitions)
	if err != nil {
		return err
	}
	var ask []kafkago.OffsetRequest
	for _, p := range l.partitions {
		if fetched[p] < 0 {
			ask = append(ask, kafkago.LastOffsetOf(p))
		}
	}
	if len(ask) == 0 {
		return nil
	}
	ends, err := c.listOffsets(ctx, topic, ask)
	if err != nil {
		return err
	}
	commits := make([]kafkago.OffsetCommit, 0, len(ends))
	for _, e := range ends {
		commits = append(commits, kafkago.OffsetCommit{Partition: e.Partition, Offset: e.LastOffset})
	}
	res, err := c.api.OffsetCommit(ctx, &kafkago.OffsetCommitRequest{
		Addr: c.addr, GroupID: group, GenerationID: -1, Topics: map[string][]kafkago.OffsetCommit{topic: commits},
	})
	if err != nil {
		return err
	}
	for _, p := range res.Topics[topic] {
		if p.Error != nil && !errors.Is(p.Error, kafkago.UnknownMemberId) { // the group has members: they commit
			return p.Error
		}
	}
	return nil
}

// Committed are a group's committed offsets by partition; partitions without
// one are not in the map.
func (c *Client) Committed(ctx context.Context, group, topic string) (map[int]int64, error) {
	ctx, cancel := c.deadline(ctx)
	defer cancel()
	l, err := c.layout(ctx, topic, false)
	if err != nil {
		return nil, fault.New(fault.Transient, "cannot look up topic %q: %w", topic, err)
	}
	all, err := c.committed(ctx, group, topic, l.partitions)
	if err != nil {
		return nil, fault.New(fault.Transient, "cannot read the offsets of group %q: %w", group, err)
	}
	for p, o := range all {
		if o < 0 {
			delete(all, p)
		}
	}
	return all, nil
}

func (c *Client) committed(ctx context.Context, group, topic string, partitions []int) (map[int]int64, error) {
	res, err := c.api.OffsetFetch(ctx, &kafkago.OffsetFetchRequest{Addr: c.addr, GroupID: group, Topics: map[string][]int{topic: partitions}})
	if err != nil {
		return nil, err
	}
	offsets := make(map[int]int64, len(partitions))
	for _, p := range partitions {
		offsets[p] = -1
	}
	if errors.Is(res.Error, kafkago.GroupIdNotFound) { // the in-process Kafka says so; a real one answers -1 for each
		return offsets, nil
	}
	if res.Error != nil {
		return nil, res.Error
	}
	for _, p := range res.Topics[topic] {
		if p.Error != nil {
			return nil, p.Error
		}
		offsets[p.Partition] = p.CommittedOffset
	}
	return offsets, nil
}

// Ends are the offsets after the last record of each partition of a topic.
func (c *Client) Ends(ctx context.Context, topic string) (map[int]int64, error) {
	ctx, cancel := c.deadline(ctx)
	defer cancel()
	l, err := c.layout(ctx, topic, false)
	if err != nil {
		return nil, fault.New(fault.Transient, "cannot look up topic %q: %w", topic, err)
	}
	ask := make([]kafkago.OffsetRequest, len(l.partitions))
	for i, p := range l.partitions {
		ask[i] = kafkago.LastOffsetOf(p)
	}
	found, err := c.listOffsets(ctx, topic, ask)
	if err != nil {
		return nil, err
	}
	ends := make(map[int]int64, len(found))
	for _, o := range found {
		ends[o.Partition] = o.LastOffset
	}
	return ends, nil
}
