package eventing_test

import (
	"reflect"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/footfall/footfall/eventing"
)

// The wiring with addresses is the wiring: only where things are differs.
func TestManifest(t *testing.T) {
	want, err := eventing.Parse(eventing.Files)
	if err != nil {
		t.Fatal(err)
	}
	at := eventing.Place{Kafka: "192.0.2.1:9092", Services: map[string]string{}}
	for _, name := range want.Services() {
		at.Services[name] = "http://192.0.2.2:8080/" + name + "/"
	}
	text, err := eventing.Manifest(eventing.Files, at)
	if err != nil {
		t.Fatal(err)
	}
	got, err := eventing.Parse(fstest.MapFS{"wiring.yaml": {Data: text}})
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	for i := range want.Brokers {
		want.Brokers[i].BootstrapServers = []string{at.Kafka}
	}
	for i := range want.Sinks {
		want.Sinks[i].BootstrapServers = []string{at.Kafka}
	}
	for i := range want.Triggers {
		// As Knative resolves the path: against the Service's URL.
		s := &want.Triggers[i].Subscriber
		*s = eventing.Destination{Kind: eventing.TargetURL, URL: "http://192.0.2.2:8080" + s.Path}
	}
	if !reflect.DeepEqual(got, want) {
		t.Fatalf("expected %+v\ngot %+v", want, got)
	}
	if !strings.Contains(string(text), "# Every minute: ") {
		t.Errorf("the comments are gone:\n%s", text)
	}
}

func TestManifestNamesEveryServiceThatIsNowhere(t *testing.T) {
	_, err := eventing.Manifest(eventing.Files, eventing.Place{Kafka: "192.0.2.1:9092", Services: map[string]string{"etl": "http://192.0.2.2", "archive": "192.0.2.2:80"}})
	for _, name := range []string{"archive", "ingest", "reprocess", "summary"} {
		if err == nil || !strings.Contains(err.Error(), `"`+name+`"`) {
			t.Errorf("expected that %s is named, got %v", name, err)
		}
	}
}
