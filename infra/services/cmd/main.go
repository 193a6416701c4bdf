// Command services runs real Kafka, HDFS, Redis and the MongoDB stand-in for
// tests on this machine.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"text/tabwriter"
	"time"

	"golang.org/x/term"

	"github.com/footfall/footfall/infra/services"
)

const usage = `Real servers for tests, without containers.

  services [-only kafka,hdfs,redis,redis-cluster,mongodb] COMMAND

  fetch          bring what the servers need into the cache, once
  up             start servers and leave them running
  env            print the variables by which tests find what is up
  status         print what is up
  down           stop what up has started, and remove its data
  run -- CMD…    start servers, run CMD with the variables set, stop them;
                 the exit status is CMD's
  table PKG…     run go test on packages and print what each adapter passed

Downloads are kept in bin/services, or where FOOTFALL_SERVICES_CACHE says.
A FOOTFALL_TEST_… variable that is set names a server of yours: it is used and
none started in its stead.

`

func main() {
	code, err := run(os.Args[1:], os.Stdout, os.Stderr)
	if err != nil {
		fmt.Fprintln(os.Stderr, "services:", err)
	}
	os.Exit(code)
}

// tool is one call of the command.
type tool struct {
	out, progress io.Writer
	kinds         []services.Kind
	cache         string
	dir           string // of what up starts
}

func run(args []string, out, progress io.Writer) (int, error) {
	flags := flag.NewFlagSet("services", flag.ContinueOnError)
	flags.SetOutput(progress)
	flags.Usage = func() {
		fmt.Fprint(progress, usage)
		flags.PrintDefaults()
	}
	only := flags.String("only", "", "the servers meant, separated by commas (default all)")
	dir := flags.String("dir", "", "the folder of what up starts (default bin/services-up in the checkout)")
	if err := flags.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return 0, nil
		}
		return 2, nil // flag has said it
	}
	kinds, err := services.ParseKinds(*only)
	if err != nil {
		return 2, err
	}
	root, err := services.Checkout()
	if err != nil {
		return 1, err
	}
	cache, err := services.CacheDir()
	if err != nil {
		return 1, err
	}
	t := tool{out: out, progress: progress, kinds: kinds, cache: cache, dir: *dir}
	if t.dir == "" {
		t.dir = filepath.Join(root, "bin", "services-up")
	}
	if t.dir, err = filepath.Abs(t.dir); err != nil {
		return 1, err
	}
	rest := flags.Args()
	if len(rest) == 0 {
		flags.Usage()
		return 2, nil
	}
	command, rest := rest[0], rest[1:]
	if command == "run" {
		if len(rest) > 0 && rest[0] == "--" {
			rest = rest[1:]
		}
		if len(rest) == 0 {
			return 2, errors.New("run what? services run -- COMMAND")
		}
		return t.run(rest)
	}
	if command == "table" {
		return table(rest, out, progress)
	}
	if len(rest) > 0 {
		return 2, fmt.Errorf("%s takes no arguments, got %q", command, rest)
	}
	commands := map[string]func() error{"fetch": t.fetch, "up": t.up, "env": t.env, "status": t.status, "down": t.down}
	do, ok := commands[command]
	if !ok {
		flags.Usage()
		return 2, nil
	}
	if err := do(); err != nil {
		return 1, err
	}
	return 0, nil
}

func (t tool) state() (*services.State, error) {
	return services.OpenState(filepath.Join(t.dir, "state.json"))
}

// interruptible is a context that Ctrl-C ends.
func interruptible() (context.Context, context.CancelFunc) {
	return signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
}

func (t tool) fetch() error {
	ctx, cancel := interruptible()
	defer cancel()
	_, err := services.Fetch(ctx, t.cache, t.progress, t.kinds...)
	return err
}

func (t tool) up() (err error) {
	ctx, cancel := interruptible()
	defer cancel()
	state, err := t.state()
	if err != nil {
		return err
	}
	for _, p := range state.Processes {
		running, err := p.Running()
		if err != nil {
			return err
		}
		if !running {
			return fmt.Errorf("%s is up no more, its log is %s: take the others down first", p.Name, p.Log)
		}
	}
	if len(state.Processes) > 0 {
		fmt.Fprintln(t.progress, "services: up already")
		return t.env()
	}
	given, start, err := services.Given(ctx, os.Getenv, t.kinds)
	if err != nil {
		return err
	}
	for _, g := range given {
		fmt.Fprintf(t.progress, "services: %s is set, so that server is used\n", g.Name)
	}
	software, err := services.Fetch(ctx, t.cache, t.progress, start...)
	if err != nil {
		return err
	}
	// What is left of an earlier time is of no use to anybody.
	if err := os.RemoveAll(t.dir); err != nil {
		return err
	}
	if err := os.MkdirAll(t.dir, 0o755); err != nil {
		return err
	}
	begin := time.Now()
	servers, err := services.Start(ctx, services.Options{Software: software, Dir: t.dir, Detach: true, Started: state.Add}, start...)
	if err != nil {
		return errors.Join(err, state.Stop())
	}
	if err := state.Set(append(given, servers.Environment()...)); err != nil {
		return errors.Join(err, state.Stop())
	}
	fmt.Fprintf(t.progress, "services: up in %.1f s; make services-down stops them\n", time.Since(begin).Seconds())
	return t.env()
}

