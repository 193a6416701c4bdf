// Package plot draws lines into an SVG: as much of it as the pictures of soak
// and growth need, for which a plotting library would bring fonts, rasters and
// a dozen modules.
package plot

import (
	"bytes"
	"encoding/xml"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"
	"time"
)

// Line is one series. A value that is not a number, or that a logarithmic axis
// cannot show, leaves a gap.
type Line struct {
	Name string
	X, Y []float64
}

// Panel is one pair of axes. An axis that is not logarithmic begins at 0.
type Panel struct {
	Title      string
	LogX, LogY bool
	FormatX    func(float64) string // of a tick; nil: Count
	FormatY    func(float64) string
	Lines      []Line
}

// The size of a panel and the room around its axes, in pixels.
const (
	width, height            = 460, 250
	left, right, top, bottom = 64, 26, 44, 26
)

// Colours that the colour-blind can tell apart, by Okabe and Ito.
var colours = []string{"#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000"}

// SVG draws panels in rows of so many columns.
func SVG(w io.Writer, columns int, panels ...Panel) error {
	if columns < 1 || len(panels) == 0 {
		return fmt.Errorf("expected at least one column and one panel, got %d and %d", columns, len(panels))
	}
	rows := (len(panels) + columns - 1) / columns
	var b bytes.Buffer
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" width="%[1]d" height="%[2]d" viewBox="0 0 %[1]d %[2]d" font-family="sans-serif" font-size="11">`+"\n",
		min(columns, len(panels))*width, rows*height)
	b.WriteString(`<rect width="100%" height="100%" fill="#fff"/>` + "\n")
	for i := range panels {
		fmt.Fprintf(&b, `<g transform="translate(%d %d)">`+"\n", i%columns*width, i/columns*height)
		panels[i].draw(&b)
		b.WriteString("</g>\n")
	}
	b.WriteString("</svg>\n")
	_, err := w.Write(b.Bytes())
	return err
}

func (p *Panel) draw(b *bytes.Buffer) {
	var xs, ys []float64
	for _, l := range p.Lines {
		for i := range min(len(l.X), len(l.Y)) {
			if shown(l.X[i], p.LogX) && shown(l.Y[i], p.LogY) {
				xs, ys = append(xs, l.X[i]), append(ys, l.Y[i])
			}
		}
	}
	x := newAxis(xs, p.LogX, left, width-right)
	y := newAxis(ys, p.LogY, height-bottom, top)
	text(b, left, 16, "start", "#000", p.Title)
	for _, v := range x.ticks {
		at := x.place(v)
		fmt.Fprintf(b, `<path d="M%.1f %dV%d" stroke="#ddd"/>`+"\n", at, top, height-bottom)
		text(b, at, height-bottom+15, "middle", "#444", format(p.FormatX, v))
	}
	for _, v := range y.ticks {
		at := y.place(v)
		fmt.Fprintf(b, `<path d="M%d %.1fH%d" stroke="#ddd"/>`+"\n", left, at, width-right)
		text(b, left-6, at+4, "end", "#444", format(p.FormatY, v))
	}
	named := float64(left)
	for i, l := range p.Lines {
		colour := colours[i%len(colours)]
		if l.Name != "" {
			text(b, named, 32, "start", colour, l.Name)
			named += 6.2*float64(len(l.Name)) + 12
		}
		p.line(b, &l, colour, x, y)
	}
}

// line draws a path, and a dot at each value where there are few.
func (p *Panel) line(b *bytes.Buffer, l *Line, colour string, x, y axis) {
	n := min(len(l.X), len(l.Y))
	var path, dots strings.Builder
	verb := 'M'
	for i := range n {
		if !shown(l.X[i], p.LogX) || !shown(l.Y[i], p.LogY) {
			verb = 'M'
			continue
		}
		px, py := x.place(l.X[i]), y.place(l.Y[i])
		fmt.Fprintf(&path, "%c%.1f %.1f", verb, px, py)
		if n <= 24 {
			fmt.Fprintf(&dots, `<circle cx="%.1f" cy="%.1f" r="2.5" fill="%s"/>`, px, py, colour)
		}
		verb = 'L'
	}
	if path.Len() > 0 {
		fmt.Fprintf(b, `<path d="%s" fill="none" stroke="%s" stroke-width="1.3"/>%s`+"\n", path.String(), colour, dots.String())
	}
}

