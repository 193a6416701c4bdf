package conformance

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	eventingv1 "knative.dev/eventing/pkg/apis/eventing/v1"
	"knative.dev/eventing/pkg/apis/feature"
	sourcesv1 "knative.dev/eventing/pkg/apis/sources/v1"
	"knative.dev/pkg/apis"
	servingv1 "knative.dev/serving/pkg/apis/serving/v1"
	"sigs.k8s.io/json"
	"sigs.k8s.io/yaml"

	"github.com/footfall/footfall/eventing"
)

// webhook is the context in which Knative's webhook judges a new object, with
// the feature flags as Knative ships them.
func webhook() (context.Context, error) {
	flags, err := feature.NewFlagsConfigFromMap(nil)
	if err != nil {
		return nil, err
	}
	return apis.WithinCreate(feature.ToContext(context.Background(), flags)), nil
}

// kafkaSink has the shape of the KafkaSink's CRD, version v1alpha1, the only
// one that is served. Its own type has no Go module that can be had.
type kafkaSink struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata"`
	Spec              struct {
		Topic             string   `json:"topic"`
		NumPartitions     *int32   `json:"numPartitions"`
		ReplicationFactor *int16   `json:"replicationFactor"`
		BootstrapServers  []string `json:"bootstrapServers"`
		ContentMode       *string  `json:"contentMode"`
	} `json:"spec"`
}

func (s *kafkaSink) validate() error {
	spec := s.Spec
	switch {
	case spec.Topic == "":
		return errors.New("spec.topic: missing")
	case len(spec.BootstrapServers) == 0:
		return errors.New("spec.bootstrapServers: missing")
	case spec.NumPartitions != nil && *spec.NumPartitions <= 0:
		return errors.New("spec.numPartitions: not above zero")
	case spec.ReplicationFactor != nil && *spec.ReplicationFactor <= 0:
		return errors.New("spec.replicationFactor: not above zero")
	case spec.ContentMode != nil && *spec.ContentMode != "binary" && *spec.ContentMode != "structured":
		return errors.New("spec.contentMode: neither binary nor structured")
	}
	return nil
}

// object is what Knative's webhook asks of each of its types.
type object interface {
	apis.Defaultable
	apis.Validatable
}

// judge puts one document through Knative: strict decoding, defaults,
// validation. It returns the object as Knative would store it.
func judge(ctx context.Context, doc []byte) (any, error) {
	var head metav1.TypeMeta
	if err := yaml.Unmarshal(doc, &head); err != nil {
		return nil, err
	}
	var into any
	switch head.APIVersion + " " + head.Kind {
	case "v1 ConfigMap":
		into = &corev1.ConfigMap{}
	case "v1 Namespace":
		into = &corev1.Namespace{}
	case "eventing.knative.dev/v1 Broker":
		into = &eventingv1.Broker{}
	case "eventing.knative.dev/v1 Trigger":
		into = &eventingv1.Trigger{}
	case "sources.knative.dev/v1 PingSource":
		into = &sourcesv1.PingSource{}
	case "eventing.knative.dev/v1alpha1 KafkaSink":
		into = &kafkaSink{}
	case "serving.knative.dev/v1 Service":
		into = &servingv1.Service{}
	default:
		return nil, fmt.Errorf("no type for %s %s", head.APIVersion, head.Kind)
	}
	if err := decode(doc, into); err != nil {
		return nil, err
	}
	switch o := into.(type) {
	case *kafkaSink:
		return into, o.validate()
	case object:
		o.SetDefaults(ctx)
		if err := o.Validate(ctx); err != nil {
			return nil, err
		}
	}
	return into, nil
}

// decode is strict, as a cluster with field validation is: unknown and repeated
// fields, and numbers where strings belong, are errors.
func decode(doc []byte, into any) error {
	text, err := yaml.YAMLToJSONStrict(doc)
	if err != nil {
		return err
	}
	strict, err := json.UnmarshalStrict(text, into)
	return errors.Join(append(strict, err)...)
}

// split takes the documents of a file apart as kubectl does.
func split(text []byte) ([][]byte, error) {
	reader := utilyaml.NewYAMLReader(bufio.NewReader(bytes.NewReader(text)))
	var docs [][]byte
	for {
		doc, err := reader.Read()
		if errors.Is(err, io.EOF) {
			return docs, nil
		}
		if err != nil {
			return nil, err
		}
		var content any
		if err := yaml.Unmarshal(doc, &content); err != nil {
			return nil, err
		}
		if content != nil {
			docs = append(docs, doc)
		}
	}
}

// judgeAll judges every document of a file.
func judgeAll(ctx context.Context, text []byte) ([]any, error) {
	docs, err := split(text)
	if err != nil {
		return nil, err
	}
	var objects []any
	for i, doc := range docs {
		o, err := judge(ctx, doc)
		if err != nil {
			return nil, fmt.Errorf("document %d: %w", i+1, err)
		}
		objects = append(objects, o)
	}
	return objects, nil
}

