package cluster

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/footfall/footfall/infra/local"
	"github.com/footfall/footfall/infra/services"
	"github.com/footfall/footfall/shared/function"
)

// Functions are the functions that a cluster runs, in the order in which they
// are stopped: what takes events in first, what answers questions last.
func Functions() []string {
	return []string{"ingest", "archive", "etl", "summary", "report", "merchant", "reprocess"}
}

// dispatcher is the name of the process between them.
const dispatcher = "dispatch"

const (
	// startTimeout is for a machine on which much else runs.
	startTimeout = 2 * time.Minute
	// stopTimeout is longer than function.Config's Grace, so that a function
	// that overruns it says so itself.
	stopTimeout = 40 * time.Second
)

// Options say how a cluster is started.
type Options struct {
	Software  *services.Software // what the servers need
	Binaries  string             // folder of the programs that Build made
	Data      string             // folder for everything that it keeps
	Addr      string             // of the front; default: a free port
	Instances int                // of each function; default 2
	Admin     function.Secret    // default: the one kept in Data, else a new one
	Knative   *Knative           // delivers; default: our dispatcher does
	Post      bool               // functions publish by POST to the Brokers' URLs, not to Kafka
	// Environ, where set, gives further variables for a function's processes.
	Environ func(function string) []string
	Log     *slog.Logger
}

// Cluster is a running cluster.
type Cluster struct {
	Kafka      *services.Kafka
	MongoDB    *services.MongoDB
	Redis      *services.Redis
	HDFS       *services.HDFS
	Functions  map[string][]*Unit
	Dispatcher *Unit // nil where Knative delivers
	First      local.FirstMerchant

	options   Options
	more      []*Unit // dispatchers
	admin     function.Secret
	pools     map[string]*Pool
	front     *http.Server
	handler   http.Handler
	addr      net.Addr
	service   map[string]*http.Server // by function: where the dispatcher finds it
	urls      map[string]string       // of these
	brokers   http.Handler            // of /brokers/ at the front
	ingress   string                  // URL of the Brokers, without their names
	balance   context.CancelFunc
	stopTicks context.CancelFunc // nil where they are not ours to send
	running   sync.WaitGroup
}

// Build builds the programs of a cluster from the checkout into a folder.
func Build(ctx context.Context, checkout, binaries string) error {
	if err := os.MkdirAll(binaries, 0o755); err != nil {
		return err
	}
	programs := map[string]string{"footfall": "./infra/local/cmd"}
	for _, name := range Functions() {
		programs[name] = "./functions/" + name + "/cmd"
	}
	for _, name := range slices.Sorted(maps.Keys(programs)) {
		cmd := exec.CommandContext(ctx, "go", "build", "-ldflags=-s -w", "-o", filepath.Join(binaries, name), programs[name])
		cmd.Dir = checkout
		if said, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("cannot build %s: %w\n%s", programs[name], err, said)
		}
	}
	return nil
}

// Start starts servers, functions, dispatcher and balancer, and returns when
// every instance is ready. Where something fails, nothing stays.
func Start(ctx context.Context, o Options) (_ *Cluster, err error) {
	if o.Instances == 0 {
		o.Instances = 2
	}
	if o.Addr == "" {
		o.Addr = "127.0.0.1:0"
	}
	c := &Cluster{
		options: o, Functions: map[string][]*Unit{}, pools: map[string]*Pool{}, service: map[string]*http.Server{}, urls: map[string]string{},
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, c.Stop())
		}
	}()
	if err := os.MkdirAll(filepath.Join(o.Data, "logs"), 0o700); err != nil {
		return nil, err
	}
	if c.admin, err = local.KeptToken(o.Admin, o.Data); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	if err := c.startServers(ctx); err != nil {
		return nil, err
	}
	if err := c.ensureTopics(ctx); err != nil {
		return nil, err
	}
	if err := c.startProcesses(ctx); err != nil {
		return nil, err
	}
	for _, name := range slices.Sorted(maps.Keys(c.pools)) {
		if err := c.pools[name].Await(ctx, len(c.pools[name].instances)); err != nil {
			return nil, errors.Join(err, tail(c.processes(name)...))
		}
	}
	if o.Knative != nil {
		if err := c.wire(ctx); err != nil {
			return nil, err
		}
	}
	if err := c.openFront(ctx); err != nil {
		return nil, err
	}
	c.First, err = local.KeptFirst(ctx, o.Data, c.handler, c.admin)
	return c, err
}

