package kafka

import (
	"context"
	"errors"

	kafkago "github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol/metadata"

	"github.com/footfall/footfall/shared/fault"
)

// Settings of a topic that DescribeTopics tells.
const (
	SettingMaxMessageBytes = "max.message.bytes"
	SettingRetention       = "retention.ms"
	SettingCleanup         = "cleanup.policy"
	SettingMinInSync       = "min.insync.replicas"
)

// TopicState is what Kafka says of a topic.
type TopicState struct {
	Name              string
	Partitions        int
	ReplicationFactor int               // of the partition that has the fewest replicas
	Config            map[string]string // the settings above, as they are in effect; nil where we may not ask for them
}

// DescribeTopics asks Kafka about topics. What does not exist is not in the
// answer, which has the number of Kafka's nodes besides.
func (c *Client) DescribeTopics(ctx context.Context, names ...string) (topics map[string]TopicState, nodes int, err error) {
	ctx, cancel := c.deadline(ctx)
	defer cancel()
	// The client's own transport would answer from what it knew some seconds
	// ago.
	transport := c.newTransport()
	defer transport.CloseIdleConnections()
	m, err := transport.RoundTrip(ctx, c.addr, &metadata.Request{TopicNames: names})
	if err != nil {
		return nil, 0, fault.New(fault.Transient, "cannot look up topics: %w", err)
	}
	res, ok := m.(*metadata.Response)
	if !ok {
		return nil, 0, fault.New(fault.Transient, "cannot look up topics: %w", kafkago.Unknown)
	}
	topics = make(map[string]TopicState, len(res.Topics))
	ask := &kafkago.DescribeConfigsRequest{Addr: c.addr}
	for i := range res.Topics {
		t := &res.Topics[i]
		switch code := kafkago.Error(t.ErrorCode); {
		case errors.Is(code, kafkago.UnknownTopicOrPartition):
			continue
		case code != 0:
			return nil, 0, fault.New(fault.Transient, "cannot look up topic %q: %w", t.Name, code)
		}
		s := TopicState{Name: t.Name, Partitions: len(t.Partitions)}
		for j := range t.Partitions {
			if n := len(t.Partitions[j].ReplicaNodes); j == 0 || n < s.ReplicationFactor {
				s.ReplicationFactor = n
			}
		}
		topics[t.Name] = s
		ask.Resources = append(ask.Resources, kafkago.DescribeConfigRequestResource{
			ResourceType: kafkago.ResourceTypeTopic, ResourceName: t.Name,
			ConfigNames: []string{SettingMaxMessageBytes, SettingRetention, SettingCleanup, SettingMinInSync},
		})
	}
	if len(ask.Resources) == 0 {
		return topics, len(res.Brokers), nil
	}
	api := &kafkago.Client{Addr: c.addr, Transport: transport, Timeout: c.cfg.Timeout}
	described, err := api.DescribeConfigs(ctx, ask)
	if err != nil {
		return nil, 0, fault.New(fault.Transient, "cannot look up the settings of topics: %w", err)
	}
	for _, r := range described.Resources {
		s := topics[r.ResourceName]
		switch {
		case errors.Is(r.Error, kafkago.TopicAuthorizationFailed), errors.Is(r.Error, kafkago.ClusterAuthorizationFailed):
			continue
		case r.Error != nil:
			return nil, 0, fault.New(fault.Transient, "cannot look up the settings of topic %q: %w", r.ResourceName, r.Error)
		}
		s.Config = make(map[string]string, len(r.ConfigEntries))
		for _, e := range r.ConfigEntries {
			s.Config[e.ConfigName] = e.ConfigValue
		}
		topics[r.ResourceName] = s
	}
	return topics, len(res.Brokers), nil
}

// SetTopic changes settings of a topic and leaves the others.
func (c *Client) SetTopic(ctx context.Context, name string, settings map[string]string) error {
	ctx, cancel := c.deadline(ctx)
	defer cancel()
	r := kafkago.IncrementalAlterConfigsRequestResource{ResourceType: kafkago.ResourceTypeTopic, ResourceName: name}
	for k, v := range settings {
		r.Configs = append(r.Configs, kafkago.IncrementalAlterConfigsRequestConfig{Name: k, Value: v, ConfigOperation: kafkago.ConfigOperationSet})
	}
	res, err := c.api.IncrementalAlterConfigs(ctx, &kafkago.IncrementalAlterConfigsRequest{Addr: c.addr, Resources: []kafkago.IncrementalAlterConfigsRequestResource{r}})
	if err == nil {
		for _, r := range res.Resources {
			err = errors.Join(err, r.Error)
		}
	}
	if err != nil {
		return fault.New(fault.Transient, "cannot change the settings of topic %q: %w", name, err)
	}
	return nil
}

// AddPartitions makes a topic have so many partitions. Keys move: events of
// one key that came before and after may be read out of order.
func (c *Client) AddPartitions(ctx context.Context, name string, partitions int) error {
	ctx, cancel := c.deadline(ctx)
	defer cancel()
	res, err := c.api.CreatePartitions(ctx, &kafkago.CreatePartitionsRequest{
		Addr: c.addr, Topics: []kafkago.TopicPartitionsConfig{{Name: name, Count: int32(partitions)}},
	})
	if err == nil {
		err = res.Errors[name]
	}
	if err != nil {
		return fault.New(fault.Transient, "cannot give topic %q %d partitions: %w", name, partitions, err)
	}
	c.refresh(name)
	return c.awaitTopic(ctx, name)
}
