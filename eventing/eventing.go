package eventing

import (
	"bytes"
	"embed"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/footfall/footfall/shared/fault"
)

// Files is the wiring: exactly the files that a cluster gets.
//
//go:embed kustomization.yaml broker-*.yaml dead-letters.yaml triggers/*.yaml sources/*.yaml
var Files embed.FS

const (
	kustomizationFile = "kustomization.yaml"
	maxFileBytes      = 1 << 20
)

// Parse reads the wiring from a folder: the files that its kustomization.yaml
// lists, or every .yaml file where there is none. The error joins everything
// that is wrong, as *fault.Error of kind Invalid, each with the file, the line,
// the document and the field, and with what is supported there.
func Parse(fsys fs.FS) (*Wiring, error) {
	p := &parser{problems: &problems{}, seen: make(map[string]bool)}
	files, err := p.files(fsys)
	if err != nil {
		return nil, fmt.Errorf("cannot read the wiring: %w", err)
	}
	for _, file := range files {
		p.file(fsys, file)
	}
	w := p.wiring()
	if err := p.problems.err(); err != nil {
		return nil, fmt.Errorf("cannot read the wiring: %w", err)
	}
	return w, nil
}

// files lists what to read.
func (p *parser) files(fsys fs.FS) ([]string, error) {
	if _, err := fs.Stat(fsys, kustomizationFile); err == nil {
		return p.kustomization(fsys), nil
	}
	var files []string
	err := fs.WalkDir(fsys, ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if ext := path.Ext(name); !entry.IsDir() && (ext == ".yaml" || ext == ".yml") {
			files = append(files, name)
		}
		return nil
	})
	return files, err
}

// kustomization reads the list of files, and the namespace of all objects.
func (p *parser) kustomization(fsys fs.FS) []string {
	docs := p.documents(fsys, kustomizationFile)
	if len(docs) != 1 {
		p.invalid(kustomizationFile, "exactly one document", nil)
		return nil
	}
	o := docs[0].object("apiVersion", "kind", "namespace", "resources")
	const version = "kustomize.config.k8s.io/v1beta1"
	if got := o.get("apiVersion").required(version); got != "" && got != version {
		o.get("apiVersion").fail(version)
	}
	if got := o.get("kind").required("Kustomization"); got != "" && got != "Kustomization" {
		o.get("kind").fail("Kustomization")
	}
	p.namespace = p.label(o.get("namespace"))
	p.namespaceAt = o.get("namespace")
	var files []string
	listed := make(map[string]bool)
	for _, item := range o.get("resources").list("a list of files") {
		const expected = "the path of a file in this folder"
		file := item.required(expected)
		switch {
		case file == "":
		case listed[file]:
			item.fail("each file once")
		case !fs.ValidPath(file):
			item.fail(expected)
		default:
			listed[file] = true
			files = append(files, file)
		}
	}
	return files
}

// file reads the objects of one file.
func (p *parser) file(fsys fs.FS, name string) {
	for _, v := range p.documents(fsys, name) {
		p.object(v)
	}
}

// documents splits a file into its documents; empty ones are skipped.
func (p *parser) documents(fsys fs.FS, name string) []value {
	content, err := readFile(fsys, name)
	if err != nil {
		p.invalid(name, fmt.Sprintf("a file of at most %d bytes", maxFileBytes), err)
		return nil
	}
	var values []value
	decoder := yaml.NewDecoder(bytes.NewReader(content))
	for number := 1; ; number++ {
		var root yaml.Node
		if err := decoder.Decode(&root); errors.Is(err, io.EOF) {
			return values
		} else if err != nil {
			p.invalid(name, fmt.Sprintf("YAML in document %d", number), err)
			return values
		}
		if root.Kind != yaml.DocumentNode || len(root.Content) != 1 || root.Content[0].ShortTag() == "!!null" {
			continue
		}
		doc := &document{problems: p.problems, file: name, number: number}
		values = append(values, value{doc: doc, node: root.Content[0], line: root.Content[0].Line})
	}
}

func readFile(fsys fs.FS, name string) ([]byte, error) {
	f, err := fsys.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	content, err := io.ReadAll(io.LimitReader(f, maxFileBytes+1))
	if err == nil && len(content) > maxFileBytes {
		err = errors.New("it is larger")
	}
	return content, err
}

// invalid notes a fault of a whole file.
func (p *parser) invalid(file, expected string, cause error) {
	p.problems.errs = append(p.problems.errs,
		&fault.Error{Kind: fault.Invalid, Field: strings.TrimSpace(file), Expected: expected, Err: cause})
}