// startServers starts the servers side by side.
func (c *Cluster) startServers(ctx context.Context) error {
	at := func(name string) services.Options {
		return services.Options{Software: c.options.Software, Dir: filepath.Join(c.options.Data, "servers", name)}
	}
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() (err error) { c.Kafka, err = services.StartKafka(ctx, at("kafka")); return err })
	g.Go(func() (err error) { c.MongoDB, err = services.StartMongoDB(ctx, at("mongodb")); return err })
	g.Go(func() (err error) { c.Redis, err = services.StartRedis(ctx, at("redis")); return err })
	g.Go(func() (err error) { c.HDFS, err = services.StartHDFS(ctx, at("hdfs")); return err })
	return g.Wait()
}

// ensureTopics makes the topics, as an operator does before the first start.
func (c *Cluster) ensureTopics(ctx context.Context) error {
	cmd := exec.CommandContext(ctx, c.Program("footfall"), "topics", "ensure", "-replication", "1")
	cmd.Env = append(environ(), function.Prefix+"KAFKA_BROKERS="+c.Kafka.Addr())
	if said, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("cannot make the topics: %w\n%s", err, said)
	}
	return nil
}

// startProcesses starts the balancers, the functions behind them, and the
// dispatcher.
func (c *Cluster) startProcesses(ctx context.Context) error {
	balancing, stop := context.WithCancel(context.WithoutCancel(ctx))
	c.balance = stop
	names := Functions()
	if c.options.Knative == nil {
		names = append(names, dispatcher)
	}
	// They name one another, so that every address is there first.
	listeners := map[string]net.Listener{}
	for _, name := range names {
		l, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
		if err != nil {
			return errors.Join(fmt.Errorf("cannot listen for %s: %w", name, err), closeAll(listeners))
		}
		listeners[name], c.urls[name] = l, "http://"+l.Addr().String()
	}
	if c.options.Knative == nil {
		c.ingress = c.urls[dispatcher] + "/brokers"
	} else if err := c.useKnative(); err != nil {
		return errors.Join(err, closeAll(listeners))
	}
	for _, name := range names {
		if err := c.startFunction(name); err != nil {
			return errors.Join(err, closeAll(listeners))
		}
		pool := c.pools[name]
		c.running.Go(func() { pool.Run(balancing) })
		c.serve(name, listeners[name])
		delete(listeners, name)
	}
	if c.options.Knative == nil {
		c.brokers = c.pools[dispatcher]
	}
	return nil
}

func closeAll(listeners map[string]net.Listener) error {
	var errs []error
	for _, l := range listeners {
		errs = append(errs, l.Close())
	}
	return errors.Join(errs...)
}

// startFunction starts the processes of a function, or the dispatcher's.
func (c *Cluster) startFunction(name string) error {
	if name == dispatcher {
		units, err := c.units(name, 1, c.dispatch(), append(c.variables(name), c.services()))
		if err != nil {
			return err
		}
		c.Dispatcher = units[0]
		return nil
	}
	units, err := c.units(name, c.options.Instances, []string{c.Program(name)}, c.variables(name))
	c.Functions[name] = units
	return err
}

func (c *Cluster) dispatch() []string { return []string{c.Program("footfall"), "dispatch"} }

// services tells a dispatcher where the functions are that Triggers name.
func (c *Cluster) services() string {
	var where []string
	for _, name := range slices.Sorted(maps.Keys(c.urls)) {
		if name != "report" && name != "merchant" && name != dispatcher {
			where = append(where, name+"="+c.urls[name])
		}
	}
	return "SERVICES=" + strings.Join(where, ",")
}

// AddDispatcher starts one more dispatcher, without a cron, which shares the
// work with the first, and returns when it is ready.
func (c *Cluster) AddDispatcher(ctx context.Context) (*Unit, error) {
	u, addr, err := c.unit(dispatcher, 2+len(c.more), c.dispatch(), append(c.variables(dispatcher), c.services(), "CRON=false"))
	if err != nil {
		return nil, err
	}
	c.more = append(c.more, u)
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	return u, awaitReady(ctx, u, &url.URL{Scheme: "http", Host: addr})
}

// awaitReady waits until a process runs and says that it is ready.
func awaitReady(ctx context.Context, u *Unit, at *url.URL) error {
	client := &http.Client{Timeout: probeTimeout, Transport: &http.Transport{DisableKeepAlives: true}}
	pause := time.NewTicker(10 * time.Millisecond)
	defer pause.Stop()
	for u.PID() == 0 || probe(ctx, client, at) != nil {
		select {
		case <-pause.C:
		case <-ctx.Done():
			return errors.Join(fmt.Errorf("%s does not become ready: %w", u.Name, ctx.Err()), tail(u))
		}
	}
	return nil
}

