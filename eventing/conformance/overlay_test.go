package conformance

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// overlays are the folders that are applied as a whole.
var overlays = []string{"infra/kind", "infra/production"}

// patchable says what an overlay may change, by kind: scale, images, addresses
// and nothing else. Filters, subscribers, delivery, schedules and what a function
// is told stand in eventing/ and functions/ alone.
func patchable(o rendered, path string) bool {
	container := "/spec/template/spec/containers/" + o.Name
	switch o.APIVersion + " " + o.Kind {
	case "serving.knative.dev/v1 Service":
		switch strings.TrimPrefix(path, "/spec/template/metadata/annotations/") {
		case "autoscaling.knative.dev/min-scale", "autoscaling.knative.dev/max-scale":
			return true
		}
		return path == container+"/image" || strings.HasPrefix(path, container+"/resources/") ||
			// The name of the ConfigMap of addresses carries its content's hash.
			strings.HasPrefix(path, container+"/env/") && strings.HasSuffix(path, "/valueFrom/configMapKeyRef/name")
	case "v1 ConfigMap":
		return path == "/data/bootstrap.servers"
	case "eventing.knative.dev/v1alpha1 KafkaSink":
		return strings.HasPrefix(path, "/spec/bootstrapServers/")
	}
	return false
}

func TestOverlaysPatchScaleImagesAndAddresses(t *testing.T) {
	base := slices.Concat(render(t, "eventing"), render(t, "functions"))
	for _, overlay := range overlays {
		t.Run(overlay, func(t *testing.T) {
			byName := make(map[string]rendered)
			for _, o := range render(t, overlay) {
				byName[o.APIVersion+" "+o.String()] = o
			}
			for _, want := range base {
				got, ok := byName[want.APIVersion+" "+want.String()]
				if !ok {
					t.Errorf("%s: left out", want)
					continue
				}
				delete(byName, want.APIVersion+" "+want.String())
				for _, path := range differing(want.Content, got.Content) {
					if !patchable(want, path) {
						t.Errorf("%s: changes %s, which is no scale, image or address", want, path)
					}
				}
			}
			for _, o := range byName {
				if !o.is("v1", "Namespace") && !o.is("v1", "ConfigMap") {
					t.Errorf("%s: adds to what the system is", o)
				}
			}
		})
	}
}

// The comparison finds what it is there for.
func TestPatchesOfTheWiringAreFound(t *testing.T) {
	for _, o := range slices.Concat(render(t, "eventing"), render(t, "functions")) {
		for path := range leaves(o.Content) {
			for _, forbidden := range []string{"/spec/filter", "/spec/subscriber", "/spec/delivery", "/spec/schedule", "/spec/broker", "/spec/template/spec/timeoutSeconds", "/spec/topic"} {
				if strings.HasPrefix(path, forbidden) && patchable(o, path) {
					t.Errorf("%s: an overlay may change %s", o, path)
				}
			}
		}
	}
	a := map[string]any{"spec": map[string]any{"list": []any{map[string]any{"name": "x", "v": 1}}, "gone": true}}
	b := map[string]any{"spec": map[string]any{"list": []any{map[string]any{"name": "x", "v": 2}}, "new": true}}
	if got, want := fmt.Sprint(differing(a, b)), "[/spec/gone /spec/list/x/v /spec/new]"; got != want {
		t.Errorf("differing: %s, want %s", got, want)
	}
}

// Knative takes the overlays as it takes their parts.
func TestKnativeTakesTheOverlays(t *testing.T) {
	ctx := serving(t)
	for _, overlay := range overlays {
		for _, o := range render(t, overlay) {
			if _, err := judge(ctx, o.Text); err != nil {
				t.Errorf("%s: %s: %v", overlay, o, err)
			}
		}
	}
}

// What the functions are told by reference exists, and is told to somebody.
func TestReferencesOfTheOverlaysResolve(t *testing.T) {
	secrets := make(map[string]bool)
	for _, o := range of(readObjects(t, "infra/kind/secrets.yaml.tmpl"), "v1", "Secret") {
		for key := range o.Content["stringData"].(map[string]any) {
			secrets[o.Namespace+"/"+o.Name+"/"+key] = true
		}
	}
	read := make(map[string]bool)
	for _, overlay := range overlays {
		list := render(t, overlay)
		told := make(map[string]bool)
		for _, o := range of(list, "v1", "ConfigMap") {
			if strings.HasPrefix(o.Name, "footfall-") {
				for key := range o.Content["data"].(map[string]any) {
					told[o.Namespace+"/"+o.Name+"/"+key] = false
				}
			}
		}
		for _, o := range of(list, "serving.knative.dev/v1", "Service") {
			for _, e := range service(t, o).Spec.Template.Spec.Containers[0].Env {
				if e.ValueFrom == nil {
					continue
				}
				if ref := e.ValueFrom.ConfigMapKeyRef; ref != nil {
					id := o.Namespace + "/" + ref.Name + "/" + ref.Key
					if _, ok := told[id]; ok {
						told[id] = true
					} else if ref.Optional == nil || !*ref.Optional {
						t.Errorf("%s: %s: %s reads %s, which is nowhere", overlay, o, e.Name, id)
					}
				}
				if ref := e.ValueFrom.SecretKeyRef; ref != nil {
					id := o.Namespace + "/" + ref.Name + "/" + ref.Key
					read[id] = true
					if !secrets[id] && (ref.Optional == nil || !*ref.Optional) {
						t.Errorf("%s: %s: %s reads %s, which infra/kind/secrets.yaml.tmpl does not make", overlay, o, e.Name, id)
					}
				}
			}
		}
		for id, used := range told {
			if !used {
				t.Errorf("%s: nobody reads %s", overlay, id)
			}
		}
	}
	for _, o := range render(t, "infra/stores") {
		for id := range secretsOf(t, o) {
			read[id] = true
			if !secrets[id] {
				t.Errorf("%s reads %s, which infra/kind/secrets.yaml.tmpl does not make", o, id)
			}
		}
	}
	for id := range secrets {
		if !read[id] {
			t.Errorf("nobody reads %s of infra/kind/secrets.yaml.tmpl", id)
		}
	}
}