func shown(v float64, log bool) bool { return !math.IsNaN(v) && !math.IsInf(v, 0) && (!log || v > 0) }

func text(b *bytes.Buffer, x, y float64, anchor, colour, s string) {
	fmt.Fprintf(b, `<text x="%.1f" y="%.1f" text-anchor="%s" fill="%s">`, x, y, anchor, colour)
	_ = xml.EscapeText(b, []byte(s)) // a Buffer takes all
	b.WriteString("</text>\n")
}

func format(f func(float64) string, v float64) string {
	if f == nil {
		f = Count
	}
	return f(v)
}

// axis maps values to pixels.
type axis struct {
	log      bool
	from, to float64
	a, b     float64 // pixels of from and to
	ticks    []float64
}

func newAxis(values []float64, log bool, a, b float64) axis {
	x := axis{log: log, a: a, b: b, from: math.Inf(1), to: math.Inf(-1)}
	for _, v := range values {
		x.from, x.to = min(x.from, v), max(x.to, v)
	}
	if len(values) == 0 {
		x.from, x.to = 1, 10
	}
	if log {
		x.decades()
	} else {
		x.steps()
	}
	return x
}

// decades makes ticks at powers of ten.
func (x *axis) decades() {
	low, high := math.Floor(math.Log10(x.from)+1e-9), math.Ceil(math.Log10(x.to)-1e-9)
	if high <= low {
		high = low + 1
	}
	x.from, x.to = math.Pow(10, low), math.Pow(10, high)
	step := math.Ceil((high - low) / 6)
	for e := low; e <= high; e += step {
		x.ticks = append(x.ticks, math.Pow(10, e))
	}
}

// steps makes some five ticks at round numbers, from 0 on.
func (x *axis) steps() {
	x.from = min(x.from, 0)
	if x.to <= x.from {
		x.to = x.from + 1
	}
	raw := (x.to - x.from) / 5
	step := math.Pow(10, math.Floor(math.Log10(raw)))
	for _, m := range []float64{1, 2, 5, 10} {
		if m*step >= raw {
			step *= m
			break
		}
	}
	x.from = math.Floor(x.from/step) * step
	n := math.Ceil((x.to-x.from)/step - 1e-9)
	x.to = x.from + n*step
	for i := 0.0; i <= n; i++ {
		x.ticks = append(x.ticks, x.from+i*step)
	}
}

func (x *axis) place(v float64) float64 {
	if x.log {
		return x.a + (x.b-x.a)*(math.Log10(v)-math.Log10(x.from))/(math.Log10(x.to)-math.Log10(x.from))
	}
	return x.a + (x.b-x.a)*(v-x.from)/(x.to-x.from)
}

// Count shows a number with k, M or G.
func Count(v float64) string { return scaled(v, 1000, "", "k", "M", "G", "T") }

// Bytes shows a number of bytes.
func Bytes(v float64) string { return scaled(v, 1000, " B", " kB", " MB", " GB", " TB") }

// Seconds shows a duration given in seconds.
func Seconds(v float64) string {
	d := time.Duration(v * float64(time.Second))
	switch {
	case v == 0:
		return "0"
	case d >= time.Second:
		return Digits(v) + " s"
	case d >= time.Millisecond:
		return Digits(v*1e3) + " ms"
	}
	return Digits(v*1e6) + " µs"
}

func scaled(v, base float64, units ...string) string {
	i := 0
	for ; math.Abs(v) >= 0.9995*base && i < len(units)-1; i++ {
		v /= base
	}
	return Digits(v) + units[i]
}

// Digits shows three significant digits at most, and all of whole numbers.
func Digits(v float64) string {
	places := 0
	switch a := math.Abs(v); {
	case a == math.Trunc(a) || a >= 99.95:
	case a >= 9.995:
		places = 1
	case a >= 0.1:
		places = 2
	default:
		places = 4
	}
	s := strconv.FormatFloat(v, 'f', places, 64)
	if strings.Contains(s, ".") {
		s = strings.TrimRight(strings.TrimRight(s, "0"), ".")
	}
	return s
}
