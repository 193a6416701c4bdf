package services

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// attached puts a child into a process group of its own, so that a Ctrl-C
// reaches only us and we stop it in order, and ends it when we end.
func attached() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}

// detached lets a child live on after us and after our terminal.
func detached() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setsid: true} }

// withUs ends a command that is to see our terminal's signals with us.
func withUs() *syscall.SysProcAttr { return &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM} }

// identity tells a process from a later one with the same pid: the boot and
// the instant in it at which the process started. It is empty when there is
// no such process, or only what is left of one that nobody waited for.
func identity(pid int) (string, error) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ESRCH) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	fields := afterCommand(stat)
	if len(fields) < 20 {
		return "", fmt.Errorf("cannot read the state of process %d: %q", pid, stat)
	}
	if fields[0] == "Z" || fields[0] == "X" {
		return "", nil
	}
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return "", err
	}
	return strings.TrimSpace(string(boot)) + "/" + fields[19], nil
}

// afterCommand are the fields of a stat file from the state on (field 3 of
// proc(5); the start in ticks since the boot is field 22). The command before
// it, in parentheses, may hold anything.
func afterCommand(stat []byte) []string {
	return strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
}

// stopped says whether every thread of a process stands still.
func stopped(pid int) (bool, error) {
	threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", pid))
	if err != nil {
		return false, err
	}
	for _, path := range threads {
		stat, err := os.ReadFile(path)
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ESRCH) {
			continue // a thread that has ended
		}
		if err != nil {
			return false, err
		}
		if f := afterCommand(stat); len(f) == 0 || f[0] != "T" && f[0] != "t" {
			return false, nil
		}
	}
	return len(threads) > 0, nil
}

// memory is the resident memory of a process, in bytes.
func memory(pid int) (int64, error) {
	statm, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", pid))
	if err != nil {
		return 0, err
	}
	fields := strings.Fields(string(statm))
	if len(fields) < 2 {
		return 0, fmt.Errorf("cannot read the memory of process %d: %q", pid, statm)
	}
	pages, err := strconv.ParseInt(fields[1], 10, 64)
	return pages * int64(os.Getpagesize()), err
}

// lockPort takes the machine-wide lock of a port. Nothing unlocks it: the
// descriptor is closed when this process ends.
func lockPort(port int) error {
	dir := filepath.Join(os.TempDir(), fmt.Sprintf("footfall-ports-%d", os.Getuid()))
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	_, err := lockFile(filepath.Join(dir, strconv.Itoa(port)), syscall.LOCK_NB)
	return err
}

// lockFile takes a file's lock, which the returned function gives back.
func lockFile(path string, flags int) (unlock func(), err error) {
	fd, err := syscall.Open(path, syscall.O_CREAT|syscall.O_RDWR|syscall.O_CLOEXEC, 0o600)
	if err != nil {
		return nil, fmt.Errorf("cannot open lock %q: %w", path, err)
	}
	for {
		switch err := syscall.Flock(fd, syscall.LOCK_EX|flags); {
		case err == nil:
			return func() { _ = syscall.Close(fd) }, nil
		case !errors.Is(err, syscall.EINTR):
			_ = syscall.Close(fd)
			return nil, fmt.Errorf("cannot lock %q: %w", path, err)
		}
	}
}
