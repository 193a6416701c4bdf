package main

import (
	"context"
	"crypto/rand"
	"flag"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/footfall/footfall/shared/access"
	"github.com/footfall/footfall/shared/report"
	"github.com/footfall/footfall/shared/revision"
)

const reprocessUsage = `Computes history anew from the archive, compares, publishes and takes back (see shared/docs/reprocess.md).

  footfall reprocess start -from 2026-10-01 -reason TEXT [flags]
  footfall reprocess list [flags]
  footfall reprocess status [-follow] [REVISION]     the newest where none is named
  footfall reprocess compare [-format table|json|csv|html] [-merchant ID] [REVISION]
  footfall reprocess publish|rollback|discard [-reason TEXT] REVISION

It speaks to the Footfall that runs on the data folder, with the token that is kept there, or to -target, with
the operator's token in FOOTFALL_ADMIN_TOKEN or -admin-token-file.

`

// reprocess is the operator's command line for reprocess jobs.
func reprocess(ctx context.Context, args, environ []string, stdout, stderr io.Writer) error {
	command := ""
	if len(args) > 0 {
		command, args = args[0], args[1:]
	}
	c := &reprocessCommand{name: command, environ: environ, out: stdout, errs: stderr}
	run := map[string]func(context.Context, []string) error{
		"start": c.start, "list": c.list, "status": c.status, "compare": c.compare,
		"publish": c.change, "rollback": c.change, "discard": c.change,
	}[command]
	if run == nil {
		fmt.Fprint(stderr, reprocessUsage)
		if strings.TrimLeft(command, "-") == "help" || command == "-h" {
			return nil
		}
		return fmt.Errorf("reprocess: expected start, list, status, compare, publish, rollback or discard, got %q", command)
	}
	if err := run(ctx, args); err != nil {
		return fmt.Errorf("reprocess %s: %w", command, err)
	}
	return nil
}

// reprocessCommand is one command under way.
type reprocessCommand struct {
	name      string
	environ   []string
	out, errs io.Writer
	operator  operator
	poll      time.Duration // between two looks of -follow
}

// flags are those that all commands have.
func (c *reprocessCommand) flags() *flag.FlagSet {
	f := flag.NewFlagSet("footfall reprocess "+c.name, flag.ContinueOnError)
	f.SetOutput(c.errs)
	f.Usage = func() {
		fmt.Fprint(c.errs, reprocessUsage)
		f.PrintDefaults()
	}
	f.StringVar(&c.operator.target, "target", "", "where Footfall listens, http://… (default: the one on the data folder)")
	f.StringVar(&c.operator.tokenFile, "admin-token-file", "", "file that holds the operator's token")
	return f
}

// parse reads flags, before and after the revision, if one is named.
func (c *reprocessCommand) parse(f *flag.FlagSet, args []string) (rev access.Revision, err error) {
	named := false
	for {
		if err := f.Parse(args); err != nil {
			return 0, err
		}
		if f.NArg() == 0 {
			return rev, c.operator.complete(c.environ)
		}
		n, err := strconv.ParseUint(f.Arg(0), 10, 32)
		if err != nil || n <= uint64(access.LiveRevision) || named || c.name == "start" || c.name == "list" {
			return 0, fmt.Errorf("unexpected %q", f.Arg(0))
		}
		rev, named, args = access.Revision(n), true, f.Args()[1:]
	}
}

