package conformance

import (
	"fmt"
	"maps"
	"net"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/footfall/footfall/eventing"
)

// strimziKafka, strimziNodePool and strimziTopic have the shape of the part of
// Strimzi's CRDs (kafka.strimzi.io/v1) that we use. It has no Go types.
type strimziKafka struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata"`
	Spec              struct {
		Kafka struct {
			Version         string `json:"version"`
			MetadataVersion string `json:"metadataVersion"`
			Listeners       []struct {
				Name string `json:"name"`
				Port int    `json:"port"`
				Type string `json:"type"`
				TLS  bool   `json:"tls"`
			} `json:"listeners"`
			Config map[string]any `json:"config"`
		} `json:"kafka"`
		EntityOperator struct {
			TopicOperator *struct{} `json:"topicOperator"`
		} `json:"entityOperator"`
	} `json:"spec"`
}

type strimziNodePool struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata"`
	Spec              struct {
		Replicas int      `json:"replicas"`
		Roles    []string `json:"roles"`
		Storage  struct {
			Type    string `json:"type"`
			Volumes []struct {
				ID            int    `json:"id"`
				Type          string `json:"type"`
				Size          string `json:"size"`
				KRaftMetadata string `json:"kraftMetadata"`
				DeleteClaim   bool   `json:"deleteClaim"`
			} `json:"volumes"`
		} `json:"storage"`
		Resources corev1.ResourceRequirements `json:"resources"`
	} `json:"spec"`
}

type strimziTopic struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata"`
	Spec              struct {
		Partitions int            `json:"partitions"`
		Replicas   int            `json:"replicas"`
		Config     map[string]any `json:"config"`
	} `json:"spec"`
}

const strimzi = "kafka.strimzi.io/v1"

// storeObject decodes an object of the stores, strictly.
func storeObject(o rendered) (any, error) {
	var into any
	switch o.APIVersion + " " + o.Kind {
	case "v1 Namespace":
		into = &corev1.Namespace{}
	case "v1 ConfigMap":
		into = &corev1.ConfigMap{}
	case "v1 Secret":
		into = &corev1.Secret{}
	case "v1 Service":
		into = &corev1.Service{}
	case "apps/v1 StatefulSet":
		into = &appsv1.StatefulSet{}
	case "policy/v1 PodDisruptionBudget":
		into = &policyv1.PodDisruptionBudget{}
	case strimzi + " Kafka":
		into = &strimziKafka{}
	case strimzi + " KafkaNodePool":
		into = &strimziNodePool{}
	case strimzi + " KafkaTopic":
		into = &strimziTopic{}
	default:
		return nil, fmt.Errorf("no type for %s %s", o.APIVersion, o.Kind)
	}
	return into, decode(o.Text, into)
}

func stored[T any](t testing.TB, list []rendered, apiVersion, kind string) map[string]*T {
	t.Helper()
	found := make(map[string]*T)
	for _, o := range of(list, apiVersion, kind) {
		decoded, err := storeObject(o)
		if err != nil {
			t.Fatalf("%s: %v", o, err)
		}
		found[o.Namespace+"/"+o.Name] = decoded.(*T)
	}
	return found
}

// stores are the folders that bring stores, with the members of each.
var stores = map[string]int{"infra/stores": 3, "infra/kind/stores": 1}

func TestStoresDecode(t *testing.T) {
	for folder := range stores {
		for _, o := range render(t, folder) {
			if _, err := storeObject(o); err != nil {
				t.Errorf("%s: %s: %v", folder, o, err)
			}
		}
	}
	for _, file := range []string{"infra/kind/secrets.yaml.tmpl", "infra/kind/ingress.yaml", "infra/kind/namespace.yaml"} {
		for _, o := range readObjects(t, file) {
			if _, err := storeObject(o); err != nil {
				t.Errorf("%s: %s: %v", file, o, err)
			}
		}
	}
}

// The topics are those that the Brokers and KafkaSinks are wired to, with the
// partitions that stand there, and room for a batch.
func TestTopicsAreThoseOfTheWiring(t *testing.T) {
	w, err := eventing.Parse(eventing.Files)
	if err != nil {
		t.Fatal(err)
	}
	ofBroker := make(map[string]bool)
	for _, b := range w.Brokers {
		ofBroker[b.Topic.Name] = true
	}
	for folder, members := range stores {
		topics := stored[strimziTopic](t, render(t, folder), strimzi, "KafkaTopic")
		if len(topics) != len(w.Topics()) {
			t.Errorf("%s: %d topics, the wiring has %d", folder, len(topics), len(w.Topics()))
		}
		for _, want := range w.Topics() {
			got := topics["kafka/"+want.Name]
			if got == nil {
				t.Errorf("%s: no topic %q", folder, want.Name)
				continue
			}
			// A KafkaSink on an external topic says nothing of its partitions.
			if ofBroker[want.Name] && got.Spec.Partitions != want.Partitions || got.Spec.Partitions < 1 {
				t.Errorf("%s: topic %q has %d partitions, the wiring asks for %d", folder, want.Name, got.Spec.Partitions, want.Partitions)
			}
			if got.Spec.Replicas != members {
				t.Errorf("%s: topic %q has %d replicas, there are %d nodes", folder, want.Name, got.Spec.Replicas, members)
			}
			if size, err := strconv.Atoi(fmt.Sprint(got.Spec.Config["max.message.bytes"])); err != nil || size < 1<<20 {
				t.Errorf("%s: topic %q: max.message.bytes %v, expected at least 1 MiB", folder, want.Name, got.Spec.Config["max.message.bytes"])
			}
			for name, value := range want.Config {
				if fmt.Sprint(got.Spec.Config[name]) != value {
					t.Errorf("%s: topic %q: %s is %v, the wiring asks for %s", folder, want.Name, name, got.Spec.Config[name], value)
				}
			}
			if got.Labels["strimzi.io/cluster"] != "kafka" {
				t.Errorf("%s: topic %q belongs to no cluster", folder, want.Name)
			}
		}
	}
}