// units starts the processes of a function and makes its pool.
func (c *Cluster) units(name string, n int, command, variables []string) ([]*Unit, error) {
	var units []*Unit
	var urls []string
	for i := range n {
		u, addr, err := c.unit(name, i+1, command, variables)
		if err != nil {
			return units, err
		}
		units, urls = append(units, u), append(urls, "http://"+addr)
	}
	pool, err := NewPool(name, urls, c.options.Log)
	if err != nil {
		return units, err
	}
	c.pools[name] = pool
	return units, nil
}

// unit starts one process on a port of its own.
func (c *Cluster) unit(name string, n int, command, variables []string) (*Unit, string, error) {
	addr, err := freeAddr()
	if err != nil {
		return nil, "", err
	}
	env := environ()
	for _, v := range variables {
		env = append(env, function.Prefix+v)
	}
	env = append(env, function.Prefix+"ADDR="+addr)
	id := fmt.Sprintf("%s-%d", name, n)
	if name == "ingest" {
		env = append(env, function.Prefix+"INSTANCE="+id)
	}
	if c.options.Environ != nil {
		env = append(env, c.options.Environ(name)...)
	}
	u := newUnit(id, filepath.Join(c.options.Data, "logs", id+".log"), command, env, c.options.Log)
	return u, addr, u.Start()
}

// variables are those that a function's processes need, without our prefix.
func (c *Cluster) variables(name string) []string {
	var (
		mongo = "MONGODB_URI=" + c.MongoDB.URI()
		kafka = "KAFKA_BROKERS=" + c.Kafka.Addr()
		redis = "REDIS_ADDRS=" + c.Redis.Addr()
		hdfs  = "HDFS_NAMENODES=" + c.HDFS.Addr()
		admin = "ADMIN_TOKEN=" + c.admin.Reveal()

		batches, control = kafka, kafka // where they are published
	)
	if c.options.Post {
		batches, control = "BROKER_BATCHES_URL="+c.ingress+"/batches", "BROKER_CONTROL_URL="+c.ingress+"/control"
	}
	switch name {
	case "ingest":
		return []string{mongo, redis, batches, "TRUSTED_PROXIES=127.0.0.0/8"}
	case "archive":
		return []string{mongo, hdfs}
	case "etl":
		return []string{mongo}
	case "summary":
		return []string{mongo, redis, control}
	case "report":
		return []string{mongo, redis, admin}
	case "merchant":
		return []string{mongo, admin}
	case "reprocess":
		return []string{mongo, redis, hdfs, admin, batches, control}
	default:
		return []string{kafka, admin}
	}
}

// serve gives a function an address of its own, as it has in a cluster: event
// paths repeat from function to function, and the front serves none of them.
func (c *Cluster) serve(name string, l net.Listener) {
	server := c.server(c.pools[name])
	c.service[name] = server
	c.running.Go(func() { _ = server.Serve(l) })
}

func (c *Cluster) server(h http.Handler) *http.Server {
	return &http.Server{
		Handler: h, ReadHeaderTimeout: 10 * time.Second, IdleTimeout: 2 * time.Minute,
		ErrorLog: slog.NewLogLogger(c.options.Log.Handler(), slog.LevelDebug),
	}
}

// openFront opens the one port for people and senders.
func (c *Cluster) openFront(ctx context.Context) error {
	c.handler = front(c.pools, c.brokers)
	c.front = c.server(c.handler)
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", c.options.Addr)
	if err != nil {
		return fmt.Errorf("cannot listen on %q: %w", c.options.Addr, err)
	}
	c.addr = l.Addr()
	c.running.Go(func() { _ = c.front.Serve(l) })
	return os.WriteFile(filepath.Join(c.options.Data, "address"), []byte(c.addr.String()+"\n"), 0o644)
}

// URL is where the cluster answers.
func (c *Cluster) URL() string { return "http://" + c.addr.String() }

// AdminToken is the operator's token.
func (c *Cluster) AdminToken() string { return c.admin.Reveal() }

// Data is the folder of everything that it keeps.
func (c *Cluster) Data() string { return c.options.Data }

// PIDs are the processes of functions and dispatcher that run.
func (c *Cluster) PIDs() []int {
	var pids []int
	for _, name := range append(Functions(), dispatcher) {
		for _, u := range c.processes(name) {
			if pid := u.PID(); pid != 0 {
				pids = append(pids, pid)
			}
		}
	}
	return pids
}

// ServerPIDs are the processes of the servers, by name.
func (c *Cluster) ServerPIDs() map[string]int {
	return map[string]int{
		"Kafka": c.Kafka.PID(), "MongoDB's stand-in": c.MongoDB.PID(), "Redis": c.Redis.PID(),
		"NameNode": c.HDFS.NameNode.PID(), "DataNode": c.HDFS.DataNode.PID(),
	}
}

