package ingest

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"slices"
	"strings"
	"time"

	"go.opentelemetry.io/otel/metric"

	"github.com/footfall/footfall/shared/access"
	"github.com/footfall/footfall/shared/fault"
	"github.com/footfall/footfall/shared/watched"
)

// dataCentres knows the networks in the operator's list. nil knows none.
type dataCentres struct {
	file *watched.File[[]addrRange]
}

// addrRange is the addresses from the first to the last.
type addrRange struct{ first, last netip.Addr }

// dataCentreRefresh is how often the list is looked at.
const dataCentreRefresh = 15 * time.Second

func openDataCentres(path string, log *slog.Logger, meter metric.Meter) (*dataCentres, error) {
	if path == "" {
		return nil, nil
	}
	file, err := watched.Open(path, readNetworks, log, meter)
	if err != nil {
		return nil, fmt.Errorf("FOOTFALL_DATA_CENTRE_FILE: %w", err)
	}
	return &dataCentres{file}, nil
}

func (d *dataCentres) run(ctx context.Context) {
	if d != nil {
		d.file.Run(ctx, dataCentreRefresh, nil)
	}
}

// holds reports whether an address is in the list.
func (d *dataCentres) holds(a netip.Addr) bool {
	if d == nil || !a.IsValid() {
		return false
	}
	ranges := d.file.Get()
	// The last range that does not begin after the address.
	after, _ := slices.BinarySearchFunc(ranges, a, func(r addrRange, a netip.Addr) int {
		if r.first.Compare(a) <= 0 {
			return -1
		}
		return 1
	})
	return after > 0 && a.Compare(ranges[after-1].last) <= 0
}

// readNetworks reads a network or address from the first word of each line;
// what follows it, or a "#", is a comment. The ranges are in order and apart.
func readNetworks(path string) ([]addrRange, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("cannot read the list of networks: %w", err)
	}
	var ranges []addrRange
	n := 0
	for line := range strings.Lines(string(data)) {
		n++
		text, _, _ := strings.Cut(line, "#")
		words := strings.Fields(text)
		if len(words) == 0 {
			continue
		}
		p, err := access.ParseNetwork(words[0])
		if err != nil {
			return nil, fault.Field(fmt.Sprintf("%s, line %d", path, n), "a network such as 198.51.100.0/24")
		}
		ranges = append(ranges, addrRange{p.Addr(), lastOf(p)})
	}
	slices.SortFunc(ranges, func(a, b addrRange) int { return a.first.Compare(b.first) })
	apart := ranges[:0]
	for _, r := range ranges {
		if k := len(apart) - 1; k >= 0 && r.first.Compare(apart[k].last) <= 0 {
			if apart[k].last.Compare(r.last) < 0 {
				apart[k].last = r.last
			}
			continue
		}
		apart = append(apart, r)
	}
	return slices.Clip(apart), nil
}

// lastOf is the last address of a network.
func lastOf(p netip.Prefix) netip.Addr {
	a := p.Addr().AsSlice()
	for bit := p.Bits(); bit < 8*len(a); bit++ {
		a[bit/8] |= 0x80 >> (bit % 8)
	}
	last, _ := netip.AddrFromSlice(a)
	return last
}
