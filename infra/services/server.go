package services

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"
)

const (
	// startTimeout is for a machine on which much else runs.
	startTimeout = 2 * time.Minute
	// stopGrace is how long a server may take to stop before it is killed.
	stopGrace  = 30 * time.Second
	probeEvery = 20 * time.Millisecond
	probeLimit = 2 * time.Second
	// logTail is how much of its log an error shows of a server that did not start.
	logTail = 4 << 10
)

// Options say how servers are started.
type Options struct {
	Software *Software // what Fetch or Cached found
	Dir      string    // the folder for data and logs, one per server
	Detach   bool      // leave the servers up when this process ends
	// Warm lets Java compile for speed, as a production server does. Without,
	// a start costs half the CPU time, and a long run more: set it to measure.
	Warm bool
	// Started, where set, hears of each process before it is ready. One that
	// it refuses is killed.
	Started func(Process) error
}

// jvm are the options of a Java server of that heap.
func (o *Options) jvm(heap string) []string {
	args := []string{"-Xmx" + heap, "-XX:+UseSerialGC"}
	if !o.Warm {
		args = append(args, "-XX:TieredStopAtLevel=1")
	}
	return args
}

// program is what a server runs.
type program struct {
	path string
	args []string
	name string // its argv[0], where that is not path
}

// Server is one server process. It keeps its port and its data over Stop,
// Kill and Start. Its methods may be called from several goroutines.
type Server struct {
	name    string
	addr    string
	dir     string
	program program
	probe   func(context.Context) error // nil: it answers and does its work
	opts    Options

	mu  sync.Mutex
	run *running // nil: not running
}

// running is one life of a server's process.
type running struct {
	process *os.Process
	done    chan struct{} // closed when the process has ended
	err     error         // how, once done is closed
}

// Name is what the server is called in messages, as "namenode".
func (s *Server) Name() string { return s.name }

// Addr is where it listens, as host:port.
func (s *Server) Addr() string { return s.addr }

// Dir is the folder of its data.
func (s *Server) Dir() string { return s.dir }

// Log is the file that holds the output of all its lives.
func (s *Server) Log() string { return filepath.Join(s.dir, s.name+".log") }

// PID is the process's id, and 0 when it is not running.
func (s *Server) PID() int {
	if r := s.life(); r != nil {
		return r.process.Pid
	}
	return 0
}

// Memory is the resident memory of the process, in bytes.
func (s *Server) Memory() (int64, error) {
	r := s.life()
	if r == nil {
		return 0, s.errNotRunning("measure")
	}
	return memory(r.process.Pid)
}

// Running says whether the process has been started and has not ended.
func (s *Server) Running() bool { return s.life() != nil }

func (s *Server) life() *running {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.run == nil {
		return nil
	}
	select {
	case <-s.run.done:
		return nil
	default:
		return s.run
	}
}

func (s *Server) errNotRunning(verb string) error {
	return fmt.Errorf("cannot %s %s: it is not running", verb, s.name)
}

// Start starts the server and returns when it is ready, after two minutes at
// the latest. It is an error if it runs already.
func (s *Server) Start(ctx context.Context) error {
	if err := s.spawn(); err != nil {
		return err
	}
	s.mu.Lock()
	r := s.run // not life: one that has ended already has something to say
	s.mu.Unlock()
	return s.await(ctx, r)
}

// Ready waits until the server is ready. One that ends before, or is not
// ready in time, is an error that shows the end of the log.
func (s *Server) Ready(ctx context.Context) error {
	r := s.life()
	if r == nil {
		return errors.Join(s.errNotRunning("use"), s.tail())
	}
	return s.await(ctx, r)
}

func (s *Server) await(ctx context.Context, r *running) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	pause := time.NewTicker(probeEvery)
	defer pause.Stop()
	for {
		err := s.try(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-r.done:
			return fmt.Errorf("%s ended before it was ready: %w%w", s.name, r.err, s.tail())
		case <-ctx.Done():
			return fmt.Errorf("%s did not become ready: %w (%w)%w", s.name, err, context.Cause(ctx), s.tail())
		case <-pause.C:
		}
	}
}

func (s *Server) try(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, probeLimit)
	defer cancel()
	return s.probe(ctx)
}

// spawn starts the process without waiting for anything.
func (s *Server) spawn() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.run != nil {
		select {
		case <-s.run.done:
		default:
			return fmt.Errorf("cannot start %s: it is running, as process %d", s.name, s.run.process.Pid)
		}
	}
	cmd, log, err := s.command(s.program)
	if err != nil {
		return err
	}
	defer log.Close() // the child has its own descriptor
	r := &running{done: make(chan struct{})}
	started, ended := make(chan error, 1), make(chan error, 1)
	go func() {
		start(cmd, started, ended)
		select {
		case err := <-ended:
			r.err = cmp.Or(err, errors.New("exit status 0"))
			close(r.done)
		default: // not even started
		}
	}()
	if err := <-started; err != nil {
		return fmt.Errorf("cannot start %s: %w", s.name, err)
	}
	r.process = cmd.Process
	s.run = r
	if s.opts.Started == nil {
		return nil
	}
	err = s.tell(r)
	if err != nil {
		_ = r.signal(syscall.SIGKILL)
		<-r.done
	}
	return err
}

