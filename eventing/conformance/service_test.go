package conformance

import (
	"context"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"knative.dev/networking/pkg/apis/networking"
	"knative.dev/serving/pkg/apis/autoscaling"
	servingcfg "knative.dev/serving/pkg/apis/config"
	apiserving "knative.dev/serving/pkg/apis/serving"
	servingv1 "knative.dev/serving/pkg/apis/serving/v1"

	"github.com/footfall/footfall/eventing"
)

// serving is the context of webhook, with Serving's defaults and flags as they
// are shipped besides.
func serving(t testing.TB) context.Context {
	t.Helper()
	ctx, err := webhook()
	if err != nil {
		t.Fatal(err)
	}
	return servingcfg.ToContext(ctx, servingcfg.FromContextOrDefaults(ctx))
}

// service decodes a Knative Service, strictly.
func service(t testing.TB, o rendered) *servingv1.Service {
	t.Helper()
	s := new(servingv1.Service)
	if err := decode(o.Text, s); err != nil {
		t.Fatalf("%s: %v", o, err)
	}
	return s
}

// services are those of all functions, as Knative would store them.
func services(t testing.TB) map[string]*servingv1.Service {
	t.Helper()
	ctx := serving(t)
	found := make(map[string]*servingv1.Service)
	for _, o := range render(t, "functions") {
		s := service(t, o)
		s.SetDefaults(ctx)
		if err := s.Validate(ctx); err != nil {
			t.Errorf("%s: %v", o, err)
		}
		found[s.Name] = s
	}
	return found
}

// clusterLocal reports whether nobody outside the cluster reaches a Service.
func clusterLocal(s *servingv1.Service) bool {
	return s.Labels[networking.VisibilityLabelKey] == apiserving.VisibilityClusterLocal
}

// plain is the value that a Service gives to a variable by itself.
func plain(s *servingv1.Service, name string) string {
	for _, e := range s.Spec.Template.Spec.Containers[0].Env {
		if e.Name == name {
			return e.Value
		}
	}
	return ""
}

// Every function has a service.yaml, which is in the kustomization and names the
// function's own program.
func TestEveryFunctionIsAService(t *testing.T) {
	all := services(t)
	folders, err := filepath.Glob(filepath.Join(root, "functions/*/function.go"))
	if err != nil || len(folders) == 0 {
		t.Fatalf("no functions, error %v", err)
	}
	listed := 0
	for _, file := range folders {
		name := filepath.Base(filepath.Dir(file))
		own := readObjects(t, filepath.Join("functions", name, "service.yaml"))
		if len(own) == 0 || own[0].Name != name {
			t.Errorf("functions/%s/service.yaml: the first object has not the name of its folder", name)
		}
		for _, o := range own {
			listed++
			s, ok := all[o.Name]
			if !ok {
				t.Errorf("%s: not in functions/kustomization.yaml", o)
				continue
			}
			c := s.Spec.Template.Spec.Containers[0]
			if want := "ko://github.com/footfall/footfall/functions/" + name + "/cmd"; c.Image != want {
				t.Errorf("%s: image %q, want %q", o, c.Image, want)
			}
			if c.Name != o.Name {
				t.Errorf("%s: container %q; overlays find it by the Service's name", o, c.Name)
			}
		}
	}
	if len(all) != listed {
		t.Errorf("%d Services in the kustomization, %d in the functions' folders", len(all), listed)
	}
}

// A Trigger reaches a Service that exists, that the world cannot reach, and that
// lets a delivery take as long as the Trigger waits for it.
func TestTriggersReachServices(t *testing.T) {
	w, err := eventing.Parse(eventing.Files)
	if err != nil {
		t.Fatal(err)
	}
	all := services(t)
	for _, trigger := range w.Triggers {
		s, ok := all[trigger.Subscriber.Name]
		if !ok {
			t.Errorf("trigger %q: no Service %q", trigger.Name, trigger.Subscriber.Name)
			continue
		}
		if !clusterLocal(s) || plain(s, "FOOTFALL_PUBLIC") != "" {
			t.Errorf("trigger %q: everybody may send to %s of %q", trigger.Name, trigger.Subscriber.Path, s.Name)
		}
		if d := time.Duration(*s.Spec.Template.Spec.TimeoutSeconds) * time.Second; d < trigger.Delivery.Timeout {
			t.Errorf("trigger %q waits %s, Service %q only %s", trigger.Name, trigger.Delivery.Timeout, s.Name, d)
		}
	}
}

// What the world reaches serves neither event paths nor metrics.
func TestPublicServices(t *testing.T) {
	var public []string
	for name, s := range services(t) {
		local := clusterLocal(s)
		if local == (plain(s, "FOOTFALL_PUBLIC") == "true") {
			t.Errorf("%s: cluster-local %v, FOOTFALL_PUBLIC %q", name, local, plain(s, "FOOTFALL_PUBLIC"))
		}
		if !local {
			public = append(public, name)
		}
	}
	slices.Sort(public)
	if want := []string{"collect", "merchant", "report"}; !slices.Equal(public, want) {
		t.Errorf("the world reaches %v, want %v", public, want)
	}
}

// queueProxyQuiet is how long Knative's queue-proxy drains before a function gets
// its SIGTERM; a pod's grace period is its Service's timeoutSeconds.
const queueProxyQuiet = 30 * time.Second

