package services

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// Redis is one Redis that serves alone.
type Redis struct{ *Server }

// RedisCluster is a cluster of three masters without replicas. With one down,
// a third of the keys cannot be reached and the cluster refuses all, as
// cluster-require-full-coverage says by default.
type RedisCluster struct{ Nodes []*Server }

const (
	clusterNodes = 3
	clusterSlots = 16384 // of any Redis cluster
)

// StartRedis starts a Redis on a free port with its data in opts.Dir and
// returns when it answers.
func StartRedis(ctx context.Context, opts Options) (*Redis, error) {
	s, err := redisServer(opts, "redis")
	if err != nil {
		return nil, err
	}
	s.probe = func(ctx context.Context) error { return redisAnswers(ctx, s.addr) }
	return &Redis{s}, startOrKill(ctx, s)
}

// StartRedisCluster starts three Redis on free ports with their data below
// opts.Dir, joins them, and returns when all three serve.
func StartRedisCluster(ctx context.Context, opts Options) (*RedisCluster, error) {
	c := &RedisCluster{}
	for i := range clusterNodes {
		name := fmt.Sprintf("redis-%d", i+1)
		own := opts
		own.Dir = filepath.Join(opts.Dir, name)
		s, err := redisServer(own, name, "--cluster-enabled", "yes", "--cluster-config-file", "nodes.conf", "--cluster-node-timeout", "2000")
		if err != nil {
			return nil, err
		}
		s.probe = func(ctx context.Context) error { return c.nodeReady(ctx, s) }
		c.Nodes = append(c.Nodes, s)
	}
	err := each(c.Nodes, (*Server).spawn)
	if err == nil {
		err = c.join(ctx)
	}
	if err == nil {
		err = ready(ctx, c.Nodes...)
	}
	if err != nil {
		return nil, errors.Join(err, c.Kill())
	}
	return c, nil
}

func redisServer(opts Options, name string, args ...string) (*Server, error) {
	if err := os.MkdirAll(opts.Dir, 0o700); err != nil {
		return nil, err
	}
	use := []string{"redis"}
	if len(args) > 0 {
		use = append(use, "bus")
	}
	ports, err := choosePorts(opts.Dir, use...)
	if err != nil {
		return nil, err
	}
	if len(args) > 0 {
		args = append(args, "--cluster-port", strconv.Itoa(ports["bus"]))
	}
	args = append([]string{"--port", strconv.Itoa(ports["redis"]), "--bind", "127.0.0.1", "--dir", opts.Dir, "--appendonly", "yes", "--save", ""}, args...)
	return &Server{name: name, addr: ports.address("redis"), dir: opts.Dir, opts: opts,
		program: program{path: opts.Software.RedisServer, name: "redis-server", args: args}}, nil
}

// Addrs are the addresses of all nodes.
func (c *RedisCluster) Addrs() []string {
	var addrs []string
	for _, n := range c.Nodes {
		addrs = append(addrs, n.addr)
	}
	return addrs
}

// Start starts all nodes and returns when the cluster serves.
func (c *RedisCluster) Start(ctx context.Context) error { return startAll(ctx, c.Nodes...) }

// Stop stops all nodes.
func (c *RedisCluster) Stop() error { return each(c.Nodes, (*Server).Stop) }

// Kill kills all nodes.
func (c *RedisCluster) Kill() error { return each(c.Nodes, (*Server).Kill) }

// nodeReady is a node's readiness: it answers and, while all nodes run, it
// knows of a working cluster.
func (c *RedisCluster) nodeReady(ctx context.Context, s *Server) error {
	if err := redisAnswers(ctx, s.addr); err != nil {
		return err
	}
	for _, n := range c.Nodes {
		if !n.Running() {
			return nil
		}
	}
	info, err := redisDo(ctx, s.addr, "CLUSTER INFO")
	if err != nil {
		return err
	}
	for _, line := range []string{"cluster_state:ok", "cluster_slots_ok:16384", fmt.Sprintf("cluster_known_nodes:%d", clusterNodes)} {
		if !strings.Contains(info, line+"\r\n") {
			return fmt.Errorf("the cluster is not ready, it lacks %s: %q", line, info)
		}
	}
	return nil
}

// join makes one cluster of new nodes: each gets its slots and an epoch of
// its own and meets the first. Nodes that were joined before stay as they are.
func (c *RedisCluster) join(ctx context.Context) error {
	first := c.Nodes[0]
	for i, n := range c.Nodes {
		if err := until(ctx, func(ctx context.Context) error {
			if !n.Running() {
				return n.Ready(ctx) // it says why
			}
			return redisAnswers(ctx, n.addr)
		}); err != nil {
			return err
		}
		info, err := redisDo(ctx, n.addr, "CLUSTER INFO")
		if err != nil {
			return err
		}
		if !strings.Contains(info, "cluster_slots_assigned:0\r\n") {
			return nil
		}
		commands := []string{
			fmt.Sprintf("CLUSTER ADDSLOTSRANGE %d %d", i*clusterSlots/clusterNodes, (i+1)*clusterSlots/clusterNodes-1),
			fmt.Sprintf("CLUSTER SET-CONFIG-EPOCH %d", i+1),
		}
		for _, command := range commands {
			if _, err := redisDo(ctx, n.addr, command); err != nil {
				return fmt.Errorf("cannot join %s: %w", n.name, err)
			}
		}
	}
	host, port, err := net.SplitHostPort(first.addr)
	if err != nil {
		return err
	}
	bus := first.program.args[len(first.program.args)-1]
	for _, n := range c.Nodes[1:] {
		if _, err := redisDo(ctx, n.addr, fmt.Sprintf("CLUSTER MEET %s %s %s", host, port, bus)); err != nil {
			return fmt.Errorf("cannot join %s: %w", n.name, err)
		}
	}
	return nil
}

// redisAnswers asks whether a Redis has loaded its data.
func redisAnswers(ctx context.Context, addr string) error {
	_, err := redisDo(ctx, addr, "PING")
	return err
}

// redisDo sends one command, in the form that is meant for people with
// telnet, and reads the status or the text that it answers.
func redisDo(ctx context.Context, addr, command string) (string, error) {
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", addr)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	if deadline, ok := ctx.Deadline(); ok {
		if err := conn.SetDeadline(deadline); err != nil {
			return "", err
		}
	}
	if _, err := io.WriteString(conn, command+"\r\n"); err != nil {
		return "", err
	}
	r := bufio.NewReader(conn)
	line, err := r.ReadString('\n')
	if err != nil {
		return "", err
	}
	line = strings.TrimSuffix(line, "\r\n")
	switch {
	case strings.HasPrefix(line, "+"):
		return line[1:], nil
	case strings.HasPrefix(line, "$"):
		n, err := strconv.Atoi(line[1:])
		if err != nil || n < 0 {
			return "", fmt.Errorf("%s: unexpected answer %q", command, line)
		}
		text := make([]byte, n)
		_, err = io.ReadFull(r, text)
		return string(text), err
	default: // -LOADING, -ERR and so on
		return "", fmt.Errorf("%s: %s", command, strings.TrimPrefix(line, "-"))
	}
}
