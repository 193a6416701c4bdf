package local

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	cloudevents "github.com/cloudevents/sdk-go/v2/event"

	"github.com/footfall/footfall/eventing"
	"github.com/footfall/footfall/eventing/filter"
	"github.com/footfall/footfall/shared/broker/kafka"
)

func cpu() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func batchEvent(size int) cloudevents.Event {
	e := cloudevents.New()
	e.SetID("0190163d8694739b9f8a0b1c2d3e4f50")
	e.SetType("footfall.batch.accepted.v1")
	e.SetSource("/ingest")
	e.SetTime(time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC))
	e.SetExtension("partitionkey", "m1")
	if err := e.SetData("application/vnd.apache.avro+batch", bytes.Repeat([]byte("0123456789abcdef"), size/16)); err != nil {
		panic(err)
	}
	return e
}

// A delivery from the topic to a handler of this process: fetch, filter, HTTP
// without a socket, commit. The publish before it is not in the figures.
func BenchmarkDelivery(b *testing.B) {
	only, err := filter.Attributes(map[string]string{"type": "footfall.batch.accepted.v1"})
	if err != nil {
		b.Fatal(err)
	}
	for _, size := range []int{300, 60_000} {
		b.Run(fmt.Sprintf("%dB", size), func(b *testing.B) {
			k, err := StartKafka(KafkaConfig{Dir: b.TempDir(), NoSync: true})
			if err != nil {
				b.Fatal(err)
			}
			b.Cleanup(k.Close)
			w := &world{t: b, kafka: k, client: newClient(b, k), http: map[string]http.Handler{},
				wiring: testWiring(4, trigger(func(t *eventing.Trigger) { t.Filter = only }))}
			var n atomic.Int64
			done := make(chan struct{})
			total := int64(b.N)
			buf := make([]byte, 64<<10)
			w.http["sub"] = http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
				for {
					if _, err := r.Body.Read(buf); err != nil { // contents do not matter
						break
					}
				}
				rw.WriteHeader(202)
				if n.Add(1) == total {
					close(done)
				}
			})
			d, err := NewDispatcher(w.config())
			if err != nil {
				b.Fatal(err)
			}
			if err := d.Prepare(w.ctx()); err != nil {
				b.Fatal(err)
			}
			e := batchEvent(size)
			chunk := make([]cloudevents.Event, 0, 100)
			for i := range b.N {
				e := e.Clone()
				e.SetExtension("partitionkey", fmt.Sprint(i))
				if chunk = append(chunk, e); len(chunk) == cap(chunk) || i == b.N-1 {
					w.publish(chunk...)
					chunk = chunk[:0]
				}
			}
			b.ReportAllocs()
			b.ResetTimer()
			before := cpu()
			if err := d.Start(w.ctx()); err != nil {
				b.Fatal(err)
			}
			<-done
			b.StopTimer()
			b.ReportMetric(float64((cpu()-before).Nanoseconds())/float64(b.N)/1e3, "cpu-µs/op")
			d.Close()
		})
	}
}

// A publish of one event to the in-process Kafka, synced to the disk or not.
func BenchmarkPublish(b *testing.B) {
	for _, noSync := range []bool{false, true} {
		for _, size := range []int{300, 60_000} {
			b.Run(fmt.Sprintf("%dB/sync=%v", size, !noSync), func(b *testing.B) {
				k, err := StartKafka(KafkaConfig{Dir: b.TempDir(), NoSync: noSync})
				if err != nil {
					b.Fatal(err)
				}
				b.Cleanup(k.Close)
				c := newClient(b, k)
				if err := c.EnsureTopics(b.Context(), kafka.Topic{Name: "t", Partitions: 4, ReplicationFactor: 1}); err != nil {
					b.Fatal(err)
				}
				p := kafka.NewPublisher(c, map[string]string{"batches": "t"})
				e := batchEvent(size)
				b.ReportAllocs()
				b.ResetTimer()
				before := cpu()
				for range b.N {
					if err := p.Publish(b.Context(), "batches", e); err != nil {
						b.Fatal(err)
					}
				}
				b.ReportMetric(float64((cpu()-before).Nanoseconds())/float64(b.N)/1e3, "cpu-µs/op")
			})
		}
	}
}

// From Publish to the handler while nothing else happens: the long poll must
// wake at once.
func BenchmarkLatency(b *testing.B) {
	w := newWorld(b, 4, trigger())
	got := make(chan struct{}, 1)
	w.http["sub"] = http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		got <- struct{}{}
		rw.WriteHeader(202)
	})
	w.start()
	e := batchEvent(300)
	b.ReportAllocs()
	b.ResetTimer()
	before := cpu()
	for range b.N {
		w.publish(e)
		<-got
	}
	b.ReportMetric(float64((cpu()-before).Nanoseconds())/float64(b.N)/1e3, "cpu-µs/op")
}