func (c *reprocessCommand) start(ctx context.Context, args []string) error {
	var r revision.Request
	var from, to, merchants, mode string
	f := c.flags()
	f.StringVar(&from, "from", "", "first arrival to replay: 2026-10-01, 2026-10-01T18 or RFC 3339, in UTC")
	f.StringVar(&to, "to", "", "end of the arrivals to replay, likewise (default: now)")
	f.StringVar(&r.Lateness, "lateness", "", "replay what came up to so long after -to, too, such as 48h")
	f.StringVar(&merchants, "merchants", "", "ids of merchants, separated by commas (default: all)")
	f.StringVar(&r.Reason, "reason", "", "why history is computed anew")
	f.StringVar(&mode, "mode", string(revision.ModeCompare), "compare: wait until somebody publishes it; publish: publish it if the comparison is within bounds")
	f.Float64Var(&r.Bounds.Events, "max-change", 0, "of -mode publish: how much eventCount may change, of any merchant and of all, as a part of what it was: 0.01 is one per cent")
	f.Int64Var(&r.Bounds.Merchants, "max-merchants", 0, "of -mode publish: how many merchants may change; 0 is any number")
	f.StringVar(&r.By, "by", os.Getenv("USER"), "who asks, for the history")
	key := f.String("key", "", "a name of this wish: given again, it makes no second job")
	follow := f.Bool("follow", false, "show the progress until the job waits for somebody")
	if _, err := c.parse(f, args); err != nil {
		return err
	}
	for _, t := range []struct {
		name, given string
		into        *time.Time
	}{{"-from", from, &r.From}, {"-to", to, &r.To}} {
		if t.given == "" {
			continue
		}
		at, err := instant(t.given)
		if err != nil {
			return fmt.Errorf("%s: %w", t.name, err)
		}
		*t.into = at
	}
	r.Mode = revision.Mode(mode)
	if merchants != "" {
		r.Merchants = strings.Split(merchants, ",")
	}
	// What the server would say of a wrong request is said without asking it.
	if err := r.Validate(time.Now()); err != nil {
		return err
	}
	if *key == "" {
		*key = rand.Text()
	}
	var job revision.Job
	if err := c.operator.call(ctx, http.MethodPost, "", http.Header{"Idempotency-Key": {*key}}, r, &job); err != nil {
		return err
	}
	fmt.Fprintf(c.out, "Revision %d is %s: %s\n", job.Revision, job.State, scopeOf(&job))
	if *follow {
		return c.follow(ctx, job.Revision)
	}
	fmt.Fprintf(c.out, "footfall reprocess status -follow %d shows how far it is.\n", job.Revision)
	return nil
}

// scopeOf says what a job replays.
func scopeOf(j *revision.Job) string {
	to := j.Cut
	if to.IsZero() {
		to = j.To
	}
	return fmt.Sprintf("what arrived from %s to before %s, of %s", stamp(j.From), stamp(to), merchantsOf(j))
}

func merchantsOf(j *revision.Job) string {
	switch len(j.Merchants) {
	case 0:
		return "all merchants"
	case 1:
		return "merchant " + report.Plain(j.Merchants[0])
	default:
		return fmt.Sprintf("%d merchants", len(j.Merchants))
	}
}

func stamp(t time.Time) string {
	if t.IsZero() {
		return "now"
	}
	return t.UTC().Format("2006-01-02T15:04:05Z")
}

// jobs is a page of the list of jobs.
type jobs struct {
	Jobs []revision.Job  `json:"jobs"`
	Next access.Revision `json:"next"`
}

func (c *reprocessCommand) list(ctx context.Context, args []string) error {
	f := c.flags()
	limit := f.Int("limit", 20, "how many, the newest first")
	if _, err := c.parse(f, args); err != nil {
		return err
	}
	var all []revision.Job
	var below access.Revision
	for len(all) < *limit {
		page, err := c.page(ctx, *limit-len(all), below)
		if err != nil {
			return err
		}
		all = append(all, page.Jobs...)
		if below = page.Next; below == 0 || len(page.Jobs) == 0 {
			break
		}
	}
	if len(all) == 0 {
		fmt.Fprintln(c.out, "There is no reprocess job.")
		return nil
	}
	lines := [][]string{{"revision", "state", "since", "arrived from", "to before", "merchants", "by", "reason"}}
	for i := range all {
		j := &all[i]
		lines = append(lines, []string{
			strconv.FormatUint(uint64(j.Revision), 10), string(j.State), stamp(j.Since), stamp(j.From), stamp(j.Cut), merchantsOf(j), line(j.By), line(j.Reason),
		})
	}
	_, err := io.WriteString(c.out, report.Align(lines, len(lines[0])))
	return err
}

// line is a person's text on one line of a terminal.
func line(s string) string {
	const most = 60
	if letters := []rune(s); len(letters) > most {
		s = string(letters[:most-1]) + "…"
	}
	return report.Plain(s)
}

