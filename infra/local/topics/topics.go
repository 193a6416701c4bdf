package topics

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/footfall/footfall/eventing"
	"github.com/footfall/footfall/shared/broker/kafka"
	"github.com/footfall/footfall/shared/fault"
	"github.com/footfall/footfall/shared/function"
)

// What every topic needs unless the wiring says otherwise for it.
const (
	// leastMessageBytes: functions fill record batches up to it.
	leastMessageBytes = 1 << 20
	// messageBytes is Kafka's own default: 1 MiB and the head of a record batch.
	messageBytes = 1<<20 + 12
	// retention is that of the journal's rows: so long a batch that only the
	// Broker took may wait for its consumers.
	retention = 7 * 24 * time.Hour
)

// Config says which Kafka. Variables have the prefix FOOTFALL_.
type Config struct {
	Brokers  []string `env:"KAFKA_BROKERS"`
	Security kafka.Security
	Timeout  time.Duration `env:"KAFKA_TIMEOUT" envDefault:"30s"`
}

// Validate reports all faults.
func (c *Config) Validate() error {
	var errs []error
	if len(c.Brokers) == 0 {
		errs = append(errs, fault.Field(function.Prefix+"KAFKA_BROKERS", "host:port of at least one Kafka node"))
	}
	if c.Timeout <= 0 {
		errs = append(errs, fault.Field(function.Prefix+"KAFKA_TIMEOUT", "a duration above zero"))
	}
	errs = append(errs, c.Security.Validate())
	return errors.Join(errs...)
}

const usage = `footfall topics ensure|check [flags]

ensure makes the topics of the wiring (eventing/) that are missing on the Kafka
that FOOTFALL_KAFKA_BROKERS names, and then does what check does: it prints
every topic with what is wrong with it, and fails where something is.
FOOTFALL_KAFKA_PROTOCOL, FOOTFALL_KAFKA_SASL_… and FOOTFALL_KAFKA_TLS_… say how to log in.

`

