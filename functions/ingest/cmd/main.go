// Command ingest takes events in. It needs the journal in MongoDB or the
// Broker, and goes on with either. Redis, in which instances share what
// merchants have used of their quotas, may be away.
package main

import (
	"context"

	"github.com/footfall/footfall/functions/ingest"
	"github.com/footfall/footfall/shared/broker"
	"github.com/footfall/footfall/shared/broker/connect"
	"github.com/footfall/footfall/shared/function"
	"github.com/footfall/footfall/shared/store/mongo"
	"github.com/footfall/footfall/shared/store/redis"
)

func main() {
	var cfg ingest.Config
	var stores mongo.Config
	var shared redis.Config
	var brokers connect.Config
	function.Main(func(_ context.Context, p *function.Process) ([]function.Function, error) {
		db, err := mongo.Open(stores, p.Log)
		if err != nil {
			return nil, err
		}
		counts, err := redis.Open(shared, p.Log)
		if err != nil {
			return nil, err
		}
		publisher, err := connect.Open(brokers, p.Log, broker.Batches)
		if err != nil {
			return nil, err
		}
		in, err := ingest.New(cfg, ingest.Ports{
			Journal: db.Journal, JournalReady: db.Ping, Publisher: publisher, BrokerReady: publisher.Ready, Registry: db.Registry,
			Quotas: counts.Quotas, Clock: function.SystemClock(), Log: p.Log, Meter: p.Telemetry.Meter("ingest"),
		})
		if err != nil {
			return nil, err
		}
		return []function.Function{in.Function(), publisher.Function(), {Name: "mongodb", Run: db.Run, Close: db.Close}, {Name: "redis", Close: counts.Close}}, nil
	}, &cfg, &stores, &shared, &brokers)
}
