package eventing

import (
	"math"
	"net"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/footfall/footfall/eventing/filter"
)

// configMap is the configuration that a Broker names.
type configMap struct {
	at          value
	bootstrap   []string
	partitions  int
	replication int
	topic       map[string]value // settings of the topic by their Kafka names
	used        bool
}

const topicSetting = "default.topic.config."

func (p *parser) configMap(o object) {
	m := p.metadata(o)
	c := &configMap{at: o.get("metadata"), topic: make(map[string]value)}
	data := o.get("data")
	entries := data.stringEntries()
	field := func(key string) value { return object{value: data, fields: entries}.get(key) }
	c.bootstrap = addresses(field("bootstrap.servers"), ",")
	c.partitions = count(field("default.topic.partitions"), maxPartitions)
	c.replication = count(field("default.topic.replication.factor"), math.MaxInt16)
	for _, key := range sortedKeys(entries) {
		switch {
		case key == "bootstrap.servers", key == "default.topic.partitions", key == "default.topic.replication.factor":
		case strings.HasPrefix(key, topicSetting) && key != topicSetting:
			c.topic[strings.TrimPrefix(key, topicSetting)] = entries[key]
		default:
			entries[key].fail("no such key; supported are bootstrap.servers, default.topic.partitions, default.topic.replication.factor, %s*", topicSetting)
		}
	}
	if m.name == "" {
		return
	}
	if p.configs == nil {
		p.configs = make(map[string]*configMap)
	}
	p.configs[m.name] = c
}

// maxPartitions keeps a slip of the finger from opening a million files.
const maxPartitions = 10_000

// count reads a whole number that a ConfigMap holds as a string.
func count(v value, most int) int {
	expected := "a whole number from 1 to " + strconv.Itoa(most) + ", in quotes"
	s := v.required(expected)
	if s == "" {
		return 0
	}
	n, err := strconv.Atoi(s)
	if err != nil || n < 1 || n > most || strconv.Itoa(n) != s {
		v.fail("%s", expected)
		return 0
	}
	return n
}

// addresses reads host:port, once or more.
func addresses(v value, separator string) []string {
	const expected = "Kafka addresses as host:port"
	text := v.required(expected)
	if text == "" {
		return nil
	}
	var list []string
	for _, address := range strings.Split(text, separator) {
		address = strings.TrimSpace(address)
		host, port, err := net.SplitHostPort(address)
		if n, portErr := strconv.ParseUint(port, 10, 16); err != nil || portErr != nil || n == 0 || host == "" || strings.ContainsAny(host, " /,") {
			v.fail(expected)
			return nil
		}
		list = append(list, address)
	}
	return list
}

const (
	brokerClass   = "eventing.knative.dev/broker.class"
	externalTopic = "kafka.eventing.knative.dev/external.topic"
	deliveryOrder = "kafka.eventing.knative.dev/delivery.order"
)

type rawBroker struct {
	Broker
	config   string
	configAt value
	external bool
	delivery *rawDelivery
}

func (p *parser) broker(o object) {
	m := p.metadata(o, brokerClass, externalTopic)
	raw := rawBroker{Broker: Broker{Name: m.name}}
	marks := object{value: o.get("metadata"), fields: m.annotations}
	marks.path = "metadata.annotations"
	class := marks.get(brokerClass)
	if s := class.required("Kafka: Brokers of other classes are not supported"); s != "" && s != "Kafka" {
		class.fail("Kafka: Brokers of other classes are not supported")
	}
	if topic := marks.get(externalTopic); topic.present() {
		raw.external = true
		raw.Topic.Name = topicName(topic)
	}
	spec := o.get("spec").object("config", "delivery")
	config := spec.get("config")
	if !config.present() {
		config.fail("a ref to a ConfigMap of this wiring")
	} else if ref := config.object("apiVersion", "kind", "name", "namespace"); ref.fields != nil {
		if version := ref.get("apiVersion"); version.required("v1") != "v1" && version.present() {
			version.fail("v1")
		}
		if kind := ref.get("kind"); kind.required("ConfigMap") != "ConfigMap" && kind.present() {
			kind.fail("ConfigMap")
		}
		if ns := ref.get("namespace"); ns.present() {
			p.sameNamespace(ns, p.label(ns))
		}
		raw.configAt = ref.get("name")
		raw.config = p.label(raw.configAt)
	}
	raw.delivery = p.rawDelivery(spec.get("delivery"))
	p.brokers = append(p.brokers, raw)
}

