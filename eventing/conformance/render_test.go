package conformance

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"
	"sigs.k8s.io/yaml"
)

// root is the repository's.
const root = "../.."

// rendered is one object of what kubectl kustomize would print.
type rendered struct {
	APIVersion string
	Kind       string
	Namespace  string
	Name       string
	Text       []byte         // as YAML
	Content    map[string]any // the same, decoded
}

func (o rendered) String() string { return o.Kind + " " + o.Namespace + "/" + o.Name }

// is reports whether an object is of a kind, and of no namesake in another group.
func (o rendered) is(apiVersion, kind string) bool {
	return o.APIVersion == apiVersion && o.Kind == kind
}

// render makes what kubectl apply -k would apply, with kustomize itself.
func render(t testing.TB, folder string) []rendered {
	t.Helper()
	m, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(filesys.MakeFsOnDisk(), filepath.Join(root, folder))
	if err != nil {
		t.Fatalf("cannot render %s: %v", folder, err)
	}
	var list []rendered
	for _, r := range m.Resources() {
		text, err := r.AsYAML()
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, asRendered(t, text))
	}
	return list
}

// readObjects takes the documents of a file that is no overlay.
func readObjects(t testing.TB, file string) []rendered {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, file))
	if err != nil {
		t.Fatal(err)
	}
	docs, err := split(text)
	if err != nil {
		t.Fatalf("%s: %v", file, err)
	}
	var list []rendered
	for _, doc := range docs {
		list = append(list, asRendered(t, doc))
	}
	return list
}

func asRendered(t testing.TB, text []byte) rendered {
	t.Helper()
	var head struct {
		APIVersion string `json:"apiVersion"`
		Kind       string `json:"kind"`
		Metadata   struct {
			Name      string `json:"name"`
			Namespace string `json:"namespace"`
		} `json:"metadata"`
	}
	if err := yaml.Unmarshal(text, &head); err != nil {
		t.Fatal(err)
	}
	o := rendered{APIVersion: head.APIVersion, Kind: head.Kind, Namespace: head.Metadata.Namespace, Name: head.Metadata.Name, Text: text}
	if err := yaml.Unmarshal(text, &o.Content); err != nil {
		t.Fatal(err)
	}
	return o
}

// of picks the objects of one kind.
func of(list []rendered, apiVersion, kind string) []rendered {
	return slices.DeleteFunc(slices.Clone(list), func(o rendered) bool { return !o.is(apiVersion, kind) })
}

// leaves maps the path of every value of an object to the value. Items of
// a list go by their name where they have one, else by their place.
func leaves(v any) map[string]string {
	out := make(map[string]string)
	var walk func(path string, v any)
	walk = func(path string, v any) {
		switch v := v.(type) {
		case map[string]any:
			for key, item := range v {
				walk(path+"/"+key, item)
			}
		case []any:
			for i, item := range v {
				name := fmt.Sprint(i)
				if m, ok := item.(map[string]any); ok && m["name"] != nil {
					name = fmt.Sprint(m["name"])
				}
				walk(path+"/"+name, item)
			}
		default:
			out[path] = fmt.Sprint(v)
		}
	}
	walk("", v)
	return out
}

// differing lists the paths at which two objects differ, in order.
func differing(a, b any) []string {
	x, y := leaves(a), leaves(b)
	paths := make(map[string]bool)
	for path, v := range x {
		if w, ok := y[path]; !ok || v != w {
			paths[path] = true
		}
	}
	for path := range y {
		if _, ok := x[path]; !ok {
			paths[path] = true
		}
	}
	return slices.Sorted(maps.Keys(paths))
}
