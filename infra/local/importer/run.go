package importer

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/schollz/progressbar/v3"
	"golang.org/x/term"
)

const usage = `Reads a web server's access log (combined format; plain, gzip or zstd) into a running Footfall.

  footfall import -stream G-… -secret ffs_… -base https://shop.example [flags] FILE
  zcat logs*.gz | footfall import … -

Only requests for pages count: GETs answered with 200 or 304, and no images, styles, scripts or feeds.
An interrupted import goes on where it was when the same command is given again. A log that is read twice
changes no number.

`

// config is what the command line says.
type config struct {
	url, stream, secret, base, state, log string
	tries                                 time.Duration
	quiet                                 bool
}

func parse(args []string, stderr io.Writer) (config, error) {
	var c config
	var secretFile string
	f := flag.NewFlagSet("import", flag.ContinueOnError)
	f.SetOutput(stderr)
	f.StringVar(&c.url, "url", "http://127.0.0.1:8080", "where Footfall listens")
	f.StringVar(&c.stream, "stream", "", "measurement id of the stream, G-…")
	f.StringVar(&c.secret, "secret", "", "API secret of the stream, ffs_…")
	f.StringVar(&secretFile, "secret-file", "", "file that holds the API secret, so that it shows in no list of processes")
	f.StringVar(&c.base, "base", "", "the site's address, before the log's paths: https://shop.example")
	f.StringVar(&c.state, "state", "", "folder for what an interrupted import remembers (default: in your cache folder)")
	f.DurationVar(&c.tries, "retry-for", 10*time.Minute, "how long to go on trying while the server cannot take events")
	f.BoolVar(&c.quiet, "quiet", false, "no progress bar")
	f.Usage = func() {
		fmt.Fprint(stderr, usage)
		f.PrintDefaults()
	}
	if err := f.Parse(args); err != nil {
		return c, err
	}
	var faults []error
	if secretFile != "" {
		data, err := os.ReadFile(secretFile)
		if err != nil {
			faults = append(faults, fmt.Errorf("-secret-file: %w", err))
		}
		c.secret = strings.TrimSpace(string(data))
	}
	for _, want := range []struct{ name, value, expected string }{
		{"-stream", c.stream, "the stream's measurement id, G-…"},
		{"-secret", c.secret, "the stream's API secret, ffs_… (or -secret-file)"},
	} {
		if want.value == "" {
			faults = append(faults, fmt.Errorf("%s: expected %s", want.name, want.expected))
		}
	}
	for _, address := range []struct {
		name  string
		value *string
	}{{"-url", &c.url}, {"-base", &c.base}} {
		name, value := address.name, address.value
		u, err := url.Parse(*value)
		if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.RawQuery != "" || u.Fragment != "" {
			faults = append(faults, fmt.Errorf("%s: expected an address such as https://shop.example, got %q", name, *value))
		}
		*value = strings.TrimRight(*value, "/")
	}
	if f.NArg() != 1 {
		faults = append(faults, fmt.Errorf("expected one file, or - for standard input, got %d", f.NArg()))
	}
	c.log = f.Arg(0)
	if err := errors.Join(faults...); err != nil {
		return c, fmt.Errorf("import: %w", err)
	}
	return c, nil
}

// Run is the command: it imports the log that args name and prints what became
// of its lines to stdout; the progress bar and waiting are told on stderr.
func Run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) error {
	c, err := parse(args, stderr)
	if err != nil {
		return err
	}
	return c.run(ctx, stdin, stdout, stderr, sleep)
}