// applyConfig puts what the ConfigMap says into the Broker.
func (p *parser) applyConfig(b *Broker, raw rawBroker) {
	if !raw.external {
		b.Topic.Name = "knative-broker-" + p.namespace + "-" + b.Name
	}
	if raw.config == "" {
		return
	}
	c := p.configs[raw.config]
	if c == nil {
		raw.configAt.fail("the name of a ConfigMap of this wiring; there is no %q", raw.config)
		return
	}
	c.used = true
	b.BootstrapServers = c.bootstrap
	b.Topic.Partitions, b.Topic.ReplicationFactor = c.partitions, c.replication
	for _, key := range sortedKeys(c.topic) {
		if raw.external {
			c.topic[key].fail("no topic settings for the external topic of Broker %q: Knative would not apply them", b.Name)
			continue
		}
		if b.Topic.Config == nil {
			b.Topic.Config = make(map[string]string)
		}
		b.Topic.Config[key] = c.topic[key].node.Value
	}
}

var topicPattern = regexp.MustCompile(`^[a-zA-Z0-9._-]{1,249}$`)

func topicName(v value) string {
	const expected = "a Kafka topic name: 1 to 249 letters, digits, dots, underscores and dashes"
	s := v.required(expected)
	if s != "" && (!topicPattern.MatchString(s) || s == "." || s == "..") {
		v.fail(expected)
		return ""
	}
	return s
}

func (p *parser) sink(o object) {
	m := p.metadata(o)
	specAt := o.get("spec")
	if !specAt.present() {
		specAt.fail("an object with topic and bootstrapServers")
	}
	spec := specAt.object("topic", "bootstrapServers", "contentMode", "numPartitions", "replicationFactor")
	s := KafkaSink{Name: m.name, Topic: Topic{Partitions: 1, ReplicationFactor: 1}}
	if spec.fields != nil {
		s.Topic.Name = topicName(spec.get("topic"))
		servers := spec.get("bootstrapServers")
		items := servers.list("a list of Kafka addresses as host:port")
		for _, item := range items {
			s.BootstrapServers = append(s.BootstrapServers, addresses(item, "\x00")...)
		}
		if len(items) == 0 {
			servers.fail("at least one Kafka address as host:port")
		}
		s.Structured = spec.get("contentMode").oneOf("binary", "structured") == "structured"
		partitions, replication := spec.get("numPartitions"), spec.get("replicationFactor")
		if n, ok := partitions.integer(1, maxPartitions); ok {
			s.Topic.Partitions = int(n)
		}
		if n, ok := replication.integer(1, math.MaxInt16); ok {
			s.Topic.ReplicationFactor = int(n)
		}
		if partitions.present() != replication.present() {
			spec.fail("numPartitions and replicationFactor both, or neither where the topic is made elsewhere")
		}
	}
	p.sinks = append(p.sinks, s)
}

type rawTrigger struct {
	Trigger
	brokerAt   value
	subscriber *reference
	delivery   *rawDelivery
}

// autoscaling are the annotations by which KEDA scales a Trigger's consumer.
// They change how much runs at once in a cluster, and nothing here.
const autoscaling = "autoscaling.eventing.knative.dev/"

func (p *parser) trigger(o object) {
	m := p.metadata(o, deliveryOrder, autoscaling+"class", autoscaling+"min-scale", autoscaling+"max-scale",
		autoscaling+"polling-interval", autoscaling+"cooldown-period", autoscaling+"lag-threshold", autoscaling+"activation-lag-threshold")
	raw := rawTrigger{Trigger: Trigger{Name: m.name}}
	if order := m.annotations[deliveryOrder]; order.present() && order.oneOf("ordered", "unordered") == "ordered" {
		raw.Order = Ordered
	}
	specAt := o.get("spec")
	if !specAt.present() {
		specAt.fail("an object with broker and subscriber")
	}
	spec := specAt.object("broker", "filter", "filters", "subscriber", "delivery")
	if spec.fields == nil {
		return
	}
	raw.brokerAt = spec.get("broker")
	raw.Broker = p.label(raw.brokerAt)
	raw.Filter = filters(spec)
	raw.subscriber = p.destination(spec.get("subscriber"), TargetService)
	raw.delivery = p.rawDelivery(spec.get("delivery"))
	p.triggers = append(p.triggers, raw)
}

// filters compiles filter or filters.
func filters(spec object) filter.Matcher {
	one, many := spec.get("filter"), spec.get("filters")
	if one.present() && many.present() {
		many.fail("either filter or filters: Knative would leave filter out")
	}
	lines := make(map[string]int)
	var m filter.Matcher
	var err error
	if many.present() {
		m, err = filter.Compile(exprs(many, many.path, lines, 1, false))
	} else {
		attributes := one.object("attributes").get("attributes")
		entries := attributes.stringEntries()
		for _, name := range sortedKeys(entries) {
			lines["attributes."+name] = entries[name].line
			judgeAttribute(name, entries[name], "exact", false)
			if entries[name].node.Value == "" {
				entries[name].fail("a value that is not empty: the Kafka Broker takes an empty one to match where the attribute is absent, others do not; "+
					`filters with cesql: "EXISTS %s" is the same everywhere`, name)
			}
		}
		m, err = filter.Attributes(valuesOf(entries))
		many = one
	}
	for _, f := range faults(err) {
		line, known := lines[f.Field]
		if !known {
			line = many.line
		}
		separator := ""
		if !strings.HasPrefix(f.Field, "[") {
			separator = "."
		}
		many.problem(line, many.path+separator+f.Field, f.Expected, f.Err)
	}
	return m
}