// tell says what was started.
func (s *Server) tell(r *running) error {
	id, err := identity(r.process.Pid)
	if err != nil {
		return err
	}
	return s.opts.Started(Process{Name: s.name, PID: r.process.Pid, Identity: id, Addr: s.addr, Log: s.Log()})
}

// command makes the command of a program, which writes to the server's log.
func (s *Server) command(p program) (*exec.Cmd, *os.File, error) {
	log, err := os.OpenFile(s.Log(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, nil, fmt.Errorf("cannot open the log of %s: %w", s.name, err)
	}
	cmd := exec.Command(p.path, p.args...)
	if p.name != "" {
		cmd.Args[0] = p.name
	}
	cmd.Dir, cmd.Stdout, cmd.Stderr = s.dir, log, log
	cmd.SysProcAttr = attached()
	if s.opts.Detach {
		cmd.SysProcAttr = detached()
	}
	return cmd, log, nil
}

// once runs a program that prepares the server's data, and waits for it.
func (s *Server) once(ctx context.Context, what string, p program) error {
	cmd, log, err := s.command(p)
	if err != nil {
		return err
	}
	defer log.Close()
	cmd.SysProcAttr = attached() // it is never left behind
	// As in spawn: the thread must stay until the child has ended.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("cannot %s: %w", what, err)
	}
	stop := context.AfterFunc(ctx, func() { _ = cmd.Process.Kill() })
	defer stop()
	if err := cmd.Wait(); err != nil {
		return fmt.Errorf("cannot %s: %w%w", what, errors.Join(context.Cause(ctx), err), s.tail())
	}
	return nil
}

// tail is an error that shows the end of the log and where the rest is.
func (s *Server) tail() error {
	f, err := os.Open(s.Log())
	if err != nil {
		return err
	}
	defer f.Close()
	if size, err := f.Seek(0, io.SeekEnd); err == nil {
		_, _ = f.Seek(max(0, size-logTail), io.SeekStart)
	}
	end, err := io.ReadAll(f)
	if err != nil {
		return err
	}
	return fmt.Errorf("\n--- the end of %s:\n%s", s.Log(), strings.TrimSpace(string(end)))
}

// Stop asks the process to end, as an operator would, and waits. After half a
// minute it is killed, which is an error. A server that does not run is stopped.
func (s *Server) Stop() error {
	r := s.life()
	if r == nil {
		return nil
	}
	if err := r.signal(syscall.SIGTERM, syscall.SIGCONT); err != nil {
		return fmt.Errorf("cannot stop %s: %w", s.name, err)
	}
	grace := time.NewTimer(stopGrace)
	defer grace.Stop()
	select {
	case <-r.done:
		return nil
	case <-grace.C:
		return errors.Join(fmt.Errorf("%s did not stop within %v and was killed", s.name, stopGrace), s.Kill())
	}
}

// Kill ends the process with SIGKILL, as a crash does, and waits. A server
// that does not run is killed.
func (s *Server) Kill() error {
	r := s.life()
	if r == nil {
		return nil
	}
	if err := r.signal(syscall.SIGKILL); err != nil {
		return fmt.Errorf("cannot kill %s: %w", s.name, err)
	}
	<-r.done
	return nil
}

// Pause stops the process in its tracks (SIGSTOP): it keeps its connections
// and answers nothing, as a machine that swaps or a broken network does. It
// returns when each of its threads stands still, which on a busy machine is some
// time after the signal.
func (s *Server) Pause() error {
	if err := s.send("pause", syscall.SIGSTOP); err != nil {
		return err
	}
	r := s.life()
	if r == nil {
		return s.errNotRunning("pause")
	}
	limit := time.NewTimer(stopGrace)
	defer limit.Stop()
	look := time.NewTicker(time.Millisecond)
	defer look.Stop()
	for {
		if still, err := stopped(r.process.Pid); still || err != nil {
			return err
		}
		select {
		case <-r.done:
			return s.errNotRunning("pause")
		case <-limit.C:
			return fmt.Errorf("cannot pause %s: it still runs after %v", s.name, stopGrace)
		case <-look.C:
		}
	}
}

// Resume lets a paused process go on.
func (s *Server) Resume() error { return s.send("resume", syscall.SIGCONT) }

func (s *Server) send(verb string, sig syscall.Signal) error {
	r := s.life()
	if r == nil {
		return s.errNotRunning(verb)
	}
	if err := r.signal(sig); err != nil {
		return fmt.Errorf("cannot %s %s: %w", verb, s.name, err)
	}
	return nil
}

// signal sends signals to the process; one that has just ended needs none.
func (r *running) signal(signals ...os.Signal) error {
	for _, sig := range signals {
		if err := r.process.Signal(sig); err != nil && !errors.Is(err, os.ErrProcessDone) {
			return err
		}
	}
	return nil
}

// StartWithUs starts a command that ends when we end and sends on done how it
// ended. It gets the signals of our terminal, as servers do not.
func StartWithUs(cmd *exec.Cmd, done chan<- error) error {
	cmd.SysProcAttr = withUs()
	started := make(chan error, 1)
	go start(cmd, started, done)
	return <-started
}

// start starts a command and waits for its end on one thread, for Linux ends
// a child that is to end with us when the thread that started it ends.
func start(cmd *exec.Cmd, started, done chan<- error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	err := cmd.Start()
	started <- err
	if err == nil {
		done <- cmd.Wait()
	}
}