func TestServicesHaveTimeToDrain(t *testing.T) {
	for name, s := range services(t) {
		grace, err := time.ParseDuration(plain(s, "FOOTFALL_GRACE"))
		if err != nil {
			t.Errorf("%s: FOOTFALL_GRACE: %v", name, err)
		}
		if d := time.Duration(*s.Spec.Template.Spec.TimeoutSeconds) * time.Second; d < queueProxyQuiet+grace || d < time.Minute {
			t.Errorf("%s: timeoutSeconds %s, but draining takes %s and then %s", name, d, queueProxyQuiet, grace)
		}
	}
}

func TestServicesAreContained(t *testing.T) {
	for name, s := range services(t) {
		spec := s.Spec.Template.Spec
		if spec.AutomountServiceAccountToken == nil || *spec.AutomountServiceAccountToken {
			t.Errorf("%s: gets a token of the cluster, for which it has no use", name)
		}
		c := spec.Containers[0]
		sc := c.SecurityContext
		if sc == nil || sc.RunAsNonRoot == nil || !*sc.RunAsNonRoot || sc.RunAsUser == nil || *sc.RunAsUser == 0 ||
			sc.ReadOnlyRootFilesystem == nil || !*sc.ReadOnlyRootFilesystem ||
			sc.AllowPrivilegeEscalation == nil || *sc.AllowPrivilegeEscalation ||
			sc.Capabilities == nil || !slices.Equal(sc.Capabilities.Drop, []corev1.Capability{"ALL"}) || len(sc.Capabilities.Add) > 0 ||
			sc.SeccompProfile == nil || sc.SeccompProfile.Type != corev1.SeccompProfileTypeRuntimeDefault {
			t.Errorf("%s: security context %+v", name, sc)
		}
		for what, probe := range map[string]*corev1.Probe{"readiness": c.ReadinessProbe, "liveness": c.LivenessProbe} {
			if probe == nil || probe.HTTPGet == nil || probe.HTTPGet.Path != "/health/"+what {
				t.Errorf("%s: %s probe %+v", name, what, probe)
			}
		}
		for _, r := range []corev1.ResourceName{corev1.ResourceCPU, corev1.ResourceMemory} {
			request, limit := c.Resources.Requests[r], c.Resources.Limits[r]
			if request.IsZero() || limit.Cmp(request) < 0 {
				t.Errorf("%s: %s %s to %s", name, r, request.String(), limit.String())
			}
		}
		// Go collects harder as it comes near, instead of being killed.
		goLimit, err := resource.ParseQuantity(strings.TrimSuffix(plain(s, "GOMEMLIMIT"), "B"))
		if err != nil {
			t.Errorf("%s: GOMEMLIMIT: %v", name, err)
		}
		memory := c.Resources.Limits[corev1.ResourceMemory]
		if share := float64(goLimit.Value()) / float64(memory.Value()); share < 0.85 || share > 0.95 {
			t.Errorf("%s: GOMEMLIMIT is %.0f %% of the memory limit", name, 100*share)
		}
		for _, e := range c.Env {
			secret := false
			for _, word := range []string{"TOKEN", "PASSWORD", "SECRET"} {
				secret = secret || strings.Contains(e.Name, word)
			}
			if secret != (e.ValueFrom != nil && e.ValueFrom.SecretKeyRef != nil) {
				t.Errorf("%s: %s: what is secret comes from a Secret, what is not from elsewhere", name, e.Name)
			}
			if e.Name == "FOOTFALL_ADDR" {
				t.Errorf("%s: FOOTFALL_ADDR: Knative gives the port, as PORT", name)
			}
		}
	}
}

// Knative's annotations are checked by their values only: a misspelt name would
// be silently without effect.
func TestAnnotationsAreKnown(t *testing.T) {
	required := []string{
		autoscaling.MinScaleAnnotationKey, autoscaling.MaxScaleAnnotationKey, autoscaling.MetricAnnotationKey, autoscaling.TargetAnnotationKey,
	}
	known := append(slices.Clone(required), autoscaling.TargetUtilizationPercentageKey, autoscaling.TargetBurstCapacityKey,
		autoscaling.ScaleDownDelayAnnotationKey, apiserving.QueueSidecarCPUResourceRequestAnnotationKey)
	for _, o := range render(t, "functions") {
		annotations := service(t, o).Spec.Template.Annotations
		for name := range annotations {
			if !slices.Contains(known, name) {
				t.Errorf("%s: annotation %q", o, name)
			}
		}
		for _, name := range required {
			if annotations[name] == "" {
				t.Errorf("%s: no annotation %q", o, name)
			}
		}
	}
}

// Publishers ask Kafka for the partitions that the wiring has.
func TestPublishersKnowTheirPartitions(t *testing.T) {
	w, err := eventing.Parse(eventing.Files)
	if err != nil {
		t.Fatal(err)
	}
	told := make(map[string]bool)
	for name, s := range services(t) {
		for variable, broker := range map[string]string{"FOOTFALL_TOPIC_BATCHES_PARTITIONS": "batches", "FOOTFALL_TOPIC_CONTROL_PARTITIONS": "control"} {
			b, ok := w.Broker(broker)
			if got := plain(s, variable); got != "" {
				told[broker] = true
				if want := strconv.Itoa(b.Topic.Partitions); !ok || got != want {
					t.Errorf("%s: %s is %s, Broker %q has %s", name, variable, got, broker, want)
				}
			}
		}
	}
	if len(told) != 2 {
		t.Errorf("only %v are told", told)
	}
}
