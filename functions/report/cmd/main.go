// Command report answers merchants' questions. It is ready when MongoDB is:
// Redis makes answers quick and holds nothing that they need.
package main

import (
	"context"

	"github.com/footfall/footfall/functions/report"
	"github.com/footfall/footfall/shared/function"
	"github.com/footfall/footfall/shared/history"
	"github.com/footfall/footfall/shared/store/mongo"
	"github.com/footfall/footfall/shared/store/redis"
)

func main() {
	var cfg report.Config
	var memory struct {
		FrameCacheBytes int64 `env:"FRAME_CACHE_BYTES" envDefault:"67108864"` // of decoded processed data, and of facts packed from them
	}
	var stores mongo.Config
	var cache redis.Config
	function.Main(func(_ context.Context, p *function.Process) ([]function.Function, error) {
		db, err := mongo.Open(stores, p.Log)
		if err != nil {
			return nil, err
		}
		records, err := redis.Open(cache, p.Log)
		if err != nil {
			return nil, err
		}
		answer := report.New(cfg, report.Ports{
			Registry: db.Registry, Revisions: db.Revisions, Journal: db.Journal, Processed: db.Processed, Summaries: records.Summaries, Log: p.Log,
			History: history.New(db.Processed, db.Visitors, history.Options{CacheBytes: memory.FrameCacheBytes, MaxRows: int(cfg.MaxEvents)}),
		}, function.SystemClock())
		return []function.Function{
			answer.Function(),
			{Name: "mongodb", Run: db.Run, Ready: db.Ready, Close: db.Close},
			{Name: "redis", Close: records.Close},
		}, nil
	}, &cfg, &memory, &stores, &cache)
}
