package ingest

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	cloudevents "github.com/cloudevents/sdk-go/v2/event"
	"github.com/cockroachdb/pebble/v2/vfs"
	"go.opentelemetry.io/otel/metric/noop"

	"github.com/footfall/footfall/shared/access"
	"github.com/footfall/footfall/shared/store/embedded"
)

// pageView is a usual event of a web page, 560 B of JSON.
func pageView(i int) string {
	return fmt.Sprintf(`{"specversion":"1.0","id":"0193588f-2c00-7c3e-8a51-%012d","source":"https://shop.example","type":"footfall.event.v1","measurementid":"G-TEST000001","time":"2026-11-23T17:59:00.123Z","datacontenttype":"application/json","data":{"name":"page_view","client_id":"1234567890.1763%06d","session_id":"1763999000","page":{"location":"https://shop.example/products/item-%d?utm_source=news&utm_medium=email","title":"Product %d - The Shop","referrer":"https://shop.example/"},"params":{"engaged":1,"page_type":"product"},"engagement_ms":1200,"language":"de-DE","screen":"1920x1080"}}`, i, i, i, i)
}

func cpuTime(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkIngest measures the CPU time of an event from handler to durable,
// without a network: the embedded journal in memory, a Broker that forgets.
func BenchmarkIngest(b *testing.B) {
	for _, n := range []int{1, 100} {
		b.Run(fmt.Sprintf("batch=%d", n), func(b *testing.B) {
			in := benchIngest(b)
			docs := make([]string, n)
			for i := range docs {
				docs[i] = pageView(i)
			}
			body := []byte("[" + strings.Join(docs, ",") + "]")
			header := http.Header{"Content-Type": {"application/cloudevents-batch+json"}, "User-Agent": {"Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 Safari/537.36"}, "Accept-Language": {"de-DE,de;q=0.9"}}
			b.ReportAllocs()
			before := cpuTime(b)
			b.SetParallelism(16)
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					r := &http.Request{Method: http.MethodPost, Header: header, RemoteAddr: "203.0.113.7:4711", ContentLength: int64(len(body)), Body: readCloser{bytes.NewReader(body)}}
					w := httptest.NewRecorder()
					in.serveEvents(w, r)
					if w.Code != http.StatusAccepted {
						b.Error(w.Code, w.Body)
						return
					}
				}
			})
			b.ReportMetric(float64(cpuTime(b)-before)/float64(b.N)/float64(n), "cpu-ns/event")
		})
	}
}

// BenchmarkIngestHTTP is the same over a connection, client and server in one
// process: what net/http costs on both sides is in it.
func BenchmarkIngestHTTP(b *testing.B) {
	for _, n := range []int{1, 100} {
		b.Run(fmt.Sprintf("batch=%d", n), func(b *testing.B) {
			in := benchIngest(b)
			mux := http.NewServeMux()
			in.Function().Routes(mux)
			server := httptest.NewServer(mux)
			defer server.Close()
			docs := make([]string, n)
			for i := range docs {
				docs[i] = pageView(i)
			}
			body := "[" + strings.Join(docs, ",") + "]"
			raw := []byte(fmt.Sprintf("POST /events HTTP/1.1\r\nHost: x\r\nUser-Agent: Mozilla/5.0\r\nContent-Type: application/cloudevents-batch+json\r\nContent-Length: %d\r\n\r\n%s", len(body), body))
			b.ReportAllocs()
			before := cpuTime(b)
			b.SetParallelism(16)
			b.RunParallel(func(pb *testing.PB) {
				conn, err := net.Dial("tcp", server.Listener.Addr().String())
				if err != nil {
					b.Error(err)
					return
				}
				defer func() { _ = conn.Close() }()
				answer := make([]byte, 4096)
				for pb.Next() {
					if _, err := conn.Write(raw); err != nil {
						b.Error(err)
						return
					}
					k, err := conn.Read(answer)
					if err != nil || !bytes.HasPrefix(answer[:k], []byte("HTTP/1.1 202")) {
						b.Errorf("%s %v", answer[:k], err)
						return
					}
				}
			})
			b.ReportMetric(float64(cpuTime(b)-before)/float64(b.N)/float64(n), "cpu-ns/event")
		})
	}
}

type readCloser struct{ *bytes.Reader }

func (readCloser) Close() error { return nil }

func benchIngest(b *testing.B) *Ingest {
	stores, err := embedded.Open("data", embedded.Options{FS: vfs.NewMem()})
	if err != nil {
		b.Fatal(err)
	}
	in, err := New(defaults(b), Ports{
		Journal: stores.Journal, Publisher: forgetful{}, Registry: stores.Registry,
		Clock: func() time.Time { return arrival }, Log: slog.New(slog.DiscardHandler), Meter: noop.Meter{},
	})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := in.Close(context.Background()); err != nil {
			b.Error(err)
		}
		if err := stores.Close(); err != nil {
			b.Error(err)
		}
	})
	return in
}

// forgetful is a Broker that costs nothing.
type forgetful struct{}

func (forgetful) Publish(context.Context, string, ...cloudevents.Event) error { return nil }

// What the snapshot of a million streams takes, of which each has one secret.
func BenchmarkStreamsSnapshot(b *testing.B) {
	const n = 1_000_000
	hash := secretHash("s")
	page := make([]access.Merchant, refreshPage)
	var before, after runtime.MemStats
	for range b.N {
		runtime.GC()
		runtime.ReadMemStats(&before)
		s := NewStreams(0)
		for i := 0; i < n; i += len(page) {
			for k := range page {
				page[k] = access.Merchant{Streams: []access.Stream{{MeasurementID: fmt.Sprintf("G-%010d", i+k), APISecrets: []access.Hash{hash}}}}
			}
			s.Apply(page)
		}
		runtime.GC()
		runtime.ReadMemStats(&after)
		if s.Len() != n {
			b.Fatalf("%d streams", s.Len())
		}
	}
	b.ReportMetric((float64(after.HeapAlloc)-float64(before.HeapAlloc))/n, "B/stream")
}
