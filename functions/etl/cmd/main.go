// Command etl turns batches into processed data. It is ready when MongoDB is.
package main

import (
	"context"

	"github.com/footfall/footfall/functions/etl"
	"github.com/footfall/footfall/shared/function"
	"github.com/footfall/footfall/shared/store/mongo"
	"github.com/footfall/footfall/shared/transform"
)

func main() {
	var cfg etl.Config
	var rules transform.Config
	var stores mongo.Config
	function.Main(func(_ context.Context, p *function.Process) ([]function.Function, error) {
		db, err := mongo.Open(stores, p.Log)
		if err != nil {
			return nil, err
		}
		transformation, err := transform.New(rules, db.Registry, function.SystemClock(), p.Log, p.Telemetry.Meter("etl"))
		if err != nil {
			return nil, err
		}
		process, err := etl.New(cfg, transformation, db.Processed, db.Journal)
		if err != nil {
			return nil, err
		}
		return []function.Function{process.Function(), transformation.Function(), {Name: "mongodb", Run: db.Run, Ready: db.Ready, Close: db.Close}}, nil
	}, &cfg, &rules, &stores)
}