func (t tool) env() error {
	state, err := t.state()
	if err != nil {
		return err
	}
	if len(state.Environment) == 0 {
		return errors.New("nothing is up")
	}
	for _, e := range state.Environment {
		fmt.Fprintf(t.out, "export %s=%s\n", e.Name, quote(e.Value))
	}
	return nil
}

// quote makes a shell take a value as it is.
func quote(value string) string {
	return "'" + strings.ReplaceAll(value, "'", `'\''`) + "'"
}

func (t tool) status() error {
	state, err := t.state()
	if err != nil {
		return err
	}
	w := tabwriter.NewWriter(t.out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "SERVER\tPID\tADDRESS\tMEMORY\tLOG")
	for _, p := range state.Processes {
		memory := "gone"
		running, err := p.Running()
		if err != nil {
			return err
		}
		if running {
			bytes, err := p.Memory()
			if err != nil {
				return err
			}
			memory = fmt.Sprintf("%d MB", bytes>>20)
		}
		fmt.Fprintf(w, "%s\t%d\t%s\t%s\t%s\n", p.Name, p.PID, p.Addr, memory, p.Log)
	}
	return w.Flush()
}

func (t tool) down() error {
	state, err := t.state()
	if err != nil {
		return err
	}
	n := len(state.Processes)
	if err := state.Stop(); err != nil {
		return err
	}
	fmt.Fprintf(t.progress, "services: %d processes down\n", n)
	return os.RemoveAll(t.dir)
}

// run starts servers, runs a command with them and stops them, also when we
// are interrupted: then the command is first, and we wait for its end.
func (t tool) run(args []string) (code int, err error) {
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer signal.Stop(signals)
	ctx, cancel := interruptible()
	defer cancel()
	given, start, err := services.Given(ctx, os.Getenv, t.kinds)
	if err != nil {
		return 1, err
	}
	software, err := services.Fetch(ctx, t.cache, t.progress, start...)
	if err != nil {
		return 1, err
	}
	dir, err := os.MkdirTemp("", "footfall-services-")
	if err != nil {
		return 1, err
	}
	begin := time.Now()
	servers, err := services.Start(ctx, services.Options{Software: software, Dir: dir}, start...)
	if err != nil {
		return 1, fmt.Errorf("%w\nthe servers' folder is %s", err, dir)
	}
	defer func() {
		err = errors.Join(err, servers.Stop())
		if code != 0 || err != nil {
			code = max(code, 1)
			err = errors.Join(err, keepLogs(dir))
			fmt.Fprintf(t.progress, "services: the servers' logs are in %s\n", dir)
			return
		}
		err = os.RemoveAll(dir)
	}()
	fmt.Fprintf(t.progress, "services: up in %.1f s\n", time.Since(begin).Seconds())

	cmd := exec.Command(args[0], args[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, t.out, t.progress
	cmd.Env = append(os.Environ(), services.CacheVariable+"="+t.cache)
	for _, e := range append(given, servers.Environment()...) {
		cmd.Env = append(cmd.Env, e.String())
	}
	if ctx.Err() != nil {
		return 1, errors.New("interrupted")
	}
	done := make(chan error, 1)
	if err := services.StartWithUs(cmd, done); err != nil {
		return 1, fmt.Errorf("cannot run %q: %w", args[0], err)
	}
	for {
		select {
		case sig := <-signals:
			// A terminal has sent it to the command too.
			if sig == os.Interrupt && term.IsTerminal(int(os.Stdin.Fd())) {
				continue
			}
			if err := cmd.Process.Signal(sig); err != nil && !errors.Is(err, os.ErrProcessDone) {
				return 1, err
			}
		case err := <-done:
			var exit *exec.ExitError
			if !errors.As(err, &exit) {
				return 0, err
			}
			if status, ok := exit.Sys().(syscall.WaitStatus); ok && status.Signaled() {
				return 128 + int(status.Signal()), nil // as a shell says it
			}
			return exit.ExitCode(), nil
		}
	}
}

// keepLogs removes all files but logs from a folder.
func keepLogs(dir string) error {
	return filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || filepath.Ext(path) == ".log" {
			return err
		}
		return os.Remove(path)
	})
}
