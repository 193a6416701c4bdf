package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/footfall/footfall/infra/loadtest"
	"github.com/footfall/footfall/infra/loadtest/plot"
	"github.com/footfall/footfall/shared/store/embedded"
)

// grown is all that is told.
type grown struct {
	Machine   string
	Beside    string
	Merchants int
	Steps     []Step
	Many      []loadtest.Many
}

func (g *grown) write(folder string) error {
	table, err := os.Create(filepath.Join(folder, "growth.md"))
	if err != nil {
		return err
	}
	picture, err := os.Create(filepath.Join(folder, "growth.svg"))
	if err != nil {
		return errors.Join(err, table.Close())
	}
	return errors.Join(g.table(table), g.plot(picture), table.Close(), picture.Close())
}

// figure is one row of the table.
type figure[T any] struct {
	name   string
	unit   func(float64) string
	value  func(*T) float64
	series string // in the plot, where it is in one
}

// rows writes a table's rows, a column for each step.
func rows[T any](b *bytes.Buffer, figures []figure[T], steps []T) {
	for _, f := range figures {
		fmt.Fprintf(b, "| %s |", f.name)
		for i := range steps {
			fmt.Fprintf(b, " %s |", f.unit(f.value(&steps[i])))
		}
		b.WriteString("\n")
	}
}

// lines makes the named series of figures over steps, of which at says the size.
func lines[T any](figures []figure[T], steps []T, at func(*T) int, names ...string) (all []plot.Line) {
	for _, name := range names {
		for _, f := range figures {
			if f.series != name {
				continue
			}
			l := plot.Line{Name: name}
			for i := range steps {
				l.X, l.Y = append(l.X, float64(at(&steps[i]))), append(l.Y, f.value(&steps[i]))
			}
			all = append(all, l)
		}
	}
	return all
}

func seconds(d time.Duration) float64 { return d.Seconds() }

// figures are the rows, those of tables that grow with events among them.
func (g *grown) figures() []figure[Step] {
	each := func(bytes func(*Step) float64) func(*Step) float64 {
		return func(s *Step) float64 { return bytes(s) / float64(max(1, s.Loaded.Events)) }
	}
	table := func(name string) func(*Step) float64 {
		return func(s *Step) float64 { return float64(tableOf(s, name).Disk) }
	}
	archive := func(s *Step) float64 { return float64(s.Loaded.Disk.Archive) }
	all := []figure[Step]{
		{"loaded through the pipeline, events/s", plot.Count, func(s *Step) float64 { return float64(s.Loaded.Events) / max(1, s.Loaded.Took.Seconds()) }, ""},
		{"the same, CPU per event, until all hours are closed", plot.Seconds, func(s *Step) float64 { return s.Loaded.CPU.Seconds() / float64(max(1, s.Loaded.Events)) }, ""},
		{"CPU of a new event, until archived and processed", plot.Seconds, func(s *Step) float64 { return seconds(s.NewEvent) }, "new event"},
		{"start to ready", plot.Seconds, func(s *Step) float64 { return seconds(s.Ready) }, "start"},
		{"resident memory, idle after that", plot.Bytes, func(s *Step) float64 { return float64(s.Resident) }, "idle"},
		{"resident memory after reports, ticks and 100,000 events", plot.Bytes, func(s *Step) float64 { return float64(s.After) }, "after work"},
		{"CPU of an idle tick", plot.Seconds, func(s *Step) float64 { return seconds(s.IdleTick.CPU) }, "idle tick"},
		{"CPU of a tick with one merchant active", plot.Seconds, func(s *Step) float64 { return seconds(s.ActiveTick.CPU) }, "one active"},
	}
	for _, q := range questions {
		all = append(all,
			figure[Step]{"report " + q.Name + ", p50", plot.Seconds, func(s *Step) float64 { return seconds(s.Reports[q.Name].P50) }, ""},
			figure[Step]{"the same, p99", plot.Seconds, func(s *Step) float64 { return seconds(s.Reports[q.Name].P99) }, q.Name})
	}
	all = append(all,
		figure[Step]{"archive, bytes per event", plot.Bytes, each(archive), "archive"},
		figure[Step]{"store, bytes per event", plot.Bytes, each(func(s *Step) float64 { return float64(s.Loaded.Disk.Store) }), "store"})
	for _, t := range g.Steps[len(g.Steps)-1].Loaded.Tables {
		if float64(t.Disk) > 0.2*float64(g.Steps[len(g.Steps)-1].Loaded.Events) {
			all = append(all, figure[Step]{"of it " + t.Name + ", bytes per event", plot.Bytes, each(table(t.Name)), t.Name})
		}
	}
	return append(all, figure[Step]{"all of the data folder", plot.Bytes, func(s *Step) float64 {
		return float64(s.Loaded.Disk.Archive + s.Loaded.Disk.Store + s.Loaded.Disk.Kafka)
	}, ""})
}

