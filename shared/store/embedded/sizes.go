package embedded

import (
	"context"
)

// TableSize is what one table of the database takes.
type TableSize struct {
	Table  byte   // of the keys, see shared/docs/formats/embedded.md
	Name   string // what stands in it
	Keys   int64
	Values int64  // bytes, uncompressed
	Disk   uint64 // bytes of the files, estimated; what is only in the log is not in it
}

var tableNames = []struct {
	table byte
	name  string
}{
	{tableRow, "journal rows"}, {tablePayload, "journal payloads"}, {tableSums, "journal sums"}, {tableStage, "journal stages"},
	{tableDoc, "documents"}, {tableMark, "marks"}, {tableDirty, "dirty hours"}, {tableReject, "rejects"}, {tableRejectSum, "reject sums"},
	{tableVisitor, "visitors"}, {tableSummary, "summaries"},
	{tableMerchant, "merchants"}, {tableChange, "changes of merchants"}, {tableStream, "streams"},
}

// Sizes are those of the tables that grow with events and merchants. They are
// read whole: a call takes as long as that does.
func (s *Stores) Sizes(ctx context.Context) ([]TableSize, error) {
	sizes := make([]TableSize, len(tableNames))
	err := s.engine.read(ctx, "measure the tables", func() error {
		for i, t := range tableNames {
			sizes[i] = TableSize{Table: t.table, Name: t.name}
			if err := s.engine.size(ctx, &sizes[i]); err != nil {
				return err
			}
		}
		return nil
	})
	return sizes, err
}

func (e *engine) size(ctx context.Context, t *TableSize) (err error) {
	lower, upper := []byte{t.Table}, []byte{t.Table + 1}
	if t.Disk, err = e.db.EstimateDiskUsage(lower, upper); err != nil {
		return err
	}
	it, err := e.span(ctx, lower, upper)
	if err != nil {
		return err
	}
	for ok := it.First(); ok; ok = it.Next() {
		t.Keys++
		v, err := it.ValueAndErr()
		if err != nil {
			return finish(it, err)
		}
		t.Values += int64(len(v))
		if t.Keys%1024 == 0 && ctx.Err() != nil {
			return finish(it, ctx.Err())
		}
	}
	return finish(it, nil)
}
