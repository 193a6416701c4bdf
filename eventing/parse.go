package eventing

import (
	"net/url"
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/footfall/footfall/shared/fault"
)

// parser gathers objects from all files first, for they may name one another
// in any order, and ties them together at the end.
type parser struct {
	problems    *problems
	namespace   string // of the first object or the kustomization; all must share it
	namespaceAt value
	seen        map[string]bool // "kind/name"

	configs  map[string]*configMap
	brokers  []rawBroker
	sinks    []KafkaSink
	triggers []rawTrigger
	sources  []rawSource
}

const (
	eventingV1   = "eventing.knative.dev/v1"
	kafkaV1alpha = "eventing.knative.dev/v1alpha1"
	sourcesV1    = "sources.knative.dev/v1"
	servingV1    = "serving.knative.dev/v1"
)

var kinds = []struct {
	kind, version string
	read          func(*parser, object)
	fields        []string // beside apiVersion, kind and metadata
}{
	{"ConfigMap", "v1", (*parser).configMap, []string{"data"}},
	{"Broker", eventingV1, (*parser).broker, []string{"spec"}},
	{"KafkaSink", kafkaV1alpha, (*parser).sink, []string{"spec"}},
	{"Trigger", eventingV1, (*parser).trigger, []string{"spec"}},
	{"PingSource", sourcesV1, (*parser).pingSource, []string{"spec"}},
}

const supportedKinds = "one of ConfigMap, Broker, KafkaSink, Trigger, PingSource"

// object reads one document.
func (p *parser) object(v value) {
	kindNode := object{value: v, fields: v.peek("kind")}.get("kind")
	kind := kindNode.required(supportedKinds)
	if kind == "" {
		return
	}
	for _, k := range kinds {
		if k.kind != kind {
			continue
		}
		v.doc.kind = kind
		o := v.object(append([]string{"apiVersion", "kind", "metadata"}, k.fields...)...)
		if version := o.get("apiVersion").required(k.version); version != "" && version != k.version {
			o.get("apiVersion").fail("%s", k.version)
		}
		k.read(p, o)
		return
	}
	kindNode.fail("%s; %q is not supported", supportedKinds, kind)
}

// peek finds one field without judging the others, which only the kind can.
func (v value) peek(key string) map[string]value {
	if !v.plain() || v.node.Kind != yaml.MappingNode {
		return nil
	}
	for i := 0; i+1 < len(v.node.Content); i += 2 {
		if v.node.Content[i].Value == key {
			return map[string]value{key: v.at(v.node.Content[i+1], key)}
		}
	}
	return nil
}

// meta is an object's metadata.
type meta struct {
	name        string
	annotations map[string]value
}

// metadata reads name, namespace and annotations, and claims the name.
func (p *parser) metadata(o object, annotations ...string) meta {
	at := o.get("metadata")
	if !at.present() {
		at.fail("an object with name and namespace")
		return meta{}
	}
	m := at.object("name", "namespace", "labels", "annotations")
	name := p.label(m.get("name"))
	o.doc.name = name
	if key := o.doc.kind + "/" + name; name != "" && p.seen[key] {
		m.get("name").fail("a name that no other %s has", o.doc.kind)
	} else {
		p.seen[key] = true
	}
	if ns := m.get("namespace"); ns.present() || p.namespace == "" {
		p.sameNamespace(ns, p.label(ns))
	}
	m.get("labels").texts()
	marks := m.get("annotations").stringEntries()
	for _, key := range sortedKeys(marks) {
		if knativeKey(key) && !slices.Contains(annotations, key) {
			marks[key].fail("no such annotation; of Knative's a %s may have %s", o.doc.kind, strings.Join(annotations, ", "))
		}
	}
	return meta{name: name, annotations: marks}
}

// knativeKey says whether an annotation is Knative's: those change what an
// object does, all others are notes.
func knativeKey(key string) bool {
	domain, _, _ := strings.Cut(key, "/")
	return domain == "knative.dev" || strings.HasSuffix(domain, ".knative.dev")
}

func (p *parser) sameNamespace(at value, name string) {
	switch {
	case name == "":
	case p.namespace == "":
		p.namespace, p.namespaceAt = name, at
	case name != p.namespace:
		at.fail("the namespace %q of %s:%d, for all objects share one", p.namespace, p.namespaceAt.doc.file, p.namespaceAt.line)
	}
}

var labelPattern = regexp.MustCompile(`^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$`)

// label reads a name that Kubernetes takes everywhere (RFC 1123).
func (p *parser) label(v value) string {
	const expected = "a name of 1 to 63 letters a-z, digits and dashes"
	s := v.required(expected)
	if s != "" && !labelPattern.MatchString(s) {
		v.fail(expected)
		return ""
	}
	return s
}

// oneOf reads a string that is one of a few; "" where it is absent or wrong.
func (v value) oneOf(words ...string) string {
	if !v.present() {
		return ""
	}
	expected := strings.Join(words, " or ")
	s, ok := v.str(expected)
	if ok && !slices.Contains(words, s) {
		v.fail("%s", expected)
		return ""
	}
	return s
}

// reference is a destination that still has to be found.
type reference struct {
	Destination
	at value
}

var refKinds = map[TargetKind]struct{ kind, version string }{
	TargetService:   {"Service", servingV1},
	TargetKafkaSink: {"KafkaSink", kafkaV1alpha},
	TargetBroker:    {"Broker", eventingV1},
}

