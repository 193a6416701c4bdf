// Command summary closes hours. It is ready when MongoDB is, and not only when
// Redis is, too: a shard that meets no Redis fails at once and comes again,
// while requests for a process that is not ready would wait in front of it
// until their Trigger gives up.
package main

import (
	"context"

	"github.com/footfall/footfall/functions/summary"
	"github.com/footfall/footfall/shared/broker"
	"github.com/footfall/footfall/shared/broker/connect"
	"github.com/footfall/footfall/shared/function"
	"github.com/footfall/footfall/shared/store/mongo"
	"github.com/footfall/footfall/shared/store/redis"
)

func main() {
	var cfg summary.Config
	var stores mongo.Config
	var cache redis.Config
	var brokers connect.Config
	function.Main(func(_ context.Context, p *function.Process) ([]function.Function, error) {
		db, err := mongo.Open(stores, p.Log)
		if err != nil {
			return nil, err
		}
		records, err := redis.Open(cache, p.Log)
		if err != nil {
			return nil, err
		}
		publisher, err := connect.Open(brokers, p.Log, broker.Control)
		if err != nil {
			return nil, err
		}
		closing, err := summary.New(cfg, summary.Ports{
			Journal: db.Journal, Processed: db.Processed, Visitors: db.Visitors, Registry: db.Registry, Summaries: records.Summaries,
			Revisions: db.Revisions, Publisher: publisher, Clock: function.SystemClock(), Log: p.Log,
		})
		if err != nil {
			return nil, err
		}
		return []function.Function{
			closing.Function(), publisher.Function(),
			{Name: "mongodb", Run: db.Run, Ready: db.Ready, Close: db.Close},
			{Name: "redis", Close: records.Close},
		}, nil
	}, &cfg, &stores, &cache, &brokers)
}
