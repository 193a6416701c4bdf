package services

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strconv"
)

// Ports are chosen below the range that systems take the ports of outgoing
// connections from (32768 up on Linux, 49152 up elsewhere): a server that is
// down for a while finds its port free when it is started again.
const (
	firstPort = 20000
	lastPort  = 32000
	portTries = 1000
)

// ports are the ports of one server by what they are for. They are kept in
// its data folder, for some servers store their own address in their data.
type ports map[string]int

// portFile is where a data folder keeps its ports.
const portFile = "ports.json"

// choosePorts gives each name a free loopback port, the same as last time
// where the folder was used before. This process holds them until it ends.
func choosePorts(dir string, names ...string) (ports, error) {
	chosen := ports{}
	path := filepath.Join(dir, portFile)
	switch kept, err := os.ReadFile(path); {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return nil, err
	default:
		if err := json.Unmarshal(kept, &chosen); err != nil {
			return nil, fmt.Errorf("cannot read %q: %w", path, err)
		}
		for _, name := range names {
			if err := hold(chosen[name]); err != nil {
				return nil, fmt.Errorf("cannot use the port that %q keeps for %s: %w", path, name, err)
			}
		}
		return chosen, nil
	}
	for _, name := range names {
		port, err := freePort()
		if err != nil {
			return nil, err
		}
		chosen[name] = port
	}
	kept, err := json.Marshal(chosen)
	if err != nil {
		return nil, err
	}
	return chosen, writeFile(path, kept)
}

// address is the loopback address of the port with that name.
func (p ports) address(name string) string {
	return net.JoinHostPort("127.0.0.1", strconv.Itoa(p[name]))
}

func freePort() (int, error) {
	for range portTries {
		port := firstPort + rand.IntN(lastPort-firstPort)
		if hold(port) == nil {
			return port, nil
		}
	}
	return 0, fmt.Errorf("cannot find a free port from %d to %d", firstPort, lastPort)
}

// hold keeps a port from other users of this package until this process ends,
// also while its server is down, and checks that nobody listens on it.
func hold(port int) error {
	if err := lockPort(port); err != nil {
		return fmt.Errorf("port %d is taken: %w", port, err)
	}
	l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
	if err != nil {
		return err
	}
	return l.Close()
}

// writeFile writes a file whole or not at all.
func writeFile(path string, data []byte) error {
	tmp, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-")
	if err != nil {
		return err
	}
	defer os.Remove(tmp.Name()) // fails after the rename, as it should
	_, err = tmp.Write(data)
	if err := errors.Join(err, tmp.Close()); err != nil {
		return fmt.Errorf("cannot write %q: %w", path, err)
	}
	return os.Rename(tmp.Name(), path)
}
