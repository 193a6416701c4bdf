// Command archive keeps every batch in HDFS. It is ready when HDFS is: what
// the journal in MongoDB is to know of it waits.
package main

import (
	"context"

	"github.com/footfall/footfall/functions/archive"
	"github.com/footfall/footfall/shared/function"
	"github.com/footfall/footfall/shared/store/hdfs"
	"github.com/footfall/footfall/shared/store/mongo"
)

func main() {
	var cfg archive.Config
	var files hdfs.Config
	var stores mongo.Config
	function.Main(func(_ context.Context, p *function.Process) ([]function.Function, error) {
		store, err := hdfs.Open(files, p.Log)
		if err != nil {
			return nil, err
		}
		db, err := mongo.Open(stores, p.Log)
		if err != nil {
			return nil, err
		}
		keep, err := archive.New(cfg, store, db.Journal, function.SystemClock(), p.Log)
		if err != nil {
			return nil, err
		}
		return []function.Function{
			keep.Function(),
			{Name: "hdfs", Ready: store.Ready, Close: func(context.Context) error { return store.Close() }},
			{Name: "mongodb", Run: db.Run, Close: db.Close},
		}, nil
	}, &cfg, &files, &stores)
}
