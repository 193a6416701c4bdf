package event

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"
)

// shopBatch is a batch as a few shops' pages send it: visitors with several
// events each, random ids, times in order. One event is about 500 B of JSON.
func shopBatch(n int) *Batch {
	rnd := rand.New(rand.NewPCG(7, 11))
	id, _ := ParseBatchID("0193588f2c007c3e8a51d0f3b6c49e17")
	b := &Batch{ID: id, ReceivedAt: time.UnixMicro(1764000000123456).UTC(), Instance: "ingest-0"}
	agents := make([]string, 40)
	for i := range agents {
		agents[i] = fmt.Sprintf("Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/%d.0.0.0 Safari/537.36", 90+i)
	}
	visitors := make([]Event, n/5+1)
	for i := range visitors {
		shop := rnd.IntN(4)
		visitors[i] = Event{
			Source: fmt.Sprintf("https://shop%d.example", shop), Stream: fmt.Sprintf("G-SHOP%06d", shop),
			ClientID: fmt.Sprintf("%d.%d", rnd.IntN(1<<31), 1763000000+rnd.IntN(1000000)), SessionID: fmt.Sprint(1763990000 + rnd.IntN(10000)),
			Language: []string{"en-US", "de-DE", "fr-FR"}[rnd.IntN(3)], Screen: []string{"1920x1080", "390x844", "1440x900"}[rnd.IntN(3)],
			UserAgent: agents[rnd.IntN(len(agents))], IP: fmt.Sprintf("%d.%d.%d.0", 1+rnd.IntN(220), rnd.IntN(256), rnd.IntN(256)),
		}
	}
	at := b.ReceivedAt.UnixMicro() - 2_000_000
	for range n {
		e := visitors[rnd.IntN(len(visitors))]
		at += int64(rnd.IntN(4000))
		page := rnd.IntN(300)
		e.ID = fmt.Sprintf("%08x-%04x-4%03x-%04x-%012x", rnd.Uint32(), rnd.IntN(1<<16), rnd.IntN(1<<12), rnd.IntN(1<<16), rnd.Uint64()>>16)
		e.TimeMicros = at / 1000 * 1000
		e.Name = []string{"page_view", "page_view", "scroll", "view_item", "add_to_cart"}[rnd.IntN(5)]
		e.PageLocation = fmt.Sprintf("%s/products/item-%d?utm_source=news&utm_medium=email", e.Source, page)
		e.PageTitle = fmt.Sprintf("Product %d - The Shop", page)
		e.PageReferrer = fmt.Sprintf("%s/products/item-%d", e.Source, rnd.IntN(300))
		e.EngagementMillis = int64(rnd.IntN(20000))
		e.Params = []Param{{Key: "engaged", Kind: ParamInt, Int: 1}, {Key: "page_type", Text: "product"}}
		b.Events = append(b.Events, e)
	}
	return b
}

func BenchmarkAppendEvent(b *testing.B) {
	batch := shopBatch(100)
	var buf []byte
	b.ReportAllocs()
	for b.Loop() {
		buf = buf[:0]
		for i := range batch.Events {
			buf = AppendEvent(buf, &batch.Events[i])
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/100, "ns/event")
	b.ReportMetric(float64(len(buf))/100, "rawB/event")
}

func BenchmarkSeal(b *testing.B) {
	for _, n := range []int{1, 100, 1000, 5000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			batch := shopBatch(n)
			var p Packer
			for i := range batch.Events {
				p.Add(EncodeEvent(&batch.Events[i]))
			}
			var size int
			b.ReportAllocs()
			for b.Loop() {
				s, err := p.Seal(NewBatchID, batch.ReceivedAt, batch.Instance)
				if err != nil {
					b.Fatal(err)
				}
				size = len(s[0].Container) - len(ContainerHeader())
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(n), "ns/event")
			b.ReportMetric(float64(size)/float64(n), "B/event")
		})
	}
}

func BenchmarkDecodeBatch(b *testing.B) {
	for _, n := range []int{100, 1000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			container, err := EncodeBatch(shopBatch(n))
			if err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			for b.Loop() {
				if _, err := DecodeBatch(container); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(n), "ns/event")
		})
	}
}
