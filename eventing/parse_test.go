package eventing_test

import (
	"errors"
	"io/fs"
	"maps"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	cloudevents "github.com/cloudevents/sdk-go/v2/event"
	"github.com/google/go-cmp/cmp"

	"github.com/footfall/footfall/eventing"
	"github.com/footfall/footfall/shared/fault"
)

// base is the least wiring of each kind; tests change a piece of it.
var base = map[string]string{
	"broker.yaml": `apiVersion: v1
kind: ConfigMap
metadata: {name: config, namespace: shop}
data:
  bootstrap.servers: kafka-1:9092, kafka-2:9092
  default.topic.partitions: "4"
  default.topic.replication.factor: "2"
---
apiVersion: eventing.knative.dev/v1
kind: Broker
metadata:
  name: orders
  namespace: shop
  annotations:
    eventing.knative.dev/broker.class: Kafka
    kafka.eventing.knative.dev/external.topic: shop.orders
spec:
  config: {apiVersion: v1, kind: ConfigMap, name: config}
`,
	"sink.yaml": `apiVersion: eventing.knative.dev/v1alpha1
kind: KafkaSink
metadata: {name: dead, namespace: shop}
spec:
  topic: shop.dead
  bootstrapServers: ["kafka-1:9092"]
`,
	"trigger.yaml": `apiVersion: eventing.knative.dev/v1
kind: Trigger
metadata:
  name: bill
  namespace: shop
  annotations:
    kafka.eventing.knative.dev/delivery.order: ordered
spec:
  broker: orders
  filters:
    - exact: {type: order.v1}
  subscriber:
    ref: {apiVersion: serving.knative.dev/v1, kind: Service, name: billing}
  delivery:
    retry: 3
    timeout: PT30S
    backoffDelay: PT0.5S
    backoffPolicy: linear
    deadLetterSink:
      ref: {apiVersion: eventing.knative.dev/v1alpha1, kind: KafkaSink, name: dead}
`,
	"ping.yaml": `apiVersion: sources.knative.dev/v1
kind: PingSource
metadata: {name: nightly, namespace: shop}
spec:
  schedule: 30 3 * * *
  timezone: Europe/Berlin
  contentType: application/json
  data: '{"job":"close"}'
  ceOverrides:
    extensions: {job: close}
  sink:
    ref: {apiVersion: eventing.knative.dev/v1, kind: Broker, name: orders}
`,
}

// change parses base with one piece of one file replaced.
func change(t testing.TB, file, old, with string) (*eventing.Wiring, error) {
	t.Helper()
	fsys := fstest.MapFS{}
	for name, text := range base {
		if name == file {
			if strings.Count(text, old) < 1 {
				t.Fatalf("%s has no %q", file, old)
			}
			text = strings.Replace(text, old, with, 1)
		}
		fsys[name] = &fstest.MapFile{Data: []byte(text)}
	}
	return eventing.Parse(fsys)
}

