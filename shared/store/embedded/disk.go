package embedded

import (
	"log/slog"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// disk tells of writes that have failed before anybody else can. The database may end the
// process then, and not always with a word about the disk: where one fails while it opens,
// version 2.1 divides by zero in a goroutine that still looks at tables.
type disk struct {
	vfs.FS
	log *slog.Logger
}

func (d disk) say(what, path string, err error) {
	if err != nil {
		d.log.Error("the disk has failed", "at", what, "path", path, "error", err)
	}
}

func (d disk) file(what, path string, f vfs.File, err error) (vfs.File, error) {
	if err != nil {
		d.say(what, path, err)
		return nil, err
	}
	return diskFile{f, d, path}, nil
}

func (d disk) Create(name string, category vfs.DiskWriteCategory) (vfs.File, error) {
	f, err := d.FS.Create(name, category)
	return d.file("create", name, f, err)
}

func (d disk) ReuseForWrite(oldname, newname string, category vfs.DiskWriteCategory) (vfs.File, error) {
	f, err := d.FS.ReuseForWrite(oldname, newname, category)
	return d.file("create", newname, f, err)
}

// OpenDir is asked for to sync the folder.
func (d disk) OpenDir(name string) (vfs.File, error) {
	f, err := d.FS.OpenDir(name)
	if err != nil {
		return nil, err
	}
	return diskFile{f, d, name}, nil
}

func (d disk) Rename(oldname, newname string) error {
	err := d.FS.Rename(oldname, newname)
	d.say("rename", newname, err)
	return err
}

// Unwrap is what Pebble asks for to know the file system beneath.
func (d disk) Unwrap() vfs.FS { return d.FS }

type diskFile struct {
	vfs.File
	disk disk
	path string
}

func (f diskFile) Write(b []byte) (int, error) {
	n, err := f.File.Write(b)
	f.disk.say("write", f.path, err)
	return n, err
}

func (f diskFile) Sync() error {
	err := f.File.Sync()
	f.disk.say("fsync", f.path, err)
	return err
}

func (f diskFile) SyncData() error {
	err := f.File.SyncData()
	f.disk.say("fsync", f.path, err)
	return err
}

func (f diskFile) SyncTo(length int64) (fullSync bool, err error) {
	fullSync, err = f.File.SyncTo(length)
	f.disk.say("fsync", f.path, err)
	return fullSync, err
}
