package hdfs

import (
	"strings"
	"testing"
	"time"

	"github.com/caarlos0/env/v11"

	"github.com/footfall/footfall/shared/event"
)

func TestConfigFromEnvironment(t *testing.T) {
	t.Parallel()
	var cfg Config
	err := env.ParseWithOptions(&cfg, env.Options{Environment: map[string]string{
		"HDFS_NAMENODES": "nn1:8020,nn2:8020", "HDFS_REPLICATION": "3", "HDFS_CALL_TIMEOUT": "5s",
	}})
	if err != nil {
		t.Fatal(err)
	}
	if err := cfg.Validate(); err != nil {
		t.Fatal(err)
	}
	if len(cfg.NameNodes) != 2 || cfg.Replication != 3 || cfg.CallTimeout != 5*time.Second || cfg.Root != "/footfall/archive" || cfg.User != "footfall" {
		t.Errorf("configuration is %+v", cfg)
	}
}

func TestConfigReportsAllFaults(t *testing.T) {
	t.Parallel()
	cfg := Config{
		NameNodes: []string{"nn1"}, Root: "archive/", FolderMode: "rwx", FileMode: "777777", Replication: -1,
		BlockBytes: 1000, CallTimeout: time.Hour, DataTransferProtection: "some", KerberosKeytab: "/k",
		KerberosPrincipal: "footfall", KerberosServicePrincipal: "nn/host@REALM",
	}
	err := cfg.Validate()
	if err == nil {
		t.Fatal("accepted")
	}
	for _, field := range []string{
		"HDFS_NAMENODES", "HDFS_ROOT", "HDFS_FOLDER_MODE", "HDFS_FILE_MODE", "HDFS_REPLICATION", "HDFS_BLOCK_BYTES", "HDFS_OPEN_FILES",
		"HDFS_DIAL_TIMEOUT", "HDFS_CALL_TIMEOUT", "HDFS_WRITE_TIMEOUT", "HDFS_DATA_TRANSFER_PROTECTION",
		"HDFS_KERBEROS_PRINCIPAL", "HDFS_KERBEROS_KRB5_CONF", "HDFS_KERBEROS_SERVICE_PRINCIPAL",
	} {
		if !strings.Contains(err.Error(), "FOOTFALL_"+field) {
			t.Errorf("nothing is said about %s: %v", field, err)
		}
	}
}

func TestNames(t *testing.T) {
	t.Parallel()
	h := event.HourOf(time.Date(2026, 11, 23, 18, 59, 0, 0, time.UTC))
	name := openName(h, 12)
	f, ok := parseOpen("abc", name)
	if name != "2026112318-000012.avro" || !ok || f.hour != h {
		t.Fatalf("%q is read as %+v", name, f)
	}
	p := paths{"/a"}
	for _, c := range [][2]string{
		{p.openPath(f), "/a/_open/abc/2026112318-000012.avro"},
		{p.part(f), "/a/_open/abc/2026112318-000012.avro.part"},
		{p.final(f), "/a/2026/11/23/18/abc-000012.avro"},
		{p.damaged(f), "/a/2026/11/23/18/_abc-000012.avro.damaged"},
		{p.lock("abc"), "/a/_open/abc/lock"},
		{f.relativePath(), "_open/abc/2026112318-000012.avro"},
		{f.relativeFinalPath(), "2026/11/23/18/abc-000012.avro"},
	} {
		if c[0] != c[1] {
			t.Errorf("path is %q, expected %q", c[0], c[1])
		}
	}
	for _, bad := range []string{"", "lock", "2026112318.avro", "2026112318-1.avro.part", "20261123-1.avro", "2026112399-1.avro", "2026112318-../x.avro", "2026112318-.avro"} {
		if f, ok := parseOpen("abc", bad); ok {
			t.Errorf("%q is read as %+v", bad, f)
		}
	}
}
