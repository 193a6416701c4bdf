// Command merchant serves merchants, streams and settings to the operator. It
// is ready when MongoDB is.
package main

import (
	"context"

	"github.com/footfall/footfall/functions/merchant"
	"github.com/footfall/footfall/shared/access"
	"github.com/footfall/footfall/shared/function"
	"github.com/footfall/footfall/shared/store/mongo"
)

func main() {
	var cfg merchant.Config
	var stores mongo.Config
	function.Main(func(_ context.Context, p *function.Process) ([]function.Function, error) {
		db, err := mongo.Open(stores, p.Log)
		if err != nil {
			return nil, err
		}
		admin := access.NewAuthorizer(cfg.AdminToken.Reveal(), db.Registry)
		merchants := merchant.New(db.Registry, db.Processed, db.Revisions, db.Erasures, admin, function.SystemClock())
		return []function.Function{merchants.Function(), {Name: "mongodb", Run: db.Run, Ready: db.Ready, Close: db.Close}}, nil
	}, &cfg, &stores)
}