// Run is the command "footfall topics".
func Run(ctx context.Context, args, environ []string, stdout, stderr io.Writer) error {
	var o options
	flags := flag.NewFlagSet("topics", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.IntVar(&o.replication, "replication", 0, "replicas of each partition; 0: as the wiring says")
	flags.IntVar(&o.partitions, "partitions", 0, "partitions of each topic; 0: as the wiring says")
	flags.DurationVar(&o.retention, "retention", retention, "how long events are kept")
	flags.BoolVar(&o.alter, "alter", false, "ensure: also add partitions and change settings of topics that are there")
	flags.Usage = func() { fmt.Fprint(stderr, usage); flags.PrintDefaults() }
	if len(args) == 0 || args[0] != "ensure" && args[0] != "check" {
		flags.Usage()
		if len(args) > 0 && slices.Contains([]string{"-h", "-help", "--help"}, args[0]) {
			return flag.ErrHelp
		}
		return errors.New("topics: expected ensure or check")
	}
	if err := flags.Parse(args[1:]); err != nil {
		return err
	}
	if flags.NArg() > 0 {
		return fmt.Errorf("topics: unexpected %q", flags.Args())
	}
	if o.replication < 0 || o.partitions < 0 || o.retention <= 0 {
		return errors.New("topics: expected -replication and -partitions of zero or more, and a -retention above zero")
	}
	// Other commands' variables are none of its business.
	environ = slices.DeleteFunc(slices.Clone(environ), func(kv string) bool { return !strings.HasPrefix(kv, function.Prefix+"KAFKA_") })
	var cfg Config
	if err := function.Load(environ, runnerNames, &cfg); err != nil {
		return err
	}
	w, err := eventing.Parse(eventing.Files)
	if err != nil {
		return err
	}
	client, err := kafka.New(kafka.Config{Brokers: cfg.Brokers, Timeout: cfg.Timeout, Security: cfg.Security})
	if err != nil {
		return err
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(ctx, cfg.Timeout)
	defer cancel()
	wanted := wants(w, o)
	if args[0] == "ensure" {
		if err := ensure(ctx, client, wanted, o, stdout); err != nil {
			return err
		}
	}
	return check(ctx, client, wanted, stdout)
}

// runnerNames are variables of the runner that share the prefix.
var runnerNames = []string{function.Prefix + "KAFKA_RETENTION_BYTES", function.Prefix + "KAFKA_MAX_MESSAGE_BYTES"}

type options struct {
	replication, partitions int
	retention               time.Duration
	alter                   bool
}

// wants is what the topics of the wiring must be, in order of name.
func wants(w *eventing.Wiring, o options) []kafka.Topic {
	all := w.Topics()
	topics := make([]kafka.Topic, len(all))
	for i, t := range all {
		topics[i] = kafka.Topic{
			Name: t.Name, Partitions: cmp.Or(o.partitions, t.Partitions), ReplicationFactor: cmp.Or(o.replication, t.ReplicationFactor),
		}
		topics[i].Config = map[string]string{
			kafka.SettingMaxMessageBytes: strconv.Itoa(messageBytes),
			kafka.SettingRetention:       strconv.FormatInt(o.retention.Milliseconds(), 10),
			kafka.SettingCleanup:         "delete",
			// acks=all means that many: with one replica down, writing goes on.
			kafka.SettingMinInSync: strconv.Itoa(max(1, topics[i].ReplicationFactor-1)),
		}
		maps.Copy(topics[i].Config, t.Config)
	}
	return topics
}

// ensure makes what is missing.
func ensure(ctx context.Context, client *kafka.Client, wanted []kafka.Topic, o options, out io.Writer) error {
	there, nodes, err := client.DescribeTopics(ctx, names(wanted)...)
	if err != nil {
		return err
	}
	for _, t := range wanted {
		if t.ReplicationFactor > nodes {
			return fmt.Errorf("cannot make topic %q with %d replicas: this Kafka has %d nodes; -replication %d makes do with them",
				t.Name, t.ReplicationFactor, nodes, nodes)
		}
	}
	missing := slices.DeleteFunc(slices.Clone(wanted), func(t kafka.Topic) bool { _, ok := there[t.Name]; return ok })
	if len(missing) > 0 {
		if err := client.EnsureTopics(ctx, missing...); err != nil {
			return err
		}
		fmt.Fprintf(out, "Made %s.\n\n", strings.Join(names(missing), ", "))
	}
	if !o.alter {
		return nil
	}
	for _, t := range wanted {
		state, ok := there[t.Name]
		if !ok {
			continue
		}
		if state.Partitions < t.Partitions {
			if err := client.AddPartitions(ctx, t.Name, t.Partitions); err != nil {
				return err
			}
			fmt.Fprintf(out, "Gave %s %d partitions.\n", t.Name, t.Partitions)
		}
		change := map[string]string{}
		for name, value := range t.Config {
			if unfit(name, state.Config[name], value) != "" {
				change[name] = value
			}
		}
		if len(change) > 0 {
			if err := client.SetTopic(ctx, t.Name, change); err != nil {
				return err
			}
			fmt.Fprintf(out, "Changed settings of %s: %s.\n", t.Name, strings.Join(slices.Sorted(maps.Keys(change)), ", "))
		}
	}
	return nil
}

// check prints every topic, and fails where one is not as it must be.
func check(ctx context.Context, client *kafka.Client, wanted []kafka.Topic, out io.Writer) error {
	there, _, err := client.DescribeTopics(ctx, names(wanted)...)
	if err != nil {
		return err
	}
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "topic\tpartitions\treplicas\tmax.message.bytes\tretention\tstate")
	bad := 0
	for _, t := range wanted {
		state, ok := there[t.Name]
		if !ok {
			bad++
			fmt.Fprintf(table, "%s\t-\t-\t-\t-\tmissing\n", t.Name)
			continue
		}
		verdict := "ok"
		if faults := faults(state, t); len(faults) > 0 {
			bad++
			verdict = strings.Join(faults, "; ")
		} else if state.Config == nil {
			verdict = "ok, as far as we may see: its settings are hidden from this user"
		}
		fmt.Fprintf(table, "%s\t%d\t%d\t%s\t%s\t%s\n", t.Name, state.Partitions, state.ReplicationFactor,
			cmp.Or(state.Config[kafka.SettingMaxMessageBytes], "?"), keeps(state.Config[kafka.SettingRetention]), verdict)
	}
	if err := table.Flush(); err != nil {
		return err
	}
	if bad > 0 {
		return fmt.Errorf("%d of %d topics are not as they must be: footfall topics ensure makes those that are missing, ensure -alter mends the others (but not the number of replicas)", bad, len(wanted))
	}
	return nil
}

// faults are what is wrong with a topic.
func faults(state kafka.TopicState, want kafka.Topic) []string {
	var all []string
	if state.Partitions < want.Partitions {
		all = append(all, fmt.Sprintf("expected %d partitions", want.Partitions))
	}
	if state.ReplicationFactor < want.ReplicationFactor {
		all = append(all, fmt.Sprintf("expected %d replicas", want.ReplicationFactor))
	}
	for _, name := range slices.Sorted(maps.Keys(want.Config)) {
		if expected := unfit(name, state.Config[name], want.Config[name]); expected != "" {
			all = append(all, fmt.Sprintf("%s is %s, expected %s", name, state.Config[name], expected))
		}
	}
	return all
}

// unfit says what a setting should be; "" where it is fit or not known. Sizes
// and times may be larger than they must be.
func unfit(name, is, want string) string {
	if is == "" || is == want {
		return ""
	}
	have, err := strconv.ParseInt(is, 10, 64)
	least, err2 := strconv.ParseInt(want, 10, 64)
	number := err == nil && err2 == nil
	switch {
	case name == kafka.SettingMaxMessageBytes && number:
		if least = min(least, leastMessageBytes); have >= least {
			return ""
		}
		return fmt.Sprintf("at least %d", least)
	case name == kafka.SettingRetention && number:
		if have < 0 || least >= 0 && have >= least { // -1: for ever
			return ""
		}
		return fmt.Sprintf("at least %d (%s)", least, keeps(want))
	case name == kafka.SettingMinInSync && number:
		if have >= least {
			return ""
		}
		return fmt.Sprintf("at least %d", least)
	default:
		return want
	}
}

// keeps is a retention as people say it.
func keeps(ms string) string {
	n, err := strconv.ParseInt(ms, 10, 64)
	switch {
	case err != nil:
		return "?"
	case n < 0:
		return "for ever"
	default:
		return (time.Duration(n) * time.Millisecond).String()
	}
}

func names(topics []kafka.Topic) []string {
	all := make([]string, len(topics))
	for i, t := range topics {
		all[i] = t.Name
	}
	return all
}
