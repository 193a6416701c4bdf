package redis

import (
	"strings"
	"testing"

	"github.com/footfall/footfall/shared/function"
)

func TestConfiguration(t *testing.T) {
	for _, c := range []struct {
		name   string
		vars   []string
		faults []string // none: it is right
	}{
		{"defaults", nil, nil},
		{"cluster", []string{"REDIS_MODE=cluster", "REDIS_ADDRS=a:1,b:2", "REDIS_PASSWORD=p", "REDIS_TLS=true"}, nil},
		{"sentinel", []string{"REDIS_MODE=sentinel", "REDIS_MASTER=m", "REDIS_ADDRS=a:1", "REDIS_SENTINEL_PASSWORD=p"}, nil},
		{"all faults at once", []string{"REDIS_MODE=many", "REDIS_ADDRS=nowhere", "REDIS_MASTER=m", "REDIS_USERNAME=u", "REDIS_TIMEOUT=0s", "REDIS_TLS_CERT_FILE=c", "REDIS_KEY_PREFIX={x"},
			[]string{"REDIS_MODE", "REDIS_ADDRS", "REDIS_MASTER", "REDIS_PASSWORD", "REDIS_TIMEOUT", "REDIS_TLS:", "REDIS_TLS_CERT_FILE", "REDIS_KEY_PREFIX"}},
		{"files that cannot be read", []string{"REDIS_TLS=true", "REDIS_TLS_CA_FILE=no-ca", "REDIS_TLS_CERT_FILE=no-cert", "REDIS_TLS_KEY_FILE=no-key"},
			[]string{"REDIS_TLS_CA_FILE", "no-ca", "REDIS_TLS_CERT_FILE", "no-cert", "REDIS_TLS_KEY_FILE", "no-key"}},
		{"two addresses of one server", []string{"REDIS_ADDRS=a:1,b:2"}, []string{"REDIS_MODE"}},
		{"a sentinel without a master", []string{"REDIS_MODE=sentinel"}, []string{"REDIS_MASTER"}},
	} {
		vars := make([]string, len(c.vars))
		for i, v := range c.vars {
			vars[i] = function.Prefix + v
		}
		var cfg Config
		err := function.Load(vars, nil, &cfg)
		if (err != nil) != (len(c.faults) > 0) {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		for _, f := range c.faults {
			if !strings.Contains(err.Error(), f) {
				t.Errorf("%s: nothing about %s in\n%v", c.name, f, err)
			}
		}
	}
}
