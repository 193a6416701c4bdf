package function

import "testing"

func TestPercentFor(t *testing.T) {
	for _, c := range []struct {
		name              string
		least, live, room int64
		want              int64
	}{
		{"garbage of two seconds is more than GOGC allows", 50, 150 << 20, 300 << 20, 200},
		{"an idle process keeps what it had", 50, 20 << 20, 1 << 20, 50},
		{"a large heap has room already", 50, 2 << 30, 384 << 20, 50},
		{"next to nothing is live", 100, 1 << 10, 1 << 30, mostPercent},
		{"no collection yet", 50, 0, 1 << 30, 50},
		{"the collector is off", -1, 1 << 20, 1 << 30, -1},
	} {
		if got := percentFor(c.least, c.live, c.room); got != c.want {
			t.Errorf("%s: expected %d, got %d", c.name, c.want, got)
		}
	}
}
