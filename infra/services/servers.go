package services

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// Variables by which tests find a server. One that is set by the user names a
// server of the user's.
const (
	KafkaVariable        = "FOOTFALL_TEST_KAFKA_BROKERS"
	HDFSVariable         = "FOOTFALL_TEST_HDFS_NAMENODE"
	RedisVariable        = "FOOTFALL_TEST_REDIS_ADDR"
	RedisClusterVariable = "FOOTFALL_TEST_REDIS_CLUSTER_ADDRS"
	MongoDBVariable      = "FOOTFALL_TEST_MONGODB_URI"
)

// Variable is the one that names a server of this kind to tests.
func (k Kind) Variable() string {
	switch k {
	case KindKafka:
		return KafkaVariable
	case KindHDFS:
		return HDFSVariable
	case KindRedis:
		return RedisVariable
	case KindRedisCluster:
		return RedisClusterVariable
	case KindMongoDB:
		return MongoDBVariable
	}
	return ""
}

// ParseKinds reads a list of kinds separated by commas; empty means all.
func ParseKinds(list string) ([]Kind, error) {
	if list == "" {
		return Kinds(), nil
	}
	var kinds []Kind
	for name := range strings.SplitSeq(list, ",") {
		if !slices.Contains(Kinds(), Kind(name)) {
			return nil, fmt.Errorf("no server is called %q, expected of %v", name, Kinds())
		}
		kinds = append(kinds, Kind(name))
	}
	return kinds, nil
}

// Servers are servers of several kinds; those that were not asked for are nil.
type Servers struct {
	Kafka        *Kafka
	HDFS         *HDFS
	Redis        *Redis
	RedisCluster *RedisCluster
	MongoDB      *MongoDB
}

// Start starts servers of these kinds side by side, each in a folder of its
// own below opts.Dir. If one does not become ready none is left running.
func Start(ctx context.Context, opts Options, kinds ...Kind) (*Servers, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	s := &Servers{}
	results := make(chan error, len(kinds))
	for _, kind := range kinds {
		own := opts
		own.Dir = filepath.Join(opts.Dir, string(kind))
		go func() {
			var err error
			switch kind {
			case KindKafka:
				s.Kafka, err = StartKafka(ctx, own)
			case KindHDFS:
				s.HDFS, err = StartHDFS(ctx, own)
			case KindRedis:
				s.Redis, err = StartRedis(ctx, own)
			case KindRedisCluster:
				s.RedisCluster, err = StartRedisCluster(ctx, own)
			case KindMongoDB:
				s.MongoDB, err = StartMongoDB(ctx, own)
			default:
				err = fmt.Errorf("no server is called %q", kind)
			}
			results <- err
		}()
	}
	var first error
	for range kinds {
		if err := <-results; err != nil && first == nil {
			first = err // the others fail because of it
			cancel()
		}
	}
	if first != nil {
		return nil, errors.Join(first, s.Kill())
	}
	return s, nil
}

// All are all processes.
func (s *Servers) All() []*Server {
	var all []*Server
	if s.Kafka != nil {
		all = append(all, s.Kafka.Server)
	}
	if s.HDFS != nil {
		all = append(all, s.HDFS.NameNode, s.HDFS.DataNode)
	}
	if s.Redis != nil {
		all = append(all, s.Redis.Server)
	}
	if s.RedisCluster != nil {
		all = append(all, s.RedisCluster.Nodes...)
	}
	if s.MongoDB != nil {
		all = append(all, s.MongoDB.Server)
	}
	return all
}

// Stop stops all, those that were started last first.
func (s *Servers) Stop() error {
	all := s.All()
	slices.Reverse(all)
	return each(all, (*Server).Stop)
}

// Kill kills all.
func (s *Servers) Kill() error { return each(s.All(), (*Server).Kill) }

// Setting is an environment variable and its value.
type Setting struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

func (s Setting) String() string { return s.Name + "=" + s.Value }

// Environment names the servers to tests.
func (s *Servers) Environment() []Setting {
	var env []Setting
	if s.Kafka != nil {
		env = append(env, Setting{KafkaVariable, strings.Join(s.Kafka.Brokers(), ",")})
	}
	if s.HDFS != nil {
		env = append(env, Setting{HDFSVariable, s.HDFS.Addr()})
	}
	if s.Redis != nil {
		env = append(env, Setting{RedisVariable, s.Redis.Addr()})
	}
	if s.RedisCluster != nil {
		env = append(env, Setting{RedisClusterVariable, strings.Join(s.RedisCluster.Addrs(), ",")})
	}
	if s.MongoDB != nil {
		env = append(env, Setting{MongoDBVariable, s.MongoDB.URI()})
	}
	return env
}

// Given splits kinds into those for which the user's environment names a
// server and those that have to be started. A named server that cannot be
// reached is an error: mostly it is a variable of servers that are down by now.
func Given(ctx context.Context, getenv func(string) string, kinds []Kind) (given []Setting, start []Kind, err error) {
	var errs []error
	for _, kind := range kinds {
		value := getenv(kind.Variable())
		if value == "" {
			start = append(start, kind)
			continue
		}
		given = append(given, Setting{kind.Variable(), value})
		if err := reach(ctx, kind, value); err != nil {
			errs = append(errs, fmt.Errorf("cannot use the server that %s names (unset it to have one started): %w", kind.Variable(), err))
		}
	}
	return given, start, errors.Join(errs...)
}

// reach connects to one of the addresses in a variable's value.
func reach(ctx context.Context, kind Kind, value string) error {
	list := value
	if kind == KindMongoDB {
		u, err := url.Parse(value)
		if err != nil {
			return errors.New("it is not a URI") // the error would show the password
		}
		if u.Scheme != "mongodb" {
			return nil // mongodb+srv: the driver finds the hosts
		}
		list = u.Host
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	var errs []error
	for addr := range strings.SplitSeq(list, ",") {
		if _, _, err := net.SplitHostPort(addr); err != nil && kind == KindMongoDB {
			addr = net.JoinHostPort(addr, "27017")
		}
		conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", addr)
		if err == nil {
			conn.Close()
			return nil
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}
