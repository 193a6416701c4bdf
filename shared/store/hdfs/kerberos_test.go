package hdfs

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/footfall/footfall/infra/services"
	"github.com/footfall/footfall/shared/event"
	"github.com/footfall/footfall/shared/fault"
	"github.com/footfall/footfall/shared/store"
	"github.com/footfall/footfall/shared/store/storetest"
)

// kdc is a Kerberos of the test's own, with the realm FOOTFALL.TEST.
type kdc struct {
	t    *testing.T
	dir  string
	conf string // krb5.conf
	env  []string
}

// program finds a program of the administrator's.
func program(t *testing.T, name string) string {
	t.Helper()
	for _, dir := range append(filepath.SplitList(os.Getenv("PATH")), "/usr/sbin", "/usr/local/sbin") {
		if path, err := exec.LookPath(filepath.Join(dir, name)); err == nil {
			return path
		}
	}
	t.Skipf("needs MIT Kerberos on this machine, and %s is not there (Debian: krb5-kdc krb5-admin-server)", name)
	return ""
}

func startKDC(t *testing.T) *kdc {
	t.Helper()
	server := program(t, "krb5kdc")
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := l.Addr().(*net.TCPAddr).Port
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	k := &kdc{t: t, dir: t.TempDir()}
	k.conf = filepath.Join(k.dir, "krb5.conf")
	kdcConf := filepath.Join(k.dir, "kdc.conf")
	k.env = append(os.Environ(), "KRB5_CONFIG="+k.conf, "KRB5_KDC_PROFILE="+kdcConf)
	for file, text := range map[string]string{
		k.conf: fmt.Sprintf(`[libdefaults]
 default_realm = FOOTFALL.TEST
 dns_lookup_kdc = false
 dns_lookup_realm = false
 rdns = false
 udp_preference_limit = 1
 default_tkt_enctypes = aes256-cts-hmac-sha1-96
 default_tgs_enctypes = aes256-cts-hmac-sha1-96
 permitted_enctypes = aes256-cts-hmac-sha1-96
[realms]
 FOOTFALL.TEST = {
  kdc = 127.0.0.1:%d
 }
`, port),
		kdcConf: fmt.Sprintf(`[kdcdefaults]
 kdc_listen = 127.0.0.1:%d
 kdc_tcp_listen = 127.0.0.1:%d
[realms]
 FOOTFALL.TEST = {
  database_name = %s/principal
  key_stash_file = %s/stash
  supported_enctypes = aes256-cts-hmac-sha1-96:normal
 }
`, port, port, k.dir, k.dir),
	} {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	k.run("kdb5_util", "create", "-s", "-r", "FOOTFALL.TEST", "-P", "master")
	cmd := exec.Command(server, "-n", "-r", "FOOTFALL.TEST")
	cmd.Env = k.env
	ended := make(chan error, 1)
	if err := services.StartWithUs(cmd, ended); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		<-ended
	})
	eventually(t, 20*time.Second, "the KDC does not answer", func() bool {
		c, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", "127.0.0.1:"+strconv.Itoa(port))
		if err == nil {
			_ = c.Close()
		}
		return err == nil
	})
	return k
}

func (k *kdc) run(name string, args ...string) {
	k.t.Helper()
	cmd := exec.CommandContext(k.t.Context(), program(k.t, name), args...)
	cmd.Env = k.env
	if out, err := cmd.CombinedOutput(); err != nil {
		k.t.Fatalf("%s: %v\n%s", name, err, out)
	}
}

// keytab makes a principal and its keytab.
func (k *kdc) keytab(principal string) string {
	k.t.Helper()
	file := filepath.Join(k.dir, strings.ReplaceAll(principal, "/", "-")+".keytab")
	k.run("kadmin.local", "-r", "FOOTFALL.TEST", "-q", "addprinc -randkey "+principal)
	k.run("kadmin.local", "-r", "FOOTFALL.TEST", "-q", "ktadd -k "+file+" "+principal)
	return file
}

