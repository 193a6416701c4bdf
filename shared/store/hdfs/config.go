package hdfs

import (
	"errors"
	"os"
	"path"
	"strconv"
	"strings"
	"time"

	"github.com/colinmarc/hdfs/v2"

	"github.com/footfall/footfall/shared/event"
	"github.com/footfall/footfall/shared/fault"
)

// Config says where the archive is, from the environment.
type Config struct {
	NameNodes  []string `env:"HDFS_NAMENODES"`                           // host:port of each; the active one is found
	User       string   `env:"HDFS_USER" envDefault:"footfall"`          // without Kerberos
	Root       string   `env:"HDFS_ROOT" envDefault:"/footfall/archive"` // the archive's folder; made where it is missing
	FolderMode string   `env:"HDFS_FOLDER_MODE" envDefault:"750"`        // octal
	FileMode   string   `env:"HDFS_FILE_MODE" envDefault:"640"`          // octal

	Replication int   `env:"HDFS_REPLICATION"`                        // of files; 0 = as the NameNode says
	BlockBytes  int64 `env:"HDFS_BLOCK_BYTES" envDefault:"268435456"` // a file has one HDFS block at most
	OpenFiles   int   `env:"HDFS_OPEN_FILES" envDefault:"8"`          // written at once, one for each hour of arrival

	DialTimeout  time.Duration `env:"HDFS_DIAL_TIMEOUT" envDefault:"3s"`
	CallTimeout  time.Duration `env:"HDFS_CALL_TIMEOUT" envDefault:"10s"`  // one answer of a NameNode, one read of a DataNode
	WriteTimeout time.Duration `env:"HDFS_WRITE_TIMEOUT" envDefault:"15s"` // until the DataNodes have acknowledged

	DatanodeHostnames bool `env:"HDFS_DATANODE_HOSTNAMES"` // connect to DataNodes by name, not by address
	// DataTransferProtection is what is asked of DataNodes: authentication,
	// integrity or privacy. Empty is what the cluster asks for.
	DataTransferProtection string `env:"HDFS_DATA_TRANSFER_PROTECTION"`

	KerberosKeytab           string `env:"HDFS_KERBEROS_KEYTAB"`    // a file; turns Kerberos on
	KerberosPrincipal        string `env:"HDFS_KERBEROS_PRINCIPAL"` // footfall@EXAMPLE.COM
	KerberosConf             string `env:"HDFS_KERBEROS_KRB5_CONF" envDefault:"/etc/krb5.conf"`
	KerberosServicePrincipal string `env:"HDFS_KERBEROS_SERVICE_PRINCIPAL" envDefault:"nn/_HOST"` // of the NameNodes
}

// minBlock is the least that a NameNode allows (dfs.namenode.fs-limits.min-block-size),
// and it holds the largest batch.
const minBlock = 1 << 20

// Validate reports all faults.
func (c *Config) Validate() error {
	var faults []error
	bad := func(field, expected string) { faults = append(faults, fault.Field("FOOTFALL_"+field, expected)) }
	if len(c.NameNodes) == 0 {
		bad("HDFS_NAMENODES", "the NameNodes, host:port and commas between")
	}
	for _, n := range c.NameNodes {
		host, port, ok := strings.Cut(n, ":")
		if p, err := strconv.Atoi(port); !ok || host == "" || err != nil || p < 1 || p > 65535 {
			bad("HDFS_NAMENODES", "host:port, got "+strconv.Quote(n))
		}
	}
	if !path.IsAbs(c.Root) || path.Clean(c.Root) != c.Root || c.Root == "/" {
		bad("HDFS_ROOT", "an absolute path below /")
	}
	if c.User == "" && c.KerberosKeytab == "" {
		bad("HDFS_USER", "a user, where Kerberos names none")
	}
	for _, m := range []struct{ field, mode string }{{"HDFS_FOLDER_MODE", c.FolderMode}, {"HDFS_FILE_MODE", c.FileMode}} {
		if mode, err := parseMode(m.mode); err != nil || mode&0o600 != 0o600 {
			bad(m.field, "three octal digits that let the owner read and write")
		}
	}
	if c.Replication < 0 || c.Replication > 512 {
		bad("HDFS_REPLICATION", "a number from 1 to 512, or 0 for the NameNode's own")
	}
	if c.BlockBytes < minBlock || c.BlockBytes%512 != 0 {
		bad("HDFS_BLOCK_BYTES", "at least 1048576, a multiple of 512")
	}
	if c.OpenFiles < 1 {
		bad("HDFS_OPEN_FILES", "at least 1")
	}
	for _, d := range []struct {
		field string
		d     time.Duration
	}{{"HDFS_DIAL_TIMEOUT", c.DialTimeout}, {"HDFS_CALL_TIMEOUT", c.CallTimeout}, {"HDFS_WRITE_TIMEOUT", c.WriteTimeout}} {
		if d.d <= 0 || d.d >= leaseMargin {
			bad(d.field, "a positive duration below "+leaseMargin.String())
		}
	}
	switch c.DataTransferProtection {
	case "", hdfs.DataTransferProtectionAuthentication, hdfs.DataTransferProtectionIntegrity, hdfs.DataTransferProtectionPrivacy:
	default:
		bad("HDFS_DATA_TRANSFER_PROTECTION", "authentication, integrity or privacy")
	}
	faults = append(faults, c.validateKerberos()...)
	return errors.Join(faults...)
}