// destination reads {ref, uri}: a reference to one of the kinds allowed, for a
// Service with a path, or an absolute URL.
func (p *parser) destination(v value, allowed ...TargetKind) *reference {
	var names []string
	for _, k := range allowed {
		names = append(names, refKinds[k].kind+" ("+refKinds[k].version+")")
	}
	expected := "a ref to a " + strings.Join(names, " or a ") + ", or an absolute http or https uri"
	if !v.present() {
		v.fail("%s", expected)
		return nil
	}
	o := v.object("ref", "uri")
	if o.fields == nil {
		return nil
	}
	ref, uri := o.get("ref"), o.get("uri")
	if !ref.present() {
		if !uri.present() {
			v.fail("%s", expected)
			return nil
		}
		return p.absolute(uri)
	}
	r := ref.object("apiVersion", "kind", "name", "namespace")
	if r.fields == nil {
		return nil
	}
	d := Destination{Name: p.label(r.get("name"))}
	if ns := r.get("namespace"); ns.present() {
		p.sameNamespace(ns, p.label(ns))
	}
	version, kind := r.get("apiVersion").required(expected), r.get("kind").required(expected)
	known := false
	for _, k := range allowed {
		if refKinds[k].kind == kind {
			d.Kind, known = k, true
			if version != "" && version != refKinds[k].version {
				r.get("apiVersion").fail("%s", refKinds[k].version)
			}
		}
	}
	switch {
	case kind != "" && !known:
		r.get("kind").fail("%s", expected)
	case known && d.Kind == TargetService:
		d.Path = relative(uri)
	case uri.present():
		uri.fail("no uri beside a ref to a %s: only a Service has paths", kind)
	}
	return &reference{d, r.get("name")}
}

func (p *parser) absolute(v value) *reference {
	const expected = "an absolute URL, http or https, with a host"
	text := v.required(expected)
	u, err := url.Parse(text)
	if text == "" {
		return nil
	}
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" || u.Fragment != "" || u.User != nil {
		v.fail(expected)
		return nil
	}
	return &reference{Destination{Kind: TargetURL, URL: text}, v}
}

// relative reads the path on a Service as a URL resolves it against its root.
func relative(v value) string {
	const expected = "a path on the Service, as /batches"
	if !v.present() {
		return "/"
	}
	text := v.required(expected)
	u, err := url.Parse(text)
	if err != nil || u.IsAbs() || u.Host != "" || u.User != nil || u.Fragment != "" || u.Opaque != "" {
		v.fail(expected)
		return "/"
	}
	root := url.URL{Scheme: "http", Host: "service", Path: "/"}
	return root.ResolveReference(u).RequestURI()
}

// resolve checks that what a reference names is there.
func (p *parser) resolve(r *reference) *Destination {
	if r == nil {
		return nil
	}
	known := true
	switch r.Kind {
	case TargetKafkaSink:
		known = p.seen["KafkaSink/"+r.Name]
	case TargetBroker:
		known = p.seen["Broker/"+r.Name]
	}
	if !known && r.Name != "" {
		r.at.fail("the name of a %s of this wiring; there is no %q", refKinds[r.Kind].kind, r.Name)
	}
	return &r.Destination
}

// wiring ties everything together.
func (p *parser) wiring() *Wiring {
	w := &Wiring{Namespace: p.namespace, Sinks: p.sinks}
	defaults := make(map[string]Delivery, len(p.brokers))
	for _, raw := range p.brokers {
		b := raw.Broker
		p.applyConfig(&b, raw)
		defaults[b.Name] = p.delivery(raw.delivery)
		w.Brokers = append(w.Brokers, b)
	}
	for _, name := range sortedKeys(p.configs) {
		if c := p.configs[name]; !c.used {
			c.at.fail("a ConfigMap that a Broker's spec.config names; no Broker names %q", name)
		}
	}
	for _, raw := range p.triggers {
		w.Triggers = append(w.Triggers, p.tie(raw, defaults))
	}
	for _, raw := range p.sources {
		s := raw.PingSource
		s.Source = "/apis/v1/namespaces/" + p.namespace + "/pingsources/" + s.Name
		if d := p.resolve(raw.sink); d != nil {
			s.Sink = *d
		}
		w.Sources = append(w.Sources, s)
	}
	if len(p.problems.errs) == 0 && len(w.Brokers) == 0 {
		p.problems.errs = append(p.problems.errs, fault.Field("wiring", "at least one Broker; no file has one"))
	}
	slices.SortFunc(w.Brokers, func(a, b Broker) int { return strings.Compare(a.Name, b.Name) })
	slices.SortFunc(w.Sinks, func(a, b KafkaSink) int { return strings.Compare(a.Name, b.Name) })
	slices.SortFunc(w.Triggers, func(a, b Trigger) int { return strings.Compare(a.Name, b.Name) })
	slices.SortFunc(w.Sources, func(a, b PingSource) int { return strings.Compare(a.Name, b.Name) })
	return w
}

func (p *parser) tie(raw rawTrigger, defaults map[string]Delivery) Trigger {
	t := raw.Trigger
	t.ConsumerGroup = "knative-trigger-" + p.namespace + "-" + t.Name
	if !p.seen["Broker/"+t.Broker] && t.Broker != "" {
		raw.brokerAt.fail("the name of a Broker of this wiring; there is no %q", t.Broker)
	}
	if d := p.resolve(raw.subscriber); d != nil {
		t.Subscriber = *d
	}
	t.Delivery = defaults[t.Broker]
	if raw.delivery != nil {
		t.Delivery = p.delivery(raw.delivery)
	}
	return t
}

// delivery resolves a delivery's dead letter sink; nil has Knative's defaults.
func (p *parser) delivery(raw *rawDelivery) Delivery {
	if raw == nil {
		return Delivery{BackoffDelay: DefaultBackoffDelay, Timeout: DefaultTimeout}
	}
	d := raw.Delivery
	d.DeadLetter = p.resolve(raw.deadLetter)
	return d
}