func (c config) run(ctx context.Context, stdin io.Reader, stdout, stderr io.Writer, wait func(context.Context, time.Duration) error) error {
	var kept stateFile
	var resume state
	if c.log != "-" { // standard input cannot be read again to find the place
		var err error
		if kept, err = newStateFile(c.state, c.url, c.stream, c.base, c.log); err != nil {
			return err
		}
		resume, _ = kept.load()
	}
	if resume.Counts.Lines > 0 {
		fmt.Fprintf(stderr, "Going on after line %d.\n", resume.Counts.Lines)
	}
	counts, err := c.once(ctx, kept, resume, stdin, stderr, wait)
	if errors.Is(err, errOtherLog) {
		fmt.Fprintln(stderr, "The log is not the one that was interrupted: starting from its beginning.")
		counts, err = c.once(ctx, kept, state{}, stdin, stderr, wait)
	}
	if err == nil {
		err = kept.remove()
	}
	if printed := counts.print(stdout); err == nil {
		err = printed
	}
	switch {
	case err == nil:
		return nil
	case c.log == "-":
		return fmt.Errorf("cannot import standard input after line %d (giving it again changes no number twice): %w", counts.Lines, err)
	default:
		return fmt.Errorf("cannot import %q after line %d (the same command goes on from there): %w", c.log, counts.Lines, err)
	}
}

// once imports from resume to the end of the log.
func (c config) once(ctx context.Context, kept stateFile, resume state, stdin io.Reader, stderr io.Writer, wait func(context.Context, time.Duration) error) (Counts, error) {
	counts := newCounts()
	if resume.Counts.Lines > 0 {
		counts = resume.Counts
	}
	raw, size := stdin, int64(-1)
	if c.log != "-" {
		f, err := os.Open(c.log)
		if err != nil {
			return counts, err
		}
		defer f.Close()
		if info, err := f.Stat(); err == nil && info.Mode().IsRegular() {
			size = info.Size()
		}
		raw = f
	}
	bar := newBar(size, stderr, c.quiet)
	counted := progressbar.NewReader(raw, bar)
	text, err := decompress(&counted)
	if err != nil {
		return counts, err
	}
	defer text.Close()
	transport := &http.Transport{MaxIdleConnsPerHost: maxUnderWay, MaxConnsPerHost: maxUnderWay, IdleConnTimeout: time.Minute}
	defer transport.CloseIdleConnections()
	s := sender{
		client: &http.Client{Transport: transport}, url: c.url + "/events", secret: c.secret, tries: c.tries, wait: wait,
		notify: func(err error, d time.Duration) {
			bar.Describe(fmt.Sprintf("waiting %s: %v", d.Round(100*time.Millisecond), err))
		},
	}
	e := engine{
		lines: newLines(text), convert: newConverter(c.stream, c.base), send: s.send, save: kept.save, resume: resume,
		progress: func() { bar.Describe("importing") },
	}
	counts, err = e.run(ctx)
	if err == nil {
		err = bar.Finish()
	} else {
		_ = bar.Exit() // leaves the line as it is; the error below says more
		fmt.Fprintln(stderr)
	}
	return counts, err
}

// newBar is a progress bar over the log's bytes where stderr is a terminal,
// and one that shows nothing elsewhere.
func newBar(size int64, stderr io.Writer, quiet bool) *progressbar.ProgressBar {
	f, ok := stderr.(*os.File)
	visible := !quiet && ok && term.IsTerminal(int(f.Fd()))
	return progressbar.NewOptions64(size,
		progressbar.OptionSetWriter(stderr), progressbar.OptionSetVisibility(visible),
		progressbar.OptionSetDescription("importing"), progressbar.OptionShowBytes(true),
		progressbar.OptionThrottle(100*time.Millisecond), progressbar.OptionFullWidth(), progressbar.OptionClearOnFinish())
}

// print writes the counts as a table.
func (c Counts) print(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	row := func(name string, n int64) { fmt.Fprintf(t, "%d\t  %s\n", n, name) }
	row("lines", c.Lines)
	row("pages", c.Pages)
	for _, reason := range slices.Sorted(maps.Keys(c.Skipped)) {
		row("skipped: "+reason, c.Skipped[reason])
	}
	row("sent", c.Sent)
	row("accepted", c.Accepted)
	for _, reason := range slices.Sorted(maps.Keys(c.Rejected)) {
		row("rejected: "+reason, c.Rejected[reason])
	}
	return t.Flush()
}
