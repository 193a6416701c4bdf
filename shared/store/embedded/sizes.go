package embedded

import (
	"context"
)

// Usage is what the database takes, as far as it can be told at once.
type Usage struct {
	// Tables are the bytes of the files by table, to a block or two for each
	// file that holds several. What is only in the log is not in them.
	Tables []TableUsage
	Log    int64 // bytes of the log's files
	Dead   int64 // bytes of files that nothing but an open reader needs any more
	Files  int64 // bytes of all its files
	Cache  int64 // bytes of memory for blocks that were read
	Memory int64 // bytes of memory for writes that are not in tables yet
}

// TableUsage is what one table takes.
type TableUsage struct {
	Name string // as in TableSize; "other" for those without one
	Disk int64
}

// Usage tells it from what the database keeps in memory of its files.
func (s *Stores) Usage(ctx context.Context) (Usage, error) {
	var u Usage
	err := s.engine.read(ctx, "tell what the store takes", func() error {
		m := s.engine.db.Metrics()
		u = Usage{
			Log: int64(m.WAL.PhysicalSize + m.WAL.ObsoletePhysicalSize), Files: int64(m.DiskSpaceUsage()),
			Dead:  int64(m.Table.Local.ObsoleteSize + m.Table.Local.ZombieSize),
			Cache: m.BlockCache.Size, Memory: int64(m.MemTable.Size + m.MemTable.ZombieSize),
		}
		live := int64(m.Table.Local.LiveSize)
		for _, t := range tableNames {
			of := TableUsage{Name: t.name}
			for _, table := range []byte(t.tables) {
				n, err := s.engine.db.EstimateDiskUsage([]byte{table}, []byte{table + 1})
				if err != nil {
					return err
				}
				of.Disk += int64(n)
			}
			u.Tables = append(u.Tables, of)
			live -= of.Disk
		}
		u.Tables = append(u.Tables, TableUsage{Name: "other", Disk: max(live, 0)})
		return nil
	})
	return u, err
}

// TableSize is what one table of the database takes, or two that belong together.
type TableSize struct {
	Table  string // of the keys, see shared/docs/formats/embedded.md
	Name   string // what stands in it
	Keys   int64
	Values int64  // bytes, uncompressed
	Disk   uint64 // bytes of the files, estimated; what is only in the log is not in it
}

var tableNames = []struct {
	tables string
	name   string
}{
	{string(tableRow), "journal rows"}, {string(tablePayload), "journal payloads"}, {string(tableSums), "journal sums"}, {string(tableStage), "journal stages"},
	{string([]byte{tableDoc, tableBody}), "documents"}, {string(tableMark), "marks"}, {string(tableDirty), "dirty hours"}, {string(tableReject), "rejects"}, {string(tableRejectSum), "reject sums"},
	{string(tableVisitor), "visitors"}, {string(tableSummary), "summaries"},
	{string(tableMerchant), "merchants"}, {string(tableChange), "changes of merchants"}, {string(tableStream), "streams"},
}

// Sizes are those of the tables that grow with events and merchants. They are
// read whole: a call takes as long as that does.
func (s *Stores) Sizes(ctx context.Context) ([]TableSize, error) {
	sizes := make([]TableSize, len(tableNames))
	err := s.engine.read(ctx, "measure the tables", func() error {
		for i, t := range tableNames {
			sizes[i] = TableSize{Table: t.tables, Name: t.name}
			for _, table := range []byte(t.tables) {
				if err := s.engine.size(ctx, table, &sizes[i]); err != nil {
					return err
				}
			}
		}
		return nil
	})
	return sizes, err
}

// size adds what a table takes.
func (e *engine) size(ctx context.Context, table byte, t *TableSize) error {
	lower, upper := []byte{table}, []byte{table + 1}
	disk, err := e.db.EstimateDiskUsage(lower, upper)
	if err != nil {
		return err
	}
	t.Disk += disk
	it, err := e.span(ctx, lower, upper)
	if err != nil {
		return err
	}
	for ok := it.First(); ok; ok = it.Next() {
		if table == t.Table[0] {
			t.Keys++ // a second table has more of what stands in the first one
		}
		v, err := it.ValueAndErr()
		if err != nil {
			return finish(it, err)
		}
		t.Values += int64(len(v))
		if ctx.Err() != nil {
			return finish(it, ctx.Err())
		}
	}
	return finish(it, nil)
}