func (c *reprocessCommand) page(ctx context.Context, limit int, below access.Revision) (page jobs, err error) {
	q := url.Values{"limit": {strconv.Itoa(min(limit, 100))}}
	if below > 0 {
		q.Set("below", strconv.FormatUint(uint64(below), 10))
	}
	err = c.operator.call(ctx, http.MethodGet, "?"+q.Encode(), nil, nil, &page)
	return page, err
}

// newest is the revision of the newest job where none is named.
func (c *reprocessCommand) newest(ctx context.Context, rev access.Revision) (access.Revision, error) {
	if rev > 0 {
		return rev, nil
	}
	page, err := c.page(ctx, 1, 0)
	if err == nil && len(page.Jobs) == 0 {
		err = fmt.Errorf("there is no reprocess job")
	}
	if err != nil {
		return 0, err
	}
	return page.Jobs[0].Revision, nil
}

func (c *reprocessCommand) status(ctx context.Context, args []string) error {
	f := c.flags()
	follow := f.Bool("follow", false, "go on until the job waits for somebody")
	f.DurationVar(&c.poll, "every", time.Second, "how often -follow looks")
	rev, err := c.parse(f, args)
	if err == nil {
		rev, err = c.newest(ctx, rev)
	}
	if err != nil {
		return err
	}
	if *follow {
		return c.follow(ctx, rev)
	}
	s, err := c.statusOf(ctx, rev)
	if err != nil {
		return err
	}
	return c.print(&s)
}

func pathOf(rev access.Revision) string { return "/" + strconv.FormatUint(uint64(rev), 10) }

func (c *reprocessCommand) statusOf(ctx context.Context, rev access.Revision) (s revision.Status, err error) {
	err = c.operator.call(ctx, http.MethodGet, pathOf(rev), nil, nil, &s)
	return s, err
}

// print shows a job as it is.
func (c *reprocessCommand) print(s *revision.Status) error {
	var b strings.Builder
	fmt.Fprintf(&b, "Revision %d is %s since %s: %s\n", s.Revision, s.State, stamp(s.Since), scopeOf(&s.Job))
	fmt.Fprintf(&b, "asked for at %s by %s: %s\n", stamp(s.CreatedAt), or(line(s.By), "somebody"), report.Plain(s.Reason))
	for i := range s.Progress {
		fmt.Fprintf(&b, "  %s\n", phaseLine(&s.Progress[i]))
	}
	for _, p := range s.Problems {
		fmt.Fprintf(&b, "problem: %s\n", report.Plain(strings.Join(strings.Fields(p.Shard+" "+p.Path+" "+p.Detail), " ")))
	}
	if more := s.ProblemCount - int64(len(s.Problems)); more > 0 {
		fmt.Fprintf(&b, "problem: and %d more\n", more)
	}
	for _, e := range s.Exceeds {
		fmt.Fprintf(&b, "out of bounds: %s\n", report.Plain(e))
	}
	for _, flip := range s.Flips {
		what := "rolled back"
		if flip.On {
			what = "published"
		}
		fmt.Fprintf(&b, "%s from %s on, by %s: %s\n", what, stamp(flip.At), or(line(flip.By), "somebody"), or(report.Plain(flip.Reason), "no reason given"))
	}
	if !s.Swept.IsZero() {
		fmt.Fprintf(&b, "what was before was removed at %s\n", stamp(s.Swept))
	}
	_, err := io.WriteString(c.out, b.String())
	return err
}

func or(s, absent string) string {
	if s == "" {
		return absent
	}
	return s
}

