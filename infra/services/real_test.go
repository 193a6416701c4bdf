package services

import (
	"context"
	"errors"
	"io"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/colinmarc/hdfs/v2"
	"github.com/segmentio/kafka-go"
)

// software is what the servers need, for tests that start them: those run
// when the environment says where it is.
func software(t *testing.T, kinds ...Kind) *Software {
	t.Helper()
	cache := os.Getenv(CacheVariable)
	if cache == "" {
		t.Skipf("set %s to the folder that make services-fetch has filled to run this on real servers", CacheVariable)
	}
	s, err := Cached(t.Context(), cache, kinds...)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func within(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// timed logs how long something took, for the figures in the docs.
func timed(t *testing.T, what string, do func() error) {
	t.Helper()
	begin := time.Now()
	must(t, do())
	t.Logf("%s: %.1f s", what, time.Since(begin).Seconds())
}

func TestEverythingStarts(t *testing.T) {
	opts := Options{Software: software(t, Kinds()...), Dir: t.TempDir()}
	var s *Servers
	timed(t, "all up", func() (err error) { s, err = Start(within(t), opts, Kinds()...); return err })
	t.Cleanup(func() { must(t, s.Kill()) })
	if len(s.All()) != 8 || len(s.Environment()) != 5 {
		t.Errorf("%d processes, %v", len(s.All()), s.Environment())
	}
	env := map[string]string{}
	for _, e := range s.Environment() {
		env[e.Name] = e.Value
	}
	_, start, err := Given(t.Context(), func(name string) string { return env[name] }, Kinds())
	if err != nil || len(start) > 0 {
		t.Errorf("cannot be reached by the environment: %v, %v", start, err)
	}
	for _, one := range s.All() {
		bytes, err := one.Memory()
		must(t, err)
		t.Logf("%s: %d MB", one.Name(), bytes>>20)
	}
	timed(t, "all down", s.Stop)
	for _, one := range s.All() {
		if one.Running() {
			t.Errorf("%s runs on", one.Name())
		}
	}
}

func TestKafkaKeepsItsDataAndPort(t *testing.T) {
	k, err := StartKafka(within(t), Options{Software: software(t, KindKafka), Dir: t.TempDir()})
	must(t, err)
	t.Cleanup(func() { must(t, k.Kill()) })
	client := kafka.Client{Addr: kafka.TCP(k.Brokers()...)}
	defer func() { client.Transport = nil }()
	answer, err := client.CreateTopics(within(t), &kafka.CreateTopicsRequest{Topics: []kafka.TopicConfig{{Topic: "t", NumPartitions: 1, ReplicationFactor: 1}}})
	must(t, err)
	must(t, answer.Errors["t"])
	produce := func(value string) {
		t.Helper()
		eventuallyOK(t, func() error {
			_, err := client.Produce(within(t), &kafka.ProduceRequest{Topic: "t", RequiredAcks: kafka.RequireAll,
				Records: kafka.NewRecordReader(kafka.Record{Value: kafka.NewBytes([]byte(value))})})
			return err
		})
	}
	produce("first")
	must(t, k.Kill())
	timed(t, "up after a kill", func() error { return k.Start(within(t)) })
	produce("second")
	timed(t, "stopped", k.Stop)
	timed(t, "up after a stop", func() error { return k.Start(within(t)) })
	must(t, k.Pause())
	short, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if k.answers(short) == nil {
		t.Error("it answers while it is paused")
	}
	must(t, k.Resume())
	must(t, k.Ready(within(t)))
	var values []string
	eventuallyOK(t, func() error {
		values = nil
		got, err := client.Fetch(within(t), &kafka.FetchRequest{Topic: "t", Offset: 0, MinBytes: 1, MaxBytes: 1 << 20, MaxWait: time.Second})
		if err != nil {
			return err
		}
		if got.Error != nil {
			return got.Error
		}
		for {
			r, err := got.Records.ReadRecord()
			if errors.Is(err, io.EOF) {
				return nil
			}
			if err != nil {
				return err
			}
			v, err := kafka.ReadAll(r.Value)
			must(t, err)
			values = append(values, string(v))
		}
	})
	if !slices.Equal(values, []string{"first", "second"}) {
		t.Errorf("kept %q", values)
	}
	if answer, err := client.Metadata(within(t), &kafka.MetadataRequest{Topics: []string{"never-made"}}); err != nil || answer.Topics[0].Error == nil {
		t.Errorf("a topic was made by being named: %v, %v", answer, err)
	}
}

// eventuallyOK waits out a leader that is being chosen.
func eventuallyOK(t *testing.T, do func() error) {
	t.Helper()
	must(t, until(within(t), func(context.Context) error { return do() }))
}

func TestHDFSNodesStartAlone(t *testing.T) {
	h, err := StartHDFS(within(t), Options{Software: software(t, KindHDFS), Dir: t.TempDir()})
	must(t, err)
	t.Cleanup(func() {
		must(t, h.Kill())
		if t.Failed() {
			t.Log(h.NameNode.tail())
		}
	})
	// A client of its own each time: one that has lost its NameNode says so first.
	client := func(do func(*hdfs.Client) error) {
		t.Helper()
		c, err := hdfs.NewClient(hdfs.ClientOptions{Addresses: []string{h.Addr()}, User: "footfall"})
		must(t, err)
		defer c.Close()
		must(t, do(c))
	}
	write := func(path, data string) {
		t.Helper()
		client(func(c *hdfs.Client) error {
			once := func() error {
				w, err := c.Create(path)
				if err != nil {
					return err
				}
				if _, err := io.WriteString(w, data); err != nil {
					return err
				}
				closing, cancel := context.WithTimeout(within(t), 20*time.Second)
				defer cancel()
				return until(closing, func(context.Context) error { return w.Close() }) // "replication in progress": ask again
			}
			err := once()
			if err != nil {
				// Rarely, just after both were killed, a file cannot be closed for
				// long. Its writer begins another one, as our archive does.
				t.Logf("writing %s again after: %v", path, err)
				must(t, c.Remove(path))
				err = once()
			}
			return err
		})
	}
	read := func(path string) (data string) {
		t.Helper()
		client(func(c *hdfs.Client) error {
			all, err := c.ReadFile(path)
			data = string(all)
			return err
		})
		return data
	}
	write("/a", "one")
	must(t, h.DataNode.Kill())
	timed(t, "DataNode up after a kill", func() error { return h.DataNode.Start(within(t)) })
	if got := read("/a"); got != "one" {
		t.Errorf("read %q", got)
	}
	must(t, h.NameNode.Kill())
	timed(t, "NameNode up after a kill", func() error { return h.NameNode.Start(within(t)) })
	write("/b", "two")
	if got := read("/a"); got != "one" {
		t.Errorf("read %q", got)
	}
	timed(t, "both stopped", h.Stop)
	must(t, h.DataNode.Start(within(t))) // alone, waiting for its NameNode
	timed(t, "NameNode up with a DataNode that waited", func() error { return h.NameNode.Start(within(t)) })
	must(t, h.Kill())
	timed(t, "both up after a kill", func() error { return h.Start(within(t)) })
	if got := read("/b"); got != "two" {
		t.Errorf("read %q", got)
	}
	write("/c", strings.Repeat("x", 17<<20)) // two blocks
	if got := read("/c"); len(got) != 17<<20 {
		t.Errorf("read %d bytes", len(got))
	}
	must(t, h.DataNode.Stop())
	must(t, h.NameNode.Stop())
	must(t, h.NameNode.Start(within(t))) // alone: it serves names in safe mode
	must(t, h.DataNode.Start(within(t)))
	write("/d", "four")
}

func TestRedisKeepsItsData(t *testing.T) {
	r, err := StartRedis(within(t), Options{Software: software(t, KindRedis), Dir: t.TempDir()})
	must(t, err)
	t.Cleanup(func() { must(t, r.Kill()) })
	_, err = redisDo(t.Context(), r.Addr(), "SET k v")
	must(t, err)
	for _, end := range []func() error{r.Kill, r.Stop} {
		must(t, end())
		timed(t, "up again", func() error { return r.Start(within(t)) })
		if got, err := redisDo(t.Context(), r.Addr(), "GET k"); got != "v" {
			t.Errorf("got %q, %v", got, err)
		}
	}
}

func TestRedisClusterOutlivesANode(t *testing.T) {
	c, err := StartRedisCluster(within(t), Options{Software: software(t, KindRedisCluster), Dir: t.TempDir()})
	must(t, err)
	t.Cleanup(func() { must(t, c.Kill()) })
	if len(c.Addrs()) != 3 {
		t.Errorf("%v", c.Addrs())
	}
	must(t, c.Nodes[1].Kill())
	eventuallyOK(t, func() error { // the others notice
		if c.nodeAlone(within(t), 0) {
			return nil
		}
		return context.DeadlineExceeded
	})
	timed(t, "node up after a kill", func() error { return c.Nodes[1].Start(within(t)) })
	timed(t, "cluster stopped", c.Stop)
	timed(t, "cluster up after a stop", func() error { return c.Start(within(t)) })
}

func (c *RedisCluster) nodeAlone(ctx context.Context, i int) bool {
	info, err := redisDo(ctx, c.Nodes[i].Addr(), "CLUSTER INFO")
	return err == nil && strings.Contains(info, "cluster_state:fail\r\n")
}

func TestMongoDBStartsAgain(t *testing.T) {
	m, err := StartMongoDB(within(t), Options{Software: software(t, KindMongoDB), Dir: t.TempDir()})
	must(t, err)
	t.Cleanup(func() { must(t, m.Kill()) })
	must(t, m.Kill())
	timed(t, "up after a kill", func() error { return m.Start(within(t)) })
	for range 5 { // it hears every time that it is to stop
		timed(t, "stopped", m.Stop)
		timed(t, "up after a stop", func() error { return m.Start(within(t)) })
	}
	if want := "mongodb://" + m.Addr() + "/?directConnection=true"; m.URI() != want {
		t.Errorf("%s, want %s", m.URI(), want)
	}
}
