package cluster

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"runtime"
	"sync"
	"syscall"
	"time"
)

const (
	// againAfter is the pause before a process that ended by itself is started
	// again; it doubles up to againMost while it does not last settled.
	againAfter = 500 * time.Millisecond
	againMost  = 10 * time.Second
	settled    = 10 * time.Second
)

// Unit is one process that is kept running, as a cluster keeps a pod: where it
// ends by itself, or is killed, it is started again.
type Unit struct {
	Name    string
	Log     string // file of its output
	command []string
	environ []string
	log     *slog.Logger

	mu      sync.Mutex
	process *os.Process   // nil while it does not run
	ended   chan struct{} // closed when process has ended
	wanted  bool
	pause   time.Duration
	timer   *time.Timer // until it is started again
}

func newUnit(name, logFile string, command, environ []string, log *slog.Logger) *Unit {
	return &Unit{Name: name, Log: logFile, command: command, environ: environ, log: log, pause: againAfter}
}

// Start starts the process; whether it is ready, the balancer finds out.
func (u *Unit) Start() error {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.wanted = true
	if u.process != nil {
		return nil
	}
	return u.start()
}

// start is called with the lock held.
func (u *Unit) start() error {
	out, err := os.OpenFile(u.Log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("cannot open the log of %s: %w", u.Name, err)
	}
	defer out.Close() // the child has its own descriptor
	cmd := exec.Command(u.command[0], u.command[1:]...)
	cmd.Env, cmd.Stdout, cmd.Stderr, cmd.SysProcAttr = u.environ, out, out, dieWithUs()
	started, ended, began := make(chan error), make(chan struct{}), time.Now()
	go func() {
		// Linux ends a child with the thread that started it, so the thread
		// stays as long as the child.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err != nil {
			return
		}
		err = cmd.Wait()
		u.mu.Lock()
		defer u.mu.Unlock()
		u.process = nil
		close(ended)
		if !u.wanted {
			return
		}
		if time.Since(began) >= settled {
			u.pause = againAfter
		}
		u.log.Warn("process ended; starting it again", "process", u.Name, "after", u.pause, "error", err)
		u.timer = time.AfterFunc(u.pause, u.again)
		u.pause = min(2*u.pause, againMost)
	}()
	if err := <-started; err != nil {
		return fmt.Errorf("cannot start %s: %w", u.Name, err)
	}
	u.process, u.ended = cmd.Process, ended
	return nil
}

func (u *Unit) again() {
	u.mu.Lock()
	defer u.mu.Unlock()
	if !u.wanted || u.process != nil {
		return
	}
	if err := u.start(); err != nil {
		u.log.Error("process is not started again", "process", u.Name, "error", err)
		u.timer = time.AfterFunc(againMost, u.again)
	}
}

// Kill ends the process with SIGKILL, as a crash does; it is started again.
func (u *Unit) Kill() error { return u.kill(true) }

// Down is Kill without a new start, until Start.
func (u *Unit) Down() error { return u.kill(false) }

func (u *Unit) kill(wanted bool) error {
	u.mu.Lock()
	u.wanted = wanted
	process, ended := u.process, u.ended
	u.mu.Unlock()
	if process == nil {
		return fmt.Errorf("cannot kill %s: it does not run", u.Name)
	}
	if err := process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("cannot kill %s: %w", u.Name, err)
	}
	<-ended
	return nil
}

// Stop asks the process to end, waits, and where ctx ends first kills it.
func (u *Unit) Stop(ctx context.Context) error {
	u.mu.Lock()
	u.wanted = false
	if u.timer != nil {
		u.timer.Stop()
	}
	process, ended := u.process, u.ended
	u.mu.Unlock()
	if process == nil {
		return nil
	}
	if err := process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("cannot stop %s: %w", u.Name, err)
	}
	select {
	case <-ended:
		return nil
	case <-ctx.Done():
		_ = process.Kill() // it has ended if that fails
		<-ended
		return fmt.Errorf("%s did not stop in time and was killed: %w", u.Name, ctx.Err())
	}
}

// PID is the process's number; 0 while it does not run.
func (u *Unit) PID() int {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.process == nil {
		return 0
	}
	return u.process.Pid
}
