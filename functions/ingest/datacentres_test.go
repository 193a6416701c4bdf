package ingest

import (
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"testing"

	"go.opentelemetry.io/otel/metric/noop"
)

func TestDataCentres(t *testing.T) {
	path := filepath.Join(t.TempDir(), "networks")
	list := "# a cloud\n198.51.100.0/24 example cloud\n198.51.100.64/26 # within\n203.0.113.7\n\n2001:db8::/32\n10.0.0.0/9\n"
	if err := os.WriteFile(path, []byte(list), 0o600); err != nil {
		t.Fatal(err)
	}
	d, err := openDataCentres(path, slog.New(slog.DiscardHandler), noop.Meter{})
	if err != nil {
		t.Fatal(err)
	}
	for text, want := range map[string]bool{
		"198.51.100.0": true, "198.51.100.255": true, "198.51.101.0": false, "198.51.99.255": false, "203.0.113.7": true, "203.0.113.8": false,
		"10.127.255.255": true, "10.128.0.0": false, "2001:db8:ffff::1": true, "2001:db9::": false, "0.0.0.0": false, "255.255.255.255": false,
	} {
		if got := d.holds(netip.MustParseAddr(text)); got != want {
			t.Errorf("%s: got %t", text, got)
		}
	}
	if d.holds(netip.Addr{}) || (*dataCentres)(nil).holds(netip.MustParseAddr("10.0.0.1")) {
		t.Error("no address, or no list, holds something")
	}
	if err := os.WriteFile(path, []byte("198.51.100.0/24\nnonsense\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := openDataCentres(path, slog.New(slog.DiscardHandler), noop.Meter{}); err == nil {
		t.Error("a broken list was opened")
	}
}

func BenchmarkDataCentres(b *testing.B) {
	path := filepath.Join(b.TempDir(), "networks")
	var list []byte
	for i := range 10_000 {
		list = netip.PrefixFrom(netip.AddrFrom4([4]byte{byte(20 + i>>12), byte(i >> 4), byte(i << 4), 0}), 24).AppendTo(list)
		list = append(list, '\n')
	}
	if err := os.WriteFile(path, list, 0o600); err != nil {
		b.Fatal(err)
	}
	d, err := openDataCentres(path, slog.New(slog.DiscardHandler), noop.Meter{})
	if err != nil {
		b.Fatal(err)
	}
	a := netip.MustParseAddr("21.7.3.9")
	b.ReportAllocs()
	for b.Loop() {
		d.holds(a)
	}
}