func tableOf(s *Step, name string) embedded.TableSize {
	i := slices.IndexFunc(s.Loaded.Tables, func(t embedded.TableSize) bool { return t.Name == name })
	if i < 0 {
		return embedded.TableSize{}
	}
	return s.Loaded.Tables[i]
}

// manyFigures are the rows of what goes by the number of merchants.
var manyFigures = []figure[loadtest.Many]{
	{"CPU of making one, 1000 in a request", plot.Seconds, func(m *loadtest.Many) float64 { return seconds(m.Provision.Each(m.Merchants)) }, ""},
	{"a start until all are known (it serves from the start on)", plot.Seconds, func(m *loadtest.Many) float64 { return seconds(m.Start.Wall) }, "start"},
	{"resident memory after that", plot.Bytes, func(m *loadtest.Many) float64 { return float64(m.Start.Memory) }, "after the start"},
	{"CPU of a tick with none active", plot.Seconds, func(m *loadtest.Many) float64 { return seconds(m.IdleTick.CPU) }, "tick, none active"},
	{"CPU of a tick with one active", plot.Seconds, func(m *loadtest.Many) float64 { return seconds(m.OneTick.CPU) }, "tick, one active"},
	{"CPU of an event of an hour in which all are active, until processed", plot.Seconds, func(m *loadtest.Many) float64 { return seconds(m.TakeIn.Each(m.Events)) }, ""},
	{"close that hour", plot.Seconds, func(m *loadtest.Many) float64 { return seconds(m.Close.Wall) }, "closing the hour"},
	{"the same, CPU of each merchant", plot.Seconds, func(m *loadtest.Many) float64 { return seconds(m.Close.Each(m.Merchants)) }, "CPU of closing, each"},
	{"resident memory, at most meanwhile", plot.Bytes, func(m *loadtest.Many) float64 { return float64(max(m.TakeIn.Memory, m.Close.Memory)) }, "at most"},
	{"CPU of a report of today", plot.Seconds, func(m *loadtest.Many) float64 { return seconds(m.Report) }, "CPU of a report"},
	{"registry on disk, bytes per merchant", plot.Bytes, func(m *loadtest.Many) float64 { return m.RegistryDisk }, "registry"},
	{"an hour's record, bytes", plot.Bytes, func(m *loadtest.Many) float64 { return m.RecordBytes }, "an hour's record"},
	{"processed data on disk, bytes per event", plot.Bytes, func(m *loadtest.Many) float64 { return m.ProcessedBytes }, ""},
}

func (g *grown) table(w io.Writer) error {
	var b bytes.Buffer
	fmt.Fprintf(&b, "# Growth\n\nWritten by `make growth`. %s", g.Machine)
	if g.Beside != "" {
		fmt.Fprintf(&b, ", %s", g.Beside)
	}
	b.WriteString(".\n")
	if len(g.Steps) > 0 {
		g.eventsTable(&b)
	}
	if len(g.Many) > 0 {
		g.manyTable(&b)
	}
	_, err := w.Write(b.Bytes())
	return err
}

