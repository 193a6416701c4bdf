package eventing

import (
	"encoding/base64"
	"encoding/json"
	"mime"
	"regexp"
	"strings"
	"time"

	"github.com/robfig/cron/v3"
)

type rawSource struct {
	PingSource
	sink *reference
}

// everyMinute is the schedule of a PingSource that gives none.
const everyMinute = "* * * * *"

func (p *parser) pingSource(o object) {
	m := p.metadata(o)
	specAt := o.get("spec")
	if !specAt.present() {
		specAt.fail("an object with sink")
	}
	spec := specAt.object("schedule", "timezone", "contentType", "data", "dataBase64", "sink", "ceOverrides")
	if spec.fields == nil {
		return
	}
	raw := rawSource{PingSource: PingSource{Name: m.name, Spec: everyMinute}}
	p.schedule(&raw.PingSource, spec.get("schedule"), spec.get("timezone"))
	pingData(&raw.PingSource, spec)
	raw.sink = p.destination(spec.get("sink"), TargetBroker)
	raw.Extensions = extensions(spec.get("ceOverrides").object("extensions").get("extensions"))
	p.sources = append(p.sources, raw)
}

// schedule reads a schedule with the parser that Knative's PingSource uses.
// Without a time zone Knative takes that of its own pod, which is UTC.
func (p *parser) schedule(s *PingSource, at, zone value) {
	const expected = "a schedule of 5 fields, or of 6 with seconds first, or @yearly, @monthly, @weekly, @daily, @hourly; @every is not supported"
	if at.present() {
		s.Spec = at.required(expected)
	}
	location := "UTC"
	if zone.present() {
		const expected = "a time zone of the IANA database, as Europe/Berlin"
		location = zone.required(expected)
		if _, err := time.LoadLocation(location); err != nil || location == "Local" {
			zone.fail(expected)
			return
		}
	}
	if s.Spec == "" || location == "" {
		return
	}
	// A zone within the schedule would override, and @every keep no clock time.
	if strings.Contains(s.Spec, "@every") || strings.Contains(s.Spec, "TZ=") {
		at.fail(expected)
		return
	}
	parser := cron.NewParser(cron.SecondOptional | cron.Minute | cron.Hour | cron.Dom | cron.Month | cron.Dow | cron.Descriptor)
	schedule, err := parser.Parse("CRON_TZ=" + location + " " + s.Spec)
	if err != nil {
		at.problem(at.line, at.path, expected, err)
		return
	}
	if schedule.Next(time.Unix(0, 0)).IsZero() {
		at.fail("a schedule that comes at some time; this one never does")
	}
	s.Schedule = schedule
}

// pingData reads data or dataBase64.
func pingData(s *PingSource, spec object) {
	text, encoded, media := spec.get("data"), spec.get("dataBase64"), spec.get("contentType")
	if media.present() {
		s.ContentType = media.required("a media type, as application/json")
		if _, _, err := mime.ParseMediaType(s.ContentType); s.ContentType != "" && err != nil {
			media.fail("a media type, as application/json")
		}
	}
	if text.present() && encoded.present() {
		encoded.fail("either data or dataBase64")
		return
	}
	at := text
	switch {
	case text.present():
		s.Data = []byte(text.required("a string that is not empty"))
	case encoded.present():
		at = encoded
		data, err := base64.StdEncoding.DecodeString(encoded.required("base64"))
		if err != nil {
			encoded.fail("base64")
			return
		}
		s.Data = data
	default:
		return
	}
	if s.ContentType != "application/json" {
		return
	}
	var fields map[string]any
	if err := json.Unmarshal(s.Data, &fields); err != nil || fields == nil {
		at.fail("a JSON object, for contentType is application/json; Knative takes no other JSON")
	}
}

var extensionName = regexp.MustCompile(`^[a-z0-9]+$`)

// extensions reads ceOverrides.extensions.
func extensions(v value) map[string]string {
	entries := v.stringEntries()
	for _, name := range sortedKeys(entries) {
		switch name {
		case "id", "source", "type", "specversion", "time", "subject", "dataschema", "datacontenttype", "data":
			entries[name].fail("the name of an extension; %s is an attribute of every event", name)
		}
		if !extensionName.MatchString(name) {
			entries[name].fail("the name of an extension: letters a-z and digits")
		}
	}
	return valuesOf(entries)
}