func TestKafkaFitsItsNodes(t *testing.T) {
	for folder, members := range stores {
		list := render(t, folder)
		k := stored[strimziKafka](t, list, strimzi, "Kafka")["kafka/kafka"]
		pool := stored[strimziNodePool](t, list, strimzi, "KafkaNodePool")["kafka/nodes"]
		if k == nil || pool == nil {
			t.Fatalf("%s: no Kafka or no nodes", folder)
		}
		if pool.Spec.Replicas != members || pool.Labels["strimzi.io/cluster"] != k.Name {
			t.Errorf("%s: %d nodes of %q, want %d of %q", folder, pool.Spec.Replicas, pool.Labels["strimzi.io/cluster"], members, k.Name)
		}
		for name, want := range map[string]int{
			"default.replication.factor": members, "offsets.topic.replication.factor": members, "transaction.state.log.replication.factor": members,
			"min.insync.replicas": (members + 1) / 2, "transaction.state.log.min.isr": (members + 1) / 2,
		} {
			if got := fmt.Sprint(k.Spec.Kafka.Config[name]); got != strconv.Itoa(want) {
				t.Errorf("%s: %s is %s, want %d", folder, name, got, want)
			}
		}
		if k.Spec.Kafka.Config["auto.create.topics.enable"] != false {
			t.Errorf("%s: topics make themselves, with partitions of their own", folder)
		}
		if k.Spec.EntityOperator.TopicOperator == nil {
			t.Errorf("%s: nobody makes the topics", folder)
		}
		for _, p := range slices.Sorted(maps.Keys(k.Spec.Kafka.Config)) {
			if strings.Contains(p, "_") {
				t.Errorf("%s: %s is no setting of Kafka's", folder, p)
			}
		}
	}
}

// What pods mount and read exists, their Services find them, and nobody is root.
func TestStoresHoldTogether(t *testing.T) {
	for folder, members := range stores {
		list := render(t, folder)
		maps := stored[corev1.ConfigMap](t, list, "v1", "ConfigMap")
		svcs := stored[corev1.Service](t, list, "v1", "Service")
		sets := stored[appsv1.StatefulSet](t, list, "apps/v1", "StatefulSet")
		for id, set := range sets {
			pod := set.Spec.Template
			if !labels.SelectorFromSet(set.Spec.Selector.MatchLabels).Matches(labels.Set(pod.Labels)) {
				t.Errorf("%s: %s does not select its own pods", folder, id)
			}
			svc := svcs[set.Namespace+"/"+set.Spec.ServiceName]
			if svc == nil || svc.Spec.ClusterIP != corev1.ClusterIPNone || !labels.SelectorFromSet(svc.Spec.Selector).Matches(labels.Set(pod.Labels)) {
				t.Errorf("%s: %s: no headless Service %q names its pods", folder, id, set.Spec.ServiceName)
			}
			single := set.Name == "redis" || set.Name == "hdfs-namenode"
			if want := map[bool]int{true: 1, false: members}[single]; int(*set.Spec.Replicas) != want {
				t.Errorf("%s: %s has %d replicas, want %d", folder, id, *set.Spec.Replicas, want)
			}
			volumes := make(map[string]bool)
			for _, v := range pod.Spec.Volumes {
				volumes[v.Name] = true
				if v.ConfigMap != nil && maps[set.Namespace+"/"+v.ConfigMap.Name] == nil {
					t.Errorf("%s: %s mounts ConfigMap %q, which is nowhere", folder, id, v.ConfigMap.Name)
				}
			}
			for _, claim := range set.Spec.VolumeClaimTemplates {
				volumes[claim.Name] = true
			}
			if sc := pod.Spec.SecurityContext; sc == nil || sc.RunAsNonRoot == nil || !*sc.RunAsNonRoot || sc.SeccompProfile == nil {
				t.Errorf("%s: %s may run as root", folder, id)
			}
			for _, c := range pod.Spec.Containers {
				if name, tag, ok := strings.Cut(c.Image, ":"); !ok || tag == "latest" || strings.Count(tag, ".") < 2 {
					t.Errorf("%s: %s: image %s is at no fixed version: %q", folder, id, name, tag)
				}
				if sc := c.SecurityContext; sc == nil || sc.ReadOnlyRootFilesystem == nil || !*sc.ReadOnlyRootFilesystem || *sc.AllowPrivilegeEscalation || len(sc.Capabilities.Drop) != 1 {
					t.Errorf("%s: %s: container %q is not contained", folder, id, c.Name)
				}
				for _, m := range c.VolumeMounts {
					if !volumes[m.Name] {
						t.Errorf("%s: %s: container %q mounts %q, which is nowhere", folder, id, c.Name, m.Name)
					}
				}
				ports := make(map[string]bool)
				for _, p := range c.Ports {
					ports[p.Name] = true
				}
				for _, p := range []*corev1.Probe{c.ReadinessProbe, c.LivenessProbe} {
					if p == nil {
						continue
					}
					if p.TCPSocket != nil && !ports[p.TCPSocket.Port.StrVal] || p.HTTPGet != nil && !ports[p.HTTPGet.Port.StrVal] {
						t.Errorf("%s: %s: container %q is probed on a port that it has not", folder, id, c.Name)
					}
				}
				if c.Resources.Requests.Memory().IsZero() || c.Resources.Limits.Memory().Cmp(*c.Resources.Requests.Memory()) < 0 {
					t.Errorf("%s: %s: container %q: memory %v", folder, id, c.Name, c.Resources)
				}
			}
		}
		for id, budget := range stored[policyv1.PodDisruptionBudget](t, list, "policy/v1", "PodDisruptionBudget") {
			if set := sets[id]; set == nil || !labels.SelectorFromSet(budget.Spec.Selector.MatchLabels).Matches(labels.Set(set.Spec.Template.Labels)) {
				t.Errorf("%s: the budget %s is of nothing", folder, id)
			}
		}
	}
}