// exprs reads a list of filter elements as they stand; filter.Compile judges.
// lines remembers where each stands by the name that Compile gives it. choice
// is whether it stands below any or not.
func exprs(v value, root string, lines map[string]int, depth int, choice bool) []filter.Expr {
	var list []filter.Expr
	for _, item := range v.list("a list of filters") {
		list = append(list, expr(item, root, lines, depth, choice))
	}
	return list
}

func expr(v value, root string, lines map[string]int, depth int, choice bool) filter.Expr {
	at := strings.TrimPrefix(v.path, root)
	lines[at] = v.line
	if depth > filter.MaxDepth {
		// Deep enough for Compile to refuse it; no need to go on down.
		return filter.Expr{CESQL: "TRUE"}
	}
	o := v.object("exact", "prefix", "suffix", "all", "any", "not", "cesql")
	pairs := func(key string) map[string]string {
		entries := o.get(key).stringEntries()
		for name, entry := range entries {
			lines[at+"."+key+"."+name] = entry.line
			judgeAttribute(name, entry, key, choice)
		}
		return valuesOf(entries)
	}
	x := filter.Expr{
		Exact:  pairs("exact"),
		Prefix: pairs("prefix"),
		Suffix: pairs("suffix"),
		All:    exprs(o.get("all"), root, lines, depth+1, choice),
		Any:    exprs(o.get("any"), root, lines, depth+1, true),
		CESQL:  o.get("cesql").text("a string"),
	}
	lines[at+".cesql"] = o.get("cesql").line
	if not := o.get("not"); not.present() {
		inner := expr(not, root, lines, depth+1, true)
		x.Not = &inner
	}
	return x
}

// judgeAttribute refuses an attribute on which the Kafka Broker's filters and
// ours, which follow Knative's Go filters, do not agree.
func judgeAttribute(name string, at value, dialect string, choice bool) {
	switch name {
	case "datamediatype", "datacontentencoding", "schemaurl":
		at.fail("an attribute of CloudEvents 1.0: the Kafka Broker knows no %s", name)
	case "knativekafkapartition", "knativekafkaoffset":
		at.fail("an attribute that the event has by itself, and not from its place in the topic")
	case "time":
		if dialect != "exact" {
			at.fail("no part of a time: Knative's implementations make different things of an event without one")
		}
	case "subject", "datacontenttype":
		if dialect != "exact" && choice {
			at.fail("no %s of %s below any or not: the Kafka Broker skips an event that has none, whatever the rest says; "+
				`cesql: "EXISTS %s AND %s LIKE …" does what this looks like`, dialect, name, name, name)
		}
	}
}

func valuesOf(entries map[string]value) map[string]string {
	texts := make(map[string]string, len(entries))
	for key, entry := range entries {
		texts[key] = entry.node.Value
	}
	return texts
}

type rawDelivery struct {
	Delivery
	deadLetter *reference
}

// rawDelivery reads a delivery; nil where it is absent.
func (p *parser) rawDelivery(v value) *rawDelivery {
	if !v.present() {
		return nil
	}
	o := v.object("retry", "backoffPolicy", "backoffDelay", "timeout", "deadLetterSink")
	raw := &rawDelivery{Delivery: Delivery{BackoffDelay: DefaultBackoffDelay, Timeout: DefaultTimeout}}
	if n, ok := o.get("retry").integer(0, math.MaxInt32); ok {
		raw.Retry = int(n)
	}
	if o.get("backoffPolicy").oneOf("exponential", "linear") == "linear" {
		raw.Backoff = Linear
	}
	if d := o.get("backoffDelay"); d.present() {
		raw.BackoffDelay = duration(d)
	}
	if d := o.get("timeout"); d.present() {
		raw.Timeout = duration(d)
	}
	if d := o.get("deadLetterSink"); d.present() {
		raw.deadLetter = p.destination(d, TargetKafkaSink, TargetService)
	}
	return raw
}

func duration(v value) time.Duration {
	s := v.required(durationExpected)
	d, ok := parseDuration(s)
	if s != "" && !ok {
		v.fail(durationExpected)
	}
	return d
}