func TestEverythingIsRead(t *testing.T) {
	w, err := change(t, "", "", "")
	if err != nil {
		t.Fatal(err)
	}
	wantBroker := eventing.Broker{
		Name:             "orders",
		Topic:            eventing.Topic{Name: "shop.orders", Partitions: 4, ReplicationFactor: 2},
		BootstrapServers: []string{"kafka-1:9092", "kafka-2:9092"},
	}
	if got, _ := w.Broker("orders"); w.Namespace != "shop" || !cmp.Equal(got, wantBroker) {
		t.Errorf("broker (-want +got):\n%s", cmp.Diff(wantBroker, got))
	}
	wantSink := eventing.KafkaSink{
		Name:             "dead",
		Topic:            eventing.Topic{Name: "shop.dead", Partitions: 1, ReplicationFactor: 1},
		BootstrapServers: []string{"kafka-1:9092"},
	}
	if got, _ := w.Sink("dead"); !cmp.Equal(got, wantSink) {
		t.Errorf("sink (-want +got):\n%s", cmp.Diff(wantSink, got))
	}
	tr := w.Triggers[0]
	wantDelivery := eventing.Delivery{
		Retry: 3, Backoff: eventing.Linear, BackoffDelay: 500 * time.Millisecond, Timeout: 30 * time.Second,
		DeadLetter: &eventing.Destination{Kind: eventing.TargetKafkaSink, Name: "dead"},
	}
	if diff := cmp.Diff(wantDelivery, tr.Delivery); diff != "" {
		t.Errorf("delivery (-want +got):\n%s", diff)
	}
	if tr.Order != eventing.Ordered || tr.Subscriber != (eventing.Destination{Kind: eventing.TargetService, Name: "billing", Path: "/"}) {
		t.Errorf("trigger %+v", tr)
	}
	s := w.Sources[0]
	from := time.Date(2026, 7, 1, 0, 0, 0, 0, time.UTC)
	if want := time.Date(2026, 7, 1, 1, 30, 0, 0, time.UTC); !s.Schedule.Next(from).Equal(want) {
		t.Errorf("next at %s, want %s", s.Schedule.Next(from), want)
	}
	if string(s.Data) != `{"job":"close"}` || s.Extensions["job"] != "close" {
		t.Errorf("source %+v", s)
	}
}

func TestKnativesDefaults(t *testing.T) {
	delivery := base["trigger.yaml"][strings.Index(base["trigger.yaml"], "  delivery:"):]
	w, err := change(t, "trigger.yaml", delivery, "")
	if err != nil {
		t.Fatal(err)
	}
	want := eventing.Delivery{BackoffDelay: 200 * time.Millisecond, Timeout: 600 * time.Second}
	if diff := cmp.Diff(want, w.Triggers[0].Delivery); diff != "" {
		t.Errorf("no delivery at all (-want +got):\n%s", diff)
	}

	brokerDelivery := `  delivery:
    retry: 7
    deadLetterSink: {uri: "https://example.com/dead"}
`
	fsys := fstest.MapFS{}
	for name, text := range base {
		switch name {
		case "broker.yaml":
			text += brokerDelivery
		case "trigger.yaml":
			own := strings.Replace(text, "name: bill\n", "name: own\n", 1)
			own = strings.Replace(own, delivery, "  delivery: {retry: 1}\n", 1)
			text = strings.Replace(text, delivery, "", 1) + "---\n" + own
		}
		fsys[name] = &fstest.MapFile{Data: []byte(text)}
	}
	w, err = eventing.Parse(fsys)
	if err != nil {
		t.Fatal(err)
	}
	want.Retry, want.DeadLetter = 7, &eventing.Destination{Kind: eventing.TargetURL, URL: "https://example.com/dead"}
	if diff := cmp.Diff(want, w.Triggers[0].Delivery); diff != "" {
		t.Errorf("the Broker's delivery (-want +got):\n%s", diff)
	}
	// A Trigger's own delivery takes nothing from the Broker's, not even the dead letter sink.
	want.Retry, want.DeadLetter = 1, nil
	if diff := cmp.Diff(want, w.Triggers[1].Delivery); diff != "" {
		t.Errorf("a Trigger's own delivery (-want +got):\n%s", diff)
	}
}