// phaseLine is a phase's progress with rate and time left.
func phaseLine(p *revision.PhaseStatus) string {
	var b strings.Builder
	of := "so far"
	if p.Planned {
		of = "shards"
		if p.Shards > 0 {
			of += fmt.Sprintf(", %.1f %%", 100*partOf(p))
		}
	}
	fmt.Fprintf(&b, "%-10s %d of %d %s", p.Phase, p.Done, p.Shards, of)
	for _, n := range []struct {
		what  string
		count int64
	}{{"events", p.Counts.Events}, {"merchants", p.Counts.Merchants}, {"unchanged", p.Counts.Unchanged}, {"rejected", p.Counts.Rejects}} {
		if n.count > 0 {
			fmt.Fprintf(&b, ", %d %s", n.count, n.what)
		}
	}
	switch {
	case p.EventsPerSecond > 0:
		fmt.Fprintf(&b, ", %.0f events/s", p.EventsPerSecond)
	case p.ShardsPerSecond > 0:
		fmt.Fprintf(&b, ", %.1f shards/s", p.ShardsPerSecond)
	}
	switch {
	case !p.Ended.IsZero():
		fmt.Fprintf(&b, ", took %s", seconds(p.Ended.Sub(p.Begun)))
	case p.SecondsLeft != nil:
		fmt.Fprintf(&b, ", %s left", seconds(time.Duration(*p.SecondsLeft*float64(time.Second))))
	}
	return b.String()
}

func seconds(d time.Duration) time.Duration { return d.Round(time.Second) }

func partOf(p *revision.PhaseStatus) float64 {
	if p.Bytes > 0 {
		return float64(p.DoneBytes) / float64(p.Bytes)
	}
	return float64(p.Done) / float64(p.Shards)
}

// underWay reports whether a job in this state goes on by itself.
func underWay(s revision.State) bool {
	switch s {
	case revision.Planned, revision.Replaying, revision.Building, revision.Comparing:
		return true
	}
	return false
}

// follow shows what changes until the job waits for somebody. Footfall may be
// away for a while: that ends nothing.
func (c *reprocessCommand) follow(ctx context.Context, rev access.Revision) error {
	if c.poll <= 0 {
		c.poll = time.Second
	}
	tick := time.NewTicker(c.poll)
	defer tick.Stop()
	last := ""
	say := func(s string) {
		if s != last {
			fmt.Fprintln(c.out, s)
			last = s
		}
	}
	for {
		s, err := c.statusOf(ctx, rev)
		switch {
		case err != nil && (ctx.Err() != nil || !isAway(err)):
			return err
		case err != nil:
			say("Footfall is away; asking again")
		case !underWay(s.State):
			if err := c.print(&s); err != nil {
				return err
			}
			if s.State == revision.Failed {
				return fmt.Errorf("revision %d has failed", rev)
			}
			return nil
		case len(s.Progress) == 0:
			say(fmt.Sprintf("%-10s it waits until the archive holds what arrived before %s", s.State, stamp(s.Cut)))
		default:
			say(phaseLine(&s.Progress[len(s.Progress)-1]))
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// comparisons are the media types of the formats of a comparison.
var comparisons = map[string]string{"table": "text/plain", "json": "application/json", "csv": "text/csv", "html": "text/html"}

func (c *reprocessCommand) compare(ctx context.Context, args []string) error {
	f := c.flags()
	format := f.String("format", "table", "table, json, csv or html")
	merchant := f.String("merchant", "", "every row of this merchant")
	rev, err := c.parse(f, args)
	if err != nil {
		return err
	}
	media, known := comparisons[*format]
	if !known {
		return fmt.Errorf("-format: expected table, json, csv or html, got %q", *format)
	}
	if rev, err = c.newest(ctx, rev); err != nil {
		return err
	}
	path := pathOf(rev) + "/compare"
	if *merchant != "" {
		path += "?" + url.Values{"merchant": {*merchant}}.Encode()
	}
	return c.operator.copy(ctx, path, media, c.out)
}

// change publishes, rolls back or discards.
func (c *reprocessCommand) change(ctx context.Context, args []string) error {
	var change revision.Change
	f := c.flags()
	f.StringVar(&change.By, "by", os.Getenv("USER"), "who does it, for the history")
	f.StringVar(&change.Reason, "reason", "", "why, for the history")
	if c.name == "publish" {
		f.BoolVar(&change.AcceptProblems, "accept-problems", false, "publish in spite of the job's problems")
	}
	rev, err := c.parse(f, args)
	if err != nil {
		return err
	}
	if rev == 0 {
		return fmt.Errorf("expected the revision, as list shows it")
	}
	var s revision.Status
	if err := c.operator.call(ctx, http.MethodPost, pathOf(rev)+"/"+c.name, nil, change, &s); err != nil {
		return err
	}
	return c.print(&s)
}
