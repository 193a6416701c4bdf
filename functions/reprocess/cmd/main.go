// Command reprocess drives reprocess jobs. It is ready when MongoDB is: a shard
// that meets no HDFS or Redis fails at once and comes again.
package main

import (
	"context"

	"github.com/footfall/footfall/functions/reprocess"
	"github.com/footfall/footfall/shared/access"
	"github.com/footfall/footfall/shared/broker"
	"github.com/footfall/footfall/shared/broker/connect"
	"github.com/footfall/footfall/shared/function"
	"github.com/footfall/footfall/shared/store/hdfs"
	"github.com/footfall/footfall/shared/store/mongo"
	"github.com/footfall/footfall/shared/store/redis"
	"github.com/footfall/footfall/shared/transform"
)

func main() {
	var cfg reprocess.Config
	var rules transform.Config
	var files hdfs.Config
	var stores mongo.Config
	var cache redis.Config
	var brokers connect.Config
	function.Main(func(_ context.Context, p *function.Process) ([]function.Function, error) {
		archive, err := hdfs.Open(files, p.Log)
		if err != nil {
			return nil, err
		}
		db, err := mongo.Open(stores, p.Log)
		if err != nil {
			return nil, err
		}
		records, err := redis.Open(cache, p.Log)
		if err != nil {
			return nil, err
		}
		publisher, err := connect.Open(brokers, p.Log, broker.Control, broker.Batches)
		if err != nil {
			return nil, err
		}
		transformation, err := transform.New(rules, db.Registry, function.SystemClock(), p.Log, p.Telemetry.Meter("reprocess"))
		if err != nil {
			return nil, err
		}
		jobs, err := reprocess.New(cfg, reprocess.Ports{
			Archive: archive, Journal: db.Journal, Processed: db.Processed, Visitors: db.Visitors, Summaries: records.Summaries,
			Registry: db.Registry, Revisions: db.Revisions, Erasures: db.Erasures, Publisher: publisher, Transform: transformation,
			Authorize: access.NewAuthorizer(cfg.AdminToken.Reveal(), db.Registry), Clock: function.SystemClock(), Log: p.Log,
		})
		if err != nil {
			return nil, err
		}
		return []function.Function{
			jobs.Function(), transformation.Function(), publisher.Function(),
			{Name: "mongodb", Run: db.Run, Ready: db.Ready, Close: db.Close},
			{Name: "redis", Close: records.Close},
			{Name: "hdfs", Close: func(context.Context) error { return archive.Close() }},
		}, nil
	}, &cfg, &rules, &files, &stores, &cache, &brokers)
}
