package eventing

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"

	"go.yaml.in/yaml/v3"

	"github.com/footfall/footfall/shared/fault"
)

// Place is where Kafka and the functions are, for a Knative that cannot find
// them by their names in a cluster.
type Place struct {
	Kafka    string            // host:port
	Services map[string]string // their URLs by name
}

// Manifest is the wiring as one stream of documents for kubectl, with a place's
// addresses: each subscriber that is a Service becomes that Service's URL with
// the subscriber's path. All else, comments too, stays as it is written.
func Manifest(fsys fs.FS, at Place) ([]byte, error) {
	w, err := Parse(fsys)
	if err != nil {
		return nil, err
	}
	where := make(map[string]*url.URL, len(at.Services))
	var errs []error
	for _, name := range w.Services() {
		u, err := url.Parse(at.Services[name])
		if err != nil || u.Host == "" {
			errs = append(errs, fault.New(fault.Invalid, "service %q: expected an absolute URL, got %q", name, at.Services[name]))
			continue
		}
		where[name] = u
	}
	p := &parser{problems: &problems{}, seen: make(map[string]bool)}
	files, err := p.files(fsys)
	if err := errors.Join(append(errs, err)...); err != nil {
		return nil, fmt.Errorf("cannot place the wiring: %w", err)
	}
	var out bytes.Buffer
	to := yaml.NewEncoder(&out)
	to.SetIndent(2)
	for _, file := range files {
		if err := place(to, fsys, file, at.Kafka, where); err != nil {
			return nil, fmt.Errorf("cannot place %q: %w", file, err)
		}
	}
	if err := to.Close(); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}

// place writes the documents of a file that Parse has read.
func place(to *yaml.Encoder, fsys fs.FS, file, kafka string, where map[string]*url.URL) error {
	text, err := fs.ReadFile(fsys, file)
	if err != nil {
		return err
	}
	for from := yaml.NewDecoder(bytes.NewReader(text)); ; {
		var doc yaml.Node
		if err := from.Decode(&doc); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		if err := readdress(&doc, kafka, where); err != nil {
			return err
		}
		if err := to.Encode(&doc); err != nil {
			return err
		}
	}
}

// readdress replaces the addresses below a node.
func readdress(n *yaml.Node, kafka string, where map[string]*url.URL) error {
	for _, inner := range n.Content {
		if err := readdress(inner, kafka, where); err != nil {
			return err
		}
	}
	if servers := field(n, "bootstrap.servers"); servers != nil {
		servers.SetString(kafka)
	}
	if servers := field(n, "bootstrapServers"); servers != nil {
		only := &yaml.Node{}
		only.SetString(kafka)
		servers.Content = []*yaml.Node{only}
	}
	ref := field(n, "ref")
	if ref == nil || fieldText(ref, "kind") != "Service" {
		return nil
	}
	path, err := url.Parse(fieldText(n, "uri"))
	if err != nil {
		return err
	}
	key, uri := &yaml.Node{}, &yaml.Node{}
	key.SetString("uri")
	uri.SetString(where[fieldText(ref, "name")].ResolveReference(path).String())
	n.Content = []*yaml.Node{key, uri}
	return nil
}

// field is the value of a mapping's field; nil where there is none.
func field(n *yaml.Node, name string) *yaml.Node {
	if n.Kind != yaml.MappingNode {
		return nil
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value == name {
			return n.Content[i+1]
		}
	}
	return nil
}

func fieldText(n *yaml.Node, name string) string {
	if v := field(n, name); v != nil {
		return v.Value
	}
	return ""
}