func (c *Config) validateKerberos() (faults []error) {
	bad := func(field, expected string) { faults = append(faults, fault.Field("FOOTFALL_"+field, expected)) }
	if c.KerberosKeytab == "" {
		if c.KerberosPrincipal != "" {
			bad("HDFS_KERBEROS_KEYTAB", "the keytab of the principal")
		}
		return faults
	}
	if name, realm, ok := strings.Cut(c.KerberosPrincipal, "@"); !ok || name == "" || realm == "" {
		bad("HDFS_KERBEROS_PRINCIPAL", "name@REALM")
	}
	if c.KerberosConf == "" {
		bad("HDFS_KERBEROS_KRB5_CONF", "the path of a krb5.conf")
	}
	if service, host, ok := strings.Cut(c.KerberosServicePrincipal, "/"); !ok || service == "" || host == "" || strings.Contains(host, "@") {
		bad("HDFS_KERBEROS_SERVICE_PRINCIPAL", "service/host without a realm, such as nn/_HOST")
	}
	return faults
}

func splitPrincipal(p string) (name, realm string) {
	name, realm, _ = strings.Cut(p, "@")
	return name, realm
}

func parseMode(s string) (os.FileMode, error) {
	n, err := strconv.ParseUint(s, 8, 9)
	return os.FileMode(n), err
}

// pathsOf are the places of an archive.
type paths struct{ root string }

func (p paths) open() string              { return p.root + "/_open" }
func (p paths) instance(id string) string { return p.open() + "/" + id }
func (p paths) lock(id string) string     { return p.instance(id) + "/lock" }
func (p paths) care(h event.Hour) string  { return p.root + "/_care/" + h.Start().Format("2006010215") }
func (p paths) hour(h event.Hour) string  { return p.root + "/" + hourDir(h) }
func hourDir(h event.Hour) string         { return h.Start().Format("2006/01/02/15") }
func openName(h event.Hour, n int) string {
	return h.Start().Format("2006010215") + "-" + padded(n) + ".avro"
}
func (p paths) final(f openFile) string      { return p.hour(f.hour) + "/" + f.finalName() }
func (f openFile) finalName() string         { return f.instance + "-" + f.number + ".avro" }
func (p paths) openPath(f openFile) string   { return p.instance(f.instance) + "/" + f.name }
func (p paths) part(f openFile) string       { return p.instance(f.instance) + "/" + f.name + ".part" }
func (p paths) damaged(f openFile) string    { return p.hour(f.hour) + "/_" + f.finalName() + ".damaged" }
func (f openFile) relativePath() string      { return "_open/" + f.instance + "/" + f.name }
func (f openFile) relativeFinalPath() string { return hourDir(f.hour) + "/" + f.finalName() }

// openFile is a file that is being written, or was when its writer died.
type openFile struct {
	instance string
	name     string // YYYYMMDDHH-<number>.avro
	number   string
	hour     event.Hour
}

func parseOpen(instance, name string) (f openFile, ok bool) {
	stamp, rest, ok := strings.Cut(name, "-")
	number, isFile := strings.CutSuffix(rest, ".avro")
	at, err := time.Parse("2006010215", stamp)
	if !ok || !isFile || err != nil || number == "" || strings.ContainsAny(number, "./") {
		return openFile{}, false
	}
	return openFile{instance: instance, name: name, number: number, hour: event.HourOf(at)}, true
}

func padded(n int) string {
	s := strconv.Itoa(n)
	return "000000"[:max(0, 6-len(s))] + s
}