// wiringFiles are the files that the kustomization lists.
func wiringFiles(t testing.TB) map[string][]byte {
	t.Helper()
	files := make(map[string][]byte)
	err := fs.WalkDir(eventing.Files, ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || name == "kustomization.yaml" {
			return err
		}
		files[name], err = fs.ReadFile(eventing.Files, name)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// Knative takes every file, and means by it what our parser says it means.
func TestKnativeTakesTheWiring(t *testing.T) {
	ctx, err := webhook()
	if err != nil {
		t.Fatal(err)
	}
	w, err := eventing.Parse(eventing.Files)
	if err != nil {
		t.Fatal(err)
	}
	found := make(map[string]int)
	for name, text := range wiringFiles(t) {
		objects, err := judgeAll(ctx, text)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		for _, o := range objects {
			found[fmt.Sprintf("%T", o)]++
			if err := compare(w, o); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
	for kind, n := range map[string]int{
		"*v1.Trigger": len(w.Triggers), "*v1.PingSource": len(w.Sources), "*v1.Broker": len(w.Brokers),
		"*v1.ConfigMap": len(w.Brokers), "*conformance.kafkaSink": len(w.Sinks),
	} {
		if found[kind] != n {
			t.Errorf("%d of %s, and %d in our wiring", found[kind], kind, n)
		}
	}
}

// The wiring of the delivery scenarios is for clusters as well.
func TestKnativeTakesTheWiringOfTheDeliveryScenarios(t *testing.T) {
	ctx, err := webhook()
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile("../delivery/testdata/wiring.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := judgeAll(ctx, text); err != nil {
		t.Error(err)
	}
}

// compare checks an object as Knative stores it against our wiring.
func compare(w *eventing.Wiring, o any) error {
	switch o := o.(type) {
	case *eventingv1.Trigger:
		i := slices.IndexFunc(w.Triggers, func(t eventing.Trigger) bool { return t.Name == o.Name })
		if i < 0 {
			return fmt.Errorf("no Trigger %q", o.Name)
		}
		ours, d := w.Triggers[i], o.Spec.Delivery
		if o.Namespace != w.Namespace || ours.Broker != o.Spec.Broker || ours.Subscriber.Name != o.Spec.Subscriber.Ref.Name ||
			ours.Subscriber.Path != o.Spec.Subscriber.URI.String() || o.Spec.Subscriber.Ref.Namespace != w.Namespace {
			return fmt.Errorf("trigger %q differs: %+v and %+v", o.Name, ours, o.Spec)
		}
		policy := map[eventing.Backoff]string{eventing.Exponential: "exponential", eventing.Linear: "linear"}[ours.Delivery.Backoff]
		if ours.Delivery.Retry != int(*d.Retry) || policy != string(*d.BackoffPolicy) ||
			ours.Delivery.Timeout != length(*d.Timeout) || ours.Delivery.BackoffDelay != length(*d.BackoffDelay) ||
			d.DeadLetterSink.Ref.Kind != "KafkaSink" || ours.Delivery.DeadLetter.Name != d.DeadLetterSink.Ref.Name {
			return fmt.Errorf("delivery of %q differs: %+v and %+v", o.Name, ours.Delivery, d)
		}
	case *sourcesv1.PingSource:
		i := slices.IndexFunc(w.Sources, func(s eventing.PingSource) bool { return s.Name == o.Name })
		if i < 0 {
			return fmt.Errorf("no PingSource %q", o.Name)
		}
		ours := w.Sources[i]
		e, err := ours.Event("1", o.CreationTimestamp.Time)
		if err != nil {
			return err
		}
		if ours.Spec != o.Spec.Schedule || string(ours.Data) != o.Spec.Data || ours.Sink.Name != o.Spec.Sink.Ref.Name ||
			e.Type() != sourcesv1.PingSourceEventType || e.Source() != sourcesv1.PingSourceSource(o.Namespace, o.Name) {
			return fmt.Errorf("source %q differs: %+v and %+v", o.Name, ours, o.Spec)
		}
		for name, value := range o.Spec.CloudEventOverrides.Extensions {
			if e.Extensions()[name] != value {
				return fmt.Errorf("source %q: extension %s is %v", o.Name, name, e.Extensions()[name])
			}
		}
	case *eventingv1.Broker:
		if _, ok := w.Broker(o.Name); !ok || o.Annotations[eventingv1.BrokerClassAnnotationKey] != "Kafka" || o.Spec.Config.Kind != "ConfigMap" {
			return fmt.Errorf("broker %q differs: %+v", o.Name, o)
		}
	case *kafkaSink:
		ours, ok := w.Sink(o.Name)
		if !ok || ours.Topic.Name != o.Spec.Topic || strings.Join(ours.BootstrapServers, ",") != strings.Join(o.Spec.BootstrapServers, ",") {
			return fmt.Errorf("sink %q differs: %+v and %+v", o.Name, ours, o.Spec)
		}
	}
	return nil
}
