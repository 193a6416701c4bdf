package cloudevents

import (
	"fmt"
	"strings"
	"testing"

	"github.com/footfall/footfall/shared/event"
)

// pageView is a usual event of a web page, 560 B of JSON.
func pageView(i int) string {
	return fmt.Sprintf(`{"specversion":"1.0","id":"0193588f-2c00-7c3e-8a51-%012d","source":"https://shop.example","type":"footfall.event.v1","measurementid":"G-TEST000001","time":"2026-11-23T17:59:00.123Z","datacontenttype":"application/json","data":{"name":"page_view","client_id":"1234567890.1763%06d","session_id":"1763999000","page":{"location":"https://shop.example/products/item-%d?utm_source=news&utm_medium=email","title":"Product %d - The Shop","referrer":"https://shop.example/"},"params":{"engaged":1,"page_type":"product"},"engagement_ms":1200,"language":"de-DE","screen":"1920x1080"}}`, i, i, i, i)
}

func BenchmarkParse(b *testing.B) {
	for _, n := range []int{1, 100} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			docs := make([]string, n)
			for i := range docs {
				docs[i] = pageView(i)
			}
			body := []byte("[" + strings.Join(docs, ",") + "]")
			h := header("Content-Type", "application/cloudevents-batch+json")
			var p Parser
			var out []byte
			b.ReportAllocs()
			for b.Loop() {
				r, err := p.Parse(h, body, arrival)
				if err != nil || len(r.Events) != n {
					b.Fatal(r, err)
				}
				out = out[:0]
				for i := range r.Events {
					out = event.AppendEvent(out, &r.Events[i])
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(n), "ns/event")
		})
	}
}