func TestOtherFormsThatKnativeTakes(t *testing.T) {
	for name, c := range map[string]struct{ file, old, with string }{
		"a topic that Knative makes":  {"broker.yaml", "    kafka.eventing.knative.dev/external.topic: shop.orders\n", ""},
		"unordered":                   {"trigger.yaml", "order: ordered", "order: unordered"},
		"keda":                        {"trigger.yaml", "  annotations:\n", "  annotations:\n    autoscaling.eventing.knative.dev/max-scale: \"5\"\n"},
		"another's annotation":        {"trigger.yaml", "  annotations:\n", "  annotations:\n    example.com/team: billing\n"},
		"a path and a query":          {"trigger.yaml", "name: billing}", "name: billing}\n    uri: /bills?x=1"},
		"a subscriber elsewhere":      {"trigger.yaml", "ref: {apiVersion: serving.knative.dev/v1, kind: Service, name: billing}", "uri: http://example.com:8080/x"},
		"dead letters to a function":  {"trigger.yaml", "apiVersion: eventing.knative.dev/v1alpha1, kind: KafkaSink, name: dead", "apiVersion: serving.knative.dev/v1, kind: Service, name: undertaker"},
		"attributes":                  {"trigger.yaml", "  filters:\n    - exact: {type: order.v1}", "  filter:\n    attributes: {type: order.v1}"},
		"no filter":                   {"trigger.yaml", "  filters:\n    - exact: {type: order.v1}\n", ""},
		"every dialect":               {"trigger.yaml", "- exact: {type: order.v1}", "- {all: [{prefix: {type: order}}, {any: [{suffix: {type: .v1}}, {not: {exact: {source: x}}}]}]}\n    - cesql: \"EXISTS type AND type LIKE 'order%'\""},
		"seconds":                     {"ping.yaml", "30 3 * * *", "15 30 3 * * *"},
		"a descriptor":                {"ping.yaml", "30 3 * * *", "'@hourly'"},
		"no schedule":                 {"ping.yaml", "  schedule: 30 3 * * *\n", ""},
		"no zone":                     {"ping.yaml", "  timezone: Europe/Berlin\n", ""},
		"binary data":                 {"ping.yaml", "data: '{\"job\":\"close\"}'", "dataBase64: e30="},
		"no data":                     {"ping.yaml", "  data: '{\"job\":\"close\"}'\n", ""},
		"text":                        {"ping.yaml", "application/json\n  data: '{\"job\":\"close\"}'", "text/plain\n  data: '[1]'"},
		"a sink elsewhere":            {"ping.yaml", "ref: {apiVersion: eventing.knative.dev/v1, kind: Broker, name: orders}", "uri: https://example.com/"},
		"a sink's own topic":          {"sink.yaml", "  topic: shop.dead\n", "  topic: shop.dead\n  numPartitions: 3\n  replicationFactor: 1\n  contentMode: structured\n"},
		"an empty document and notes": {"sink.yaml", "apiVersion: eventing", "---\n# nothing\n---\napiVersion: eventing"},
		"labels":                      {"sink.yaml", "metadata: {name: dead, ", "metadata: {labels: {a: b}, name: dead, "},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := change(t, c.file, c.old, c.with); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestTopicsOfKnativesOwn(t *testing.T) {
	fsys := fstest.MapFS{"b.yaml": {Data: []byte(strings.Replace(strings.Replace(base["broker.yaml"],
		"    kafka.eventing.knative.dev/external.topic: shop.orders\n", "", 1),
		"data:\n", "data:\n  default.topic.config.retention.ms: \"3600000\"\n", 1))}}
	w, err := eventing.Parse(fsys)
	if err != nil {
		t.Fatal(err)
	}
	want := []eventing.Topic{{Name: "knative-broker-shop-orders", Partitions: 4, ReplicationFactor: 2, Config: map[string]string{"retention.ms": "3600000"}}}
	if diff := cmp.Diff(want, w.Topics()); diff != "" {
		t.Errorf("topics (-want +got):\n%s", diff)
	}
}

// Each change breaks one thing; the error must name the place and say what is
// supported there.
func TestRefusals(t *testing.T) {
	const dlsRef = "ref: {apiVersion: eventing.knative.dev/v1alpha1, kind: KafkaSink, name: dead}"
	for name, c := range map[string]struct{ file, old, with, want string }{
		"unknown kind":            {"ping.yaml", "kind: PingSource", "kind: SinkBinding", `ping.yaml:2 (document 1) kind: expected one of ConfigMap, Broker, KafkaSink, Trigger, PingSource; "SinkBinding" is not supported`},
		"no kind":                 {"ping.yaml", "kind: PingSource\n", "", "ping.yaml:1 (document 1) kind: expected one of"},
		"wrong version":           {"ping.yaml", "sources.knative.dev/v1\n", "sources.knative.dev/v1beta2\n", `apiVersion: expected sources.knative.dev/v1`},
		"unknown field":           {"trigger.yaml", "  broker: orders", "  broker: orders\n  brokers: x", `trigger.yaml:10 (document 1, Trigger "bill") spec.brokers: expected no such field; supported are broker, filter, filters, subscriber, delivery`},
		"unknown top field":       {"trigger.yaml", "spec:", "status: {}\nspec:", "status: expected no such field; supported are apiVersion, kind, metadata, spec"},
		"no spec":                 {"sink.yaml", "spec:\n  topic: shop.dead\n  bootstrapServers: [\"kafka-1:9092\"]\n", "", `sink.yaml:1 (document 1, KafkaSink "dead") spec: expected an object with topic`},
		"retryAfterMax":           {"trigger.yaml", "    retry: 3", "    retry: 3\n    retryAfterMax: PT30S", "spec.delivery.retryAfterMax: expected no such field; supported are retry, backoffPolicy, backoffDelay, timeout, deadLetterSink"},
		"format":                  {"trigger.yaml", "    retry: 3", "    retry: 3\n    format: json", "spec.delivery.format: expected no such field"},
		"retry below zero":        {"trigger.yaml", "retry: 3", "retry: -1", "spec.delivery.retry: expected a whole number from 0"},
		"retry in words":          {"trigger.yaml", "retry: 3", "retry: three", "spec.delivery.retry: expected a whole number"},
		"retry in octal":          {"trigger.yaml", "retry: 3", "retry: 010", "spec.delivery.retry: expected a whole number"},
		"policy":                  {"trigger.yaml", "linear", "quadratic", "spec.delivery.backoffPolicy: expected exponential or linear"},
		"no policy":               {"trigger.yaml", "linear", `""`, "spec.delivery.backoffPolicy: expected exponential or linear"},
		"no time":                 {"trigger.yaml", "PT30S", "PT0S", "spec.delivery.timeout: expected an ISO 8601 duration above zero"},
		"Go's duration":           {"trigger.yaml", "PT30S", "30s", "spec.delivery.timeout: expected an ISO 8601 duration"},
		"finer than Knative":      {"trigger.yaml", "PT0.5S", "PT0.25S", "spec.delivery.backoffDelay: expected an ISO 8601 duration"},
		"order":                   {"trigger.yaml", "order: ordered", "order: sorted", "delivery.order: expected ordered or unordered"},
		"Knative's annotation":    {"trigger.yaml", "  annotations:\n", "  annotations:\n    knative.dev/dependency: '{}'\n", "metadata.annotations.knative.dev/dependency: expected no such annotation"},
		"no such broker":          {"trigger.yaml", "broker: orders", "broker: order", `trigger.yaml:9 (document 1, Trigger "bill") spec.broker: expected the name of a Broker of this wiring; there is no "order"`},
		"no such sink":            {"trigger.yaml", "name: dead}", "name: death}", `there is no "death"`},
		"no such config":          {"broker.yaml", "kind: ConfigMap, name: config}", "kind: ConfigMap, name: other}", `spec.config.name: expected the name of a ConfigMap of this wiring; there is no "other"`},
		"an idle config":          {"broker.yaml", "kind: ConfigMap, name: config}", "kind: ConfigMap, name: other}", `no Broker names "config"`},
		"no config":               {"broker.yaml", "  config: {apiVersion: v1, kind: ConfigMap, name: config}\n", "  delivery: {retry: 1}\n", "spec.config: expected a ref to a ConfigMap"},
		"settings of elsewhere":   {"broker.yaml", "data:\n", "data:\n  default.topic.config.retention.ms: \"1\"\n", "expected no topic settings for the external topic"},
		"unknown setting":         {"broker.yaml", "data:\n", "data:\n  auth.secret.ref.name: x\n", "data.auth.secret.ref.name: expected no such key"},
		"partitions as number":    {"broker.yaml", `partitions: "4"`, `partitions: 4`, "data.default.topic.partitions: expected a string; put it in quotes"},
		"no partitions":           {"broker.yaml", `  default.topic.partitions: "4"` + "\n", "", "data.default.topic.partitions: expected a whole number from 1"},
		"address":                 {"broker.yaml", "kafka-2:9092", "kafka-2", "data.bootstrap.servers: expected Kafka addresses as host:port"},
		"class":                   {"broker.yaml", "class: Kafka", "class: MTChannelBasedBroker", "expected Kafka: Brokers of other classes are not supported"},
		"no class":                {"broker.yaml", "    eventing.knative.dev/broker.class: Kafka\n", "", "metadata.annotations.eventing.knative.dev/broker.class: expected Kafka"},
		"topic":                   {"broker.yaml", "shop.orders", "shop/orders", "external.topic: expected a Kafka topic name"},
		"half a topic":            {"sink.yaml", "  topic: shop.dead\n", "  topic: shop.dead\n  numPartitions: 3\n", "spec: expected numPartitions and replicationFactor both"},
		"content mode":            {"sink.yaml", "  topic: shop.dead\n", "  topic: shop.dead\n  contentMode: text\n", "spec.contentMode: expected binary or structured"},
		"auth":                    {"sink.yaml", "  topic: shop.dead\n", "  topic: shop.dead\n  auth: {}\n", "spec.auth: expected no such field"},
		"no servers":              {"sink.yaml", `["kafka-1:9092"]`, `[]`, "spec.bootstrapServers: expected at least one"},
		"another namespace":       {"sink.yaml", "namespace: shop", "namespace: shops", "metadata.namespace: expected the namespace"},
		"a ref across namespaces": {"trigger.yaml", "name: dead}", "name: dead, namespace: other}", "ref.namespace: expected the namespace"},
		"no namespace":            {"broker.yaml", "name: config, namespace: shop", "name: config", "metadata.namespace: expected a name"},
		"name":                    {"sink.yaml", "name: dead", "name: Dead", "metadata.name: expected a name of 1 to 63"},
		"twice":                   {"broker.yaml", "kind: Broker\nmetadata:\n  name: orders", "kind: Broker\nmetadata:\n  name: orders\n  namespace: shop\n  annotations: {eventing.knative.dev/broker.class: Kafka}\nspec: {config: {apiVersion: v1, kind: ConfigMap, name: config}}\n---\napiVersion: eventing.knative.dev/v1\nkind: Broker\nmetadata:\n  name: orders", "metadata.name: expected a name that no other Broker has"},
		"two filters":             {"trigger.yaml", "  filters:", "  filter: {attributes: {type: a}}\n  filters:", "spec.filters: expected either filter or filters"},
		"two dialects":            {"trigger.yaml", "- exact: {type: order.v1}", "- exact: {type: order.v1}\n      prefix: {type: order}", `trigger.yaml:11 (document 1, Trigger "bill") spec.filters[0]: expected exactly one of exact, prefix, suffix, all, any, not, cesql, not empty; there are 2`},
		"no dialect":              {"trigger.yaml", "- exact: {type: order.v1}", "- {}", "spec.filters[0]: expected exactly one of"},
		"an empty dialect":        {"trigger.yaml", "- exact: {type: order.v1}", "- any: []", "spec.filters[0]: expected exactly one of"},
		"unknown dialect":         {"trigger.yaml", "- exact: {type: order.v1}", "- sql: TRUE", "spec.filters[0].sql: expected no such field; supported are exact, prefix, suffix, all, any, not, cesql"},
		"attribute name":          {"trigger.yaml", "{type: order.v1}", "{Type: order.v1}", "spec.filters[0].exact.Type: expected an attribute name"},
		"empty value":             {"trigger.yaml", "{type: order.v1}", `{type: ""}`, "spec.filters[0].exact.type: expected a value that is not empty"},
		"empty attribute":         {"trigger.yaml", "  filters:\n    - exact: {type: order.v1}", "  filter:\n    attributes: {tick: \"\"}", `trigger.yaml:11 (document 1, Trigger "bill") spec.filter.attributes.tick: expected a value that is not empty`},
		"media type":              {"trigger.yaml", "- exact: {type: order.v1}", "- exact: {datamediatype: text/plain}", "spec.filters[0].exact.datamediatype: expected an attribute of CloudEvents 1.0"},
		"place in the topic":      {"trigger.yaml", "- exact: {type: order.v1}", "- exact: {knativekafkapartition: \"1\"}", "spec.filters[0].exact.knativekafkapartition: expected an attribute that the event has by itself"},
		"part of a time":          {"trigger.yaml", "- exact: {type: order.v1}", "- prefix: {time: \"2026\"}", "spec.filters[0].prefix.time: expected no part of a time"},
		"prefix below not":        {"trigger.yaml", "- exact: {type: order.v1}", "- not: {all: [{prefix: {subject: shop}}]}", "spec.filters[0].not.all[0].prefix.subject: expected no prefix of subject below any or not"},
		"suffix below any":        {"trigger.yaml", "- exact: {type: order.v1}", "- any: [{suffix: {datacontenttype: json}}]", "spec.filters[0].any[0].suffix.datacontenttype: expected no suffix of datacontenttype below any or not"},
		"broken cesql":            {"trigger.yaml", "- exact: {type: order.v1}", "- not: {any: [{cesql: 'type =='}]}", "spec.filters[0].not.any[0].cesql: expected an expression of the CloudEvents SQL language"},
		"no subscriber":           {"trigger.yaml", "  subscriber:\n    ref: {apiVersion: serving.knative.dev/v1, kind: Service, name: billing}\n", "", "spec.subscriber: expected a ref to a Service (serving.knative.dev/v1), or an absolute http or https uri"},
		"subscriber kind":         {"trigger.yaml", "serving.knative.dev/v1, kind: Service, name: billing", "eventing.knative.dev/v1, kind: Broker, name: orders", "spec.subscriber.ref.kind: expected a ref to a Service"},
		"subscriber version":      {"trigger.yaml", "serving.knative.dev/v1, kind: Service", "v1, kind: Service", "spec.subscriber.ref.apiVersion: expected serving.knative.dev/v1"},
		"relative subscriber":     {"trigger.yaml", "ref: {apiVersion: serving.knative.dev/v1, kind: Service, name: billing}", "uri: /bills", "spec.subscriber.uri: expected an absolute URL"},
		"absolute path":           {"trigger.yaml", "name: billing}", "name: billing}\n    uri: http://x/y", "spec.subscriber.uri: expected a path on the Service"},
		"path on a sink":          {"trigger.yaml", dlsRef, dlsRef + "\n      uri: /x", "spec.delivery.deadLetterSink.uri: expected no uri beside a ref to a KafkaSink"},
		"certificates":            {"trigger.yaml", "name: billing}", "name: billing}\n    CACerts: x", "spec.subscriber.CACerts: expected no such field; supported are ref, uri"},
		"every":                   {"ping.yaml", "30 3 * * *", "'@every 1h'", `ping.yaml:5 (document 1, PingSource "nightly") spec.schedule: expected a schedule of 5 fields`},
		"zone in schedule":        {"ping.yaml", "30 3 * * *", "TZ=UTC 30 3 * * *", "spec.schedule: expected a schedule of 5 fields"},
		"schedule":                {"ping.yaml", "30 3 * * *", "30 25 * * *", "spec.schedule: expected a schedule of 5 fields"},
		"never":                   {"ping.yaml", "30 3 * * *", "0 0 30 2 *", "spec.schedule: expected a schedule that comes at some time"},
		"zone":                    {"ping.yaml", "Europe/Berlin", "Europe/Bielefeld", "spec.timezone: expected a time zone of the IANA database"},
		"array":                   {"ping.yaml", `'{"job":"close"}'`, `'["close"]'`, "spec.data: expected a JSON object"},
		"null":                    {"ping.yaml", `'{"job":"close"}'`, `'null'`, "spec.data: expected a JSON object"},
		"both data":               {"ping.yaml", "  data:", "  dataBase64: e30=\n  data:", "spec.dataBase64: expected either data or dataBase64"},
		"base64":                  {"ping.yaml", "data: '{\"job\":\"close\"}'", "dataBase64: '{}'", "spec.dataBase64: expected base64"},
		"extension":               {"ping.yaml", "{job: close}", "{job-id: close}", "spec.ceOverrides.extensions.job-id: expected the name of an extension"},
		"core attribute":          {"ping.yaml", "{job: close}", "{type: close}", "spec.ceOverrides.extensions.type: expected the name of an extension"},
		"sink kind":               {"ping.yaml", "eventing.knative.dev/v1, kind: Broker", "serving.knative.dev/v1, kind: Service", "spec.sink.ref.kind: expected a ref to a Broker"},
		"a key twice":             {"ping.yaml", "  schedule:", "  schedule: 1 * * * *\n  schedule:", "spec.schedule: expected each key once"},
		"an alias":                {"ping.yaml", "name: nightly, namespace: shop", "name: &x nightly, namespace: shop, labels: {a: *x}", "anchors and aliases are not supported"},
		"a tag":                   {"ping.yaml", "30 3 * * *", "!!str 5", "spec.schedule: expected a plain value: tags are not supported"},
		"an old boolean":          {"ping.yaml", "{job: close}", "{job: yes}", "spec.ceOverrides.extensions.job: expected a string; put it in quotes"},
		"nothing":                 {"ping.yaml", "30 3 * * *", "", "spec.schedule: expected a schedule"},
		"no YAML":                 {"ping.yaml", "kind: PingSource", "kind: [", "ping.yaml: expected YAML in document 1"},
		"no object":               {"ping.yaml", base["ping.yaml"], "- a\n- b\n", "ping.yaml:1 (document 1) kind: expected"},
	} {
		t.Run(name, func(t *testing.T) {
			w, err := change(t, c.file, c.old, c.with)
			if err == nil {
				t.Fatalf("accepted as %+v", w)
			}
			if !strings.Contains(err.Error(), c.want) {
				t.Errorf("error\n%s\nmisses\n%s", err, c.want)
			}
			if !fault.Is(err, fault.Invalid) {
				t.Errorf("kind %s", fault.KindOf(err))
			}
		})
	}
}

func TestAllErrorsAtOnce(t *testing.T) {
	fsys := fstest.MapFS{}
	for name, text := range base {
		text = strings.ReplaceAll(text, "spec:", "extra: 1\nspec:")
		fsys[name] = &fstest.MapFile{Data: []byte(text)}
	}
	_, err := eventing.Parse(fsys)
	if err == nil {
		t.Fatal("accepted")
	}
	for name := range base {
		if !strings.Contains(err.Error(), name) {
			t.Errorf("no error for %s in\n%s", name, err)
		}
	}
}

func TestKustomization(t *testing.T) {
	const head = "apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\nnamespace: shop\nresources:\n"
	with := func(list string) fs.FS {
		fsys := fstest.MapFS{"kustomization.yaml": {Data: []byte(head + list)}}
		for name, text := range base {
			fsys[name] = &fstest.MapFile{Data: []byte(strings.ReplaceAll(text, ", namespace: shop", ""))}
		}
		return fsys
	}
	w, err := eventing.Parse(with("  - broker.yaml\n  - sink.yaml\n"))
	if err != nil {
		t.Fatal(err)
	}
	if w.Namespace != "shop" || len(w.Sinks) != 1 || len(w.Triggers) != 0 {
		t.Errorf("read %+v", w)
	}
	for list, want := range map[string]string{
		"  - broker.yaml\n  - other.yaml\n":   "other.yaml: expected a file",
		"  - broker.yaml\n  - broker.yaml\n":  "resources[1]: expected each file once",
		"  - broker.yaml\n  - ../x.yaml\n":    "resources[1]: expected the path of a file in this folder",
		"  - broker.yaml\npatches: []\n":      "patches: expected no such field; supported are apiVersion, kind, namespace, resources",
		"  - broker.yaml\n---\na: b\n":        "kustomization.yaml: expected exactly one document",
		"  - sink.yaml\n":                     "expected at least one Broker",
		"  - broker.yaml\n  - trigger.yaml\n": `there is no "dead"`,
	} {
		if _, err := eventing.Parse(with(list)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("with\n%serror %v misses %s", list, err, want)
		}
	}
}

// valid checks what Parse promises of every wiring that it returns.
func valid(w *eventing.Wiring) error {
	for _, topic := range w.Topics() {
		if topic.Name == "" || topic.Partitions < 1 || topic.ReplicationFactor < 1 {
			return errors.New("topic without name, partitions or replicas")
		}
	}
	found := func(d *eventing.Destination) bool {
		switch {
		case d == nil:
			return true
		case d.Kind == eventing.TargetKafkaSink:
			_, ok := w.Sink(d.Name)
			return ok
		case d.Kind == eventing.TargetBroker:
			_, ok := w.Broker(d.Name)
			return ok
		case d.Kind == eventing.TargetService:
			return d.Name != "" && strings.HasPrefix(d.Path, "/")
		default:
			return d.URL != ""
		}
	}
	e := cloudevents.New()
	for _, tr := range w.Triggers {
		_, ok := w.Broker(tr.Broker)
		d := tr.Delivery
		if !ok || tr.Filter == nil || d.Timeout <= 0 || d.BackoffDelay <= 0 || d.Retry < 0 || !found(&tr.Subscriber) || !found(d.DeadLetter) {
			return errors.New("trigger that nobody can follow")
		}
		tr.Filter.Match(&e)
	}
	for _, s := range w.Sources {
		if s.Schedule == nil || !found(&s.Sink) {
			return errors.New("source without schedule or sink")
		}
		if _, err := s.Event("1", time.Unix(0, 0)); err != nil {
			return err
		}
	}
	if w.Namespace == "" || len(w.Brokers) == 0 {
		return errors.New("no namespace or no broker")
	}
	return nil
}

func FuzzParse(f *testing.F) {
	var all []string
	for _, name := range slices.Sorted(maps.Keys(base)) {
		all = append(all, base[name])
	}
	f.Add(strings.Join(all, "---\n"))
	err := fs.WalkDir(eventing.Files, ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		text, err := fs.ReadFile(eventing.Files, name)
		f.Add(base["broker.yaml"] + "---\n" + string(text))
		return err
	})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, text string) {
		w, err := eventing.Parse(fstest.MapFS{"fuzz.yaml": {Data: []byte(text)}})
		if (w == nil) == (err == nil) {
			t.Fatalf("both or neither: %v, %v", w, err)
		}
		if err != nil {
			if !fault.Is(err, fault.Invalid) {
				t.Fatalf("kind %s of %v", fault.KindOf(err), err)
			}
			return
		}
		if err := valid(w); err != nil {
			t.Fatalf("%v: %+v", err, w)
		}
	})
}

// Parse runs once, at the local runner's start.
func BenchmarkParse(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		if _, err := eventing.Parse(eventing.Files); err != nil {
			b.Fatal(err)
		}
	}
}