// Program is the path of one of the programs that Build made.
func (c *Cluster) Program(name string) string { return filepath.Join(c.options.Binaries, name) }

// processes are those behind a balancer.
func (c *Cluster) processes(name string) []*Unit {
	if name == dispatcher {
		return []*Unit{c.Dispatcher}
	}
	return c.Functions[name]
}

// AwaitBack waits until every process of a function runs, says itself that it
// is ready, and gets requests.
func (c *Cluster) AwaitBack(ctx context.Context, name string) error {
	units := c.processes(name)
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	for i, u := range units {
		if err := awaitReady(ctx, u, c.pools[name].instances[i].url); err != nil {
			return err
		}
	}
	return c.pools[name].Await(ctx, len(units))
}

// Stop stops all in the order of the flow: first what takes events in, then
// what they go through, last what everything stands on.
func (c *Cluster) Stop() error {
	ctx, cancel := context.WithTimeout(context.Background(), stopTimeout)
	defer cancel()
	var errs []error
	if c.front != nil {
		errs = append(errs, c.front.Shutdown(ctx))
	}
	if c.stopTicks != nil {
		c.stopTicks()
	}
	errs = append(errs, stopAll(ctx, c.Functions["ingest"]))
	if c.Dispatcher != nil {
		errs = append(errs, stopAll(ctx, append([]*Unit{c.Dispatcher}, c.more...)))
	}
	for _, name := range Functions() {
		errs = append(errs, stopAll(ctx, c.Functions[name]))
	}
	for _, s := range c.service {
		errs = append(errs, s.Close())
	}
	if c.balance != nil {
		c.balance()
	}
	c.running.Wait()
	return errors.Join(append(errs, c.stopServers())...)
}

func stopAll(ctx context.Context, units []*Unit) error {
	var g errgroup.Group
	for _, u := range units {
		g.Go(func() error { return u.Stop(ctx) })
	}
	return g.Wait()
}

func (c *Cluster) stopServers() error {
	var g errgroup.Group
	if c.Kafka != nil {
		g.Go(c.Kafka.Stop)
	}
	if c.MongoDB != nil {
		g.Go(c.MongoDB.Stop)
	}
	if c.Redis != nil {
		g.Go(c.Redis.Stop)
	}
	if c.HDFS != nil {
		g.Go(c.HDFS.Stop)
	}
	return g.Wait()
}

// logTail is how much an error shows of the log of a process that did not start.
const logTail = 4 << 10

// tail is an error that shows the end of processes' logs.
func tail(units ...*Unit) error {
	var errs []error
	for _, u := range units {
		said, err := os.ReadFile(u.Log)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		errs = append(errs, fmt.Errorf("--- the end of %s:\n%s", u.Log, said[max(0, len(said)-logTail):]))
	}
	return errors.Join(errs...)
}

// Describe prints the processes with their addresses and logs.
func (c *Cluster) Describe(w io.Writer) {
	fmt.Fprintf(w, "Servers: Kafka %s, MongoDB (its stand-in) %s, Redis %s, HDFS %s\n", c.Kafka.Addr(), c.MongoDB.Addr(), c.Redis.Addr(), c.HDFS.Addr())
	for _, name := range slices.Sorted(maps.Keys(c.pools)) {
		var where []string
		for _, in := range c.pools[name].instances {
			where = append(where, in.url.Host)
		}
		fmt.Fprintf(w, "  %-9s %s\n", name, strings.Join(where, ", "))
	}
	if c.options.Knative != nil {
		fmt.Fprintf(w, "Knative's Brokers: %s; its wiring: %s\n", c.ingress, c.wiringFile())
	}
	fmt.Fprintf(w, "Logs: %s\n\n", filepath.Join(c.options.Data, "logs"))
}

// environ is our environment without what configures Footfall: what one
// function knows, another would refuse.
func environ() []string {
	return slices.DeleteFunc(os.Environ(), func(kv string) bool {
		return strings.HasPrefix(kv, function.Prefix) || strings.HasPrefix(kv, "PORT=")
	})
}

// A function keeps its port while it is down. Ports above are those that the
// system gives to outgoing connections.
const firstPort, lastPort = 20000, 32000

func freeAddr() (string, error) {
	for range 1000 {
		addr := net.JoinHostPort("127.0.0.1", strconv.Itoa(firstPort+rand.IntN(lastPort-firstPort)))
		l, err := net.Listen("tcp", addr)
		if err == nil {
			return addr, l.Close()
		}
	}
	return "", fmt.Errorf("cannot find a free port from %d to %d", firstPort, lastPort)
}