func TestKerberosLogin(t *testing.T) {
	t.Parallel()
	k := startKDC(t)
	cfg := configFor(t, "127.0.0.1:1")
	cfg.KerberosPrincipal, cfg.KerberosConf, cfg.KerberosServicePrincipal = "footfall@FOOTFALL.TEST", k.conf, "nn/_HOST"
	cfg.KerberosKeytab = k.keytab("footfall")
	ss := &sessions{cfg: cfg}
	defer ss.close()
	for range 2 { // the second finds the first's
		c, err := ss.login()
		if err != nil || c == nil || c.Credentials.UserName() != "footfall" {
			t.Fatalf("cannot log in: %v", err)
		}
	}
	cfg.KerberosPrincipal = "nobody@FOOTFALL.TEST"
	a := mustOpen(t, cfg)
	if err := a.Ready(t.Context()); err == nil || !fault.Is(err, fault.Transient) || !strings.Contains(err.Error(), "nobody@FOOTFALL.TEST") {
		t.Errorf("error is %v", err)
	}
	cfg.KerberosKeytab = filepath.Join(k.dir, "none.keytab")
	a = mustOpen(t, cfg)
	if err := a.Ready(t.Context()); err == nil || !strings.Contains(err.Error(), "none.keytab") {
		t.Errorf("error is %v", err)
	}
}

// The suite against NameNode and DataNode that take nobody without a ticket.
func TestKerberos(t *testing.T) {
	k := startKDC(t)
	t.Setenv("JAVA_TOOL_OPTIONS", "-Djava.security.krb5.conf="+k.conf)
	h := ownHDFS(t)
	settings := map[string]string{
		"hadoop.security.authentication":            "kerberos",
		"hadoop.security.auth_to_local":             "RULE:[2:$1](nn|dn)s/.*/hdfs/\nRULE:[1:$1]",
		"dfs.block.access.token.enable":             "true",
		"dfs.namenode.kerberos.principal":           "nn/localhost@FOOTFALL.TEST",
		"dfs.namenode.keytab.file":                  k.keytab("nn/localhost"),
		"dfs.datanode.kerberos.principal":           "dn/localhost@FOOTFALL.TEST",
		"dfs.datanode.keytab.file":                  k.keytab("dn/localhost"),
		"ignore.secure.ports.for.testing":           "true",
		"dfs.web.authentication.kerberos.principal": "nn/localhost@FOOTFALL.TEST",
		"dfs.web.authentication.kerberos.keytab":    filepath.Join(k.dir, "nn-localhost.keytab"),
	}
	user := k.keytab("footfall")
	for _, c := range []struct{ name, rpc, data, ask string }{
		{"authentication", "authentication", "authentication", "authentication"},
		{"privacy", "privacy", "privacy", "privacy"},
	} {
		settings["hadoop.rpc.protection"], settings["dfs.data.transfer.protection"] = c.rpc, c.data
		settings["dfs.encrypt.data.transfer.cipher.suites"] = "AES/CTR/NoPadding"
		reconfigure(t, h, settings)
		t.Run(c.name, func(t *testing.T) {
			cfg := configFor(t, h.Addr())
			cfg.User = ""
			cfg.DataTransferProtection = c.ask
			cfg.KerberosPrincipal, cfg.KerberosConf, cfg.KerberosServicePrincipal = "footfall@FOOTFALL.TEST", k.conf, "nn/localhost"
			cfg.KerberosKeytab = user

			bare := cfg
			bare.KerberosKeytab, bare.KerberosPrincipal, bare.User, bare.DataTransferProtection = "", "", "footfall", ""
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			defer cancel()
			b, err := newBlock(noon, 100)
			if err != nil {
				t.Fatal(err)
			}
			if err := mustOpen(t, bare).Append(ctx, []store.Block{b}); err == nil {
				t.Fatal("HDFS takes blocks without a ticket: it is not secured")
			}
			storetest.Archive(t, func(tb storetest.TB) (store.Archive, func() store.Archive) {
				cfg := cfg
				id, err := event.NewBatchID()
				if err != nil {
					tb.Fatalf("cannot make an id: %v", err)
				}
				cfg.Root += "/" + id.String()
				return mustOpen(tb, cfg), nil
			})
		})
	}
}
