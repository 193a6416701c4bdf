//go:build !linux

package services

import (
	"errors"
	"syscall"
)

// errLinux is for what needs Linux: a child that ends with its parent, and
// the start time of a process.
var errLinux = errors.New("servers for tests can be run on Linux only")

func attached() *syscall.SysProcAttr { return nil }

func detached() *syscall.SysProcAttr { return nil }

func withUs() *syscall.SysProcAttr { return nil }

func identity(int) (string, error) { return "", errLinux }

func stopped(int) (bool, error) { return false, errLinux }

func memory(int) (int64, error) { return 0, errLinux }

func lockPort(int) error { return errLinux }

func lockFile(string, int) (func(), error) { return nil, errLinux }