// secretsOf are the keys of Secrets that an object reads.
func secretsOf(t testing.TB, o rendered) map[string]bool {
	t.Helper()
	read := make(map[string]bool)
	if !o.is("apps/v1", "StatefulSet") {
		return read
	}
	decoded, err := storeObject(o)
	if err != nil {
		t.Fatalf("%s: %v", o, err)
	}
	pod := decoded.(*appsv1.StatefulSet).Spec.Template.Spec
	for _, v := range pod.Volumes {
		if v.Secret != nil {
			for _, item := range v.Secret.Items {
				read[o.Namespace+"/"+v.Secret.SecretName+"/"+item.Key] = true
			}
		}
	}
	for _, c := range pod.Containers {
		for _, e := range c.Env {
			if e.ValueFrom != nil && e.ValueFrom.SecretKeyRef != nil {
				read[o.Namespace+"/"+e.ValueFrom.SecretKeyRef.Name+"/"+e.ValueFrom.SecretKeyRef.Key] = true
			}
		}
	}
	return read
}

// The addresses that kind's functions are told are those of kind's stores, and so
// are those of the wiring.
func TestAddressesOfKindAreThoseOfItsStores(t *testing.T) {
	list := render(t, "infra/kind/stores")
	listening := make(map[string]bool)
	for id, svc := range stored[corev1.Service](t, list, "v1", "Service") {
		namespace, name, _ := strings.Cut(id, "/")
		for _, p := range svc.Spec.Ports {
			listening[fmt.Sprintf("%s.%s:%d", name, namespace, p.Port)] = true
			// A headless Service names each member, too.
			listening[fmt.Sprintf("%s-0.%s.%s:%d", name, name, namespace, p.Port)] = true
		}
	}
	for id, k := range stored[strimziKafka](t, list, strimzi, "Kafka") {
		namespace, name, _ := strings.Cut(id, "/")
		for _, l := range k.Spec.Kafka.Listeners {
			listening[fmt.Sprintf("%s-kafka-bootstrap.%s:%d", name, namespace, l.Port)] = true
		}
	}
	told := 0
	check := func(where, addresses string) {
		for _, a := range strings.Split(addresses, ",") {
			told++
			host, port, err := net.SplitHostPort(a)
			if err != nil {
				t.Errorf("%s: %v", where, err)
			}
			if !listening[strings.TrimSuffix(host, ".svc.cluster.local")+":"+port] {
				t.Errorf("%s: nothing listens at %s", where, a)
			}
		}
	}
	for _, o := range of(render(t, "infra/kind"), "v1", "ConfigMap") {
		for key, value := range o.Content["data"].(map[string]any) {
			switch key {
			case "kafka-brokers", "redis-addrs", "hdfs-namenodes", "bootstrap.servers":
				check(o.String()+" "+key, value.(string))
			case "mongodb-uri":
				u, err := url.Parse(value.(string))
				if err != nil {
					t.Fatal(err)
				}
				check(o.String()+" "+key, u.Host)
			}
		}
	}
	if told < 5 {
		t.Errorf("only %d addresses found", told)
	}
}
