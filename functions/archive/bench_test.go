package archive_test

import (
	"fmt"
	"log/slog"
	"syscall"
	"testing"
	"time"

	cloudevents "github.com/cloudevents/sdk-go/v2/event"

	"github.com/footfall/footfall/functions/archive"
	"github.com/footfall/footfall/shared/event"
	"github.com/footfall/footfall/shared/store/embedded"
)

// BenchmarkHandle takes batches from their delivery into a file on disk, as many
// at once as a Trigger has under way.
func BenchmarkHandle(b *testing.B) {
	for _, events := range []int{64, 300} {
		b.Run(fmt.Sprintf("events=%d", events), func(b *testing.B) {
			s, err := embedded.Open(b.TempDir(), embedded.Options{})
			if err != nil {
				b.Fatal(err)
			}
			defer s.Close()
			svc, err := archive.New(archive.Config{FileBytes: 128 << 20, FileAge: time.Hour, FileIdle: time.Hour}, s.Archive, s.Journal, time.Now, slog.New(slog.DiscardHandler))
			if err != nil {
				b.Fatal(err)
			}
			batch := &event.Batch{ReceivedAt: time.Now(), Instance: "i"}
			for i := range events {
				batch.Events = append(batch.Events, event.Event{
					ID: fmt.Sprint("e", i), Stream: "G-1", Name: "page_view", ClientID: fmt.Sprint("c", i/5), TimeMicros: batch.ReceivedAt.UnixMicro(),
					PageLocation: fmt.Sprint("https://shop.example.com/p/", i%40), PageTitle: "Shoes", Language: "de-DE", Screen: "1920x1080",
				})
			}
			data, err := event.EncodeBatch(batch)
			if err != nil {
				b.Fatal(err)
			}
			handle := svc.Function().Events["/batches"]
			b.ReportAllocs()
			b.SetParallelism(16)
			before := cpuTime(b)
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					id, err := event.NewBatchID()
					if err != nil {
						b.Error(err)
						return
					}
					e := cloudevents.New()
					e.SetID(id.String())
					e.SetType(event.TypeBatchAccepted)
					e.SetSource("/test")
					e.DataEncoded = data
					if err := handle(b.Context(), e); err != nil {
						b.Error(err)
						return
					}
				}
			})
			b.ReportMetric(float64((cpuTime(b)-before).Nanoseconds())/float64(b.N)/float64(events), "cpu-ns/event")
		})
	}
}

// cpuTime is what the process has used: wall time says little on a machine
// that does other work, too.
func cpuTime(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