func (g *grown) eventsTable(b *bytes.Buffer) {
	fmt.Fprintf(b, "\n## Stored events\n\nEvents of %d merchants by Zipf's law on %d days, from midnight of each on with at most 2 s between two batches, sent through the whole pipeline in the order of their times as fast as it took them, in batches of 100, 3 %% of them duplicates; "+
		"the minute's ticks closed hours meanwhile. Then the numbers of 300 merchants were compared with what was sent (", g.Merchants, days)
	for i := range g.Steps {
		if i > 0 {
			b.WriteString(", ")
		}
		c := g.Steps[i].Loaded.Compare
		fmt.Fprintf(b, "%d differences in %d values", c.Differences, c.Values)
	}
	fmt.Fprintf(b, "), a process was started on the folder, and each question was asked of %d merchants, one after another, of busy ones most often.\n\n![what grows with events](growth.svg)\n\n", asked)
	var heads []string
	for i := range g.Steps {
		heads = append(heads, plot.Count(float64(g.Steps[i].Events))+" events")
	}
	head(b, heads)
	rows(b, g.figures(), g.Steps)
}

func (g *grown) manyTable(b *bytes.Buffer) {
	b.WriteString("\n## Merchants\n\nWhat `make bench-merchants` measures: merchants are made, the process is started again, gets five events on average of each merchant's last hour, and closes it; 300 merchants' numbers are compared with what was sent.\n\n")
	var heads []string
	for i := range g.Many {
		heads = append(heads, plot.Count(float64(g.Many[i].Merchants))+" merchants")
	}
	head(b, heads)
	rows(b, manyFigures, g.Many)
}

func head(b *bytes.Buffer, columns []string) {
	fmt.Fprintf(b, "| what | %s |\n|---|%s\n", strings.Join(columns, " | "), strings.Repeat("---|", len(columns)))
}

func (g *grown) plot(w io.Writer) error {
	var panels []plot.Panel
	if len(g.Steps) > 0 {
		panels = append(panels, g.eventPanels()...)
	}
	if len(g.Many) > 0 {
		panels = append(panels, g.manyPanels()...)
	}
	return plot.SVG(w, 2, panels...)
}

func panel(title string, unit func(float64) string, lines ...plot.Line) plot.Panel {
	return plot.Panel{Title: title, LogX: true, LogY: true, FormatY: unit, Lines: lines}
}

func (g *grown) eventPanels() []plot.Panel {
	figures := g.figures()
	over := func(names ...string) []plot.Line {
		return lines(figures, g.Steps, func(s *Step) int { return s.Events }, names...)
	}
	var asked []string
	for _, q := range questions {
		asked = append(asked, q.Name)
	}
	return []plot.Panel{
		panel("disk, bytes per event, by stored events", plot.Bytes, over("archive", "store", "documents", "summaries", "visitors")...),
		panel("memory, by stored events", plot.Bytes, over("idle", "after work")...),
		panel("reports, p99, by stored events", plot.Seconds, over(asked...)...),
		panel("start, CPU of ticks and of a new event, by stored events", plot.Seconds, over("start", "idle tick", "one active", "new event")...),
	}
}

func (g *grown) manyPanels() []plot.Panel {
	over := func(names ...string) []plot.Line {
		return lines(manyFigures, g.Many, func(m *loadtest.Many) int { return m.Merchants }, names...)
	}
	return []plot.Panel{
		panel("memory, by merchants", plot.Bytes, over("after the start", "at most")...),
		panel("disk, by merchants", plot.Bytes, over("registry", "an hour's record")...),
		panel("start, and closing an hour in which all were active, by merchants", plot.Seconds, over("start", "closing the hour")...),
		panel("CPU, by merchants", plot.Seconds, over("CPU of closing, each", "CPU of a report", "tick, one active")...),
	}
}
