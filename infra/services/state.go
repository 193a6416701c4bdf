package services

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"sync"
	"syscall"
	"time"
)

// Process is a server's process as others can find it again.
type Process struct {
	Name string `json:"name"`
	PID  int    `json:"pid"`
	// Identity tells the process from a later one that got its pid.
	Identity string `json:"identity"`
	Addr     string `json:"addr"`
	Log      string `json:"log"`
}

// Running says whether it is still that very process.
func (p Process) Running() (bool, error) {
	id, err := identity(p.PID)
	return err == nil && id != "" && id == p.Identity, err
}

// Memory is its resident memory, in bytes.
func (p Process) Memory() (int64, error) { return memory(p.PID) }

// State is the file of what was left running.
type State struct {
	Processes   []Process `json:"processes"`
	Environment []Setting `json:"environment"`

	mu   sync.Mutex
	path string
}

// OpenState reads a state file. One that does not exist is empty.
func OpenState(path string) (*State, error) {
	s := &State{path: path}
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return s, nil
	}
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(data, s); err != nil {
		return nil, fmt.Errorf("cannot read state %q: %w", path, err)
	}
	return s, nil
}

// Add records a process at once, so that it can be stopped whatever comes next.
func (s *State) Add(p Process) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.Processes = append(s.Processes, p)
	return s.write()
}

// Set records how tests find the servers.
func (s *State) Set(env []Setting) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.Environment = env
	return s.write()
}

func (s *State) write() error {
	data, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return err
	}
	return writeFile(s.path, append(data, '\n'))
}

// Stop stops the processes that are still those that were started, the last
// one first, and removes the file when none is left. What does not stop in
// time is killed.
func (s *State) Stop() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var errs []error
	for _, p := range slices.Backward(s.Processes) {
		if err := p.stop(stopGrace); err != nil {
			errs = append(errs, fmt.Errorf("cannot stop %s, process %d: %w", p.Name, p.PID, err))
		}
	}
	if len(errs) > 0 {
		return errors.Join(errs...)
	}
	s.Processes, s.Environment = nil, nil
	if err := os.Remove(s.path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

func (p Process) stop(grace time.Duration) error {
	running, err := p.Running()
	if err != nil || !running {
		return err
	}
	// Two signals: a process that somebody has paused does not see the first.
	for _, sig := range []syscall.Signal{syscall.SIGTERM, syscall.SIGCONT} {
		if err := syscall.Kill(p.PID, sig); err != nil && !errors.Is(err, syscall.ESRCH) {
			return err
		}
	}
	// It is no child of ours, so its end can only be looked for.
	pause := time.NewTicker(probeEvery)
	defer pause.Stop()
	killAt := time.NewTimer(grace)
	defer killAt.Stop()
	for {
		if running, err := p.Running(); err != nil || !running {
			return err
		}
		select {
		case <-pause.C:
		case <-killAt.C:
			if err := syscall.Kill(p.PID, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
				return err
			}
		}
	}
}
