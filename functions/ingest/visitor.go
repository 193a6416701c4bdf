package ingest

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"net/netip"
	"sync"
	"time"
)

// visitorSecret names the system secret behind all visitor hashes.
const visitorSecret = "visitor"

func newSecret() ([]byte, error) {
	secret := make([]byte, 32)
	if _, err := rand.Read(secret); err != nil {
		return nil, fmt.Errorf("cannot make a secret: %w", err)
	}
	return secret, nil
}

// visitors hashes a visitor's address and agent under a salt that holds for
// one UTC day, so that nobody can be followed from one day to the next, nor
// an address be found from a hash.
type visitors struct {
	mu     sync.RWMutex
	secret []byte
	shared bool
	salts  map[int64][sha256.Size]byte // by day since the Unix epoch
}

// maxSalts bounds the remembered days; events of old days are rare.
const maxSalts = 64

// newVisitors starts with a secret of this process alone. Until the system's
// is loaded, a visitor without client id who meets two instances counts twice:
// better than an event that is turned away.
func newVisitors() (*visitors, error) {
	secret, err := newSecret()
	if err != nil {
		return nil, err
	}
	return &visitors{secret: secret, salts: map[int64][sha256.Size]byte{}}, nil
}

func (v *visitors) keyed() bool {
	v.mu.RLock()
	defer v.mu.RUnlock()
	return v.shared
}

// use takes the system's secret.
func (v *visitors) use(secret []byte) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.secret, v.shared = secret, true
	clear(v.salts)
}

const microsPerDay = int64(24 * time.Hour / time.Microsecond)

// dayOf is the UTC day of an instant.
func dayOf(micros int64) int64 {
	d := micros / microsPerDay
	if micros%microsPerDay < 0 {
		d--
	}
	return d
}

func (v *visitors) salt(day int64) [sha256.Size]byte {
	v.mu.RLock()
	salt, ok := v.salts[day]
	v.mu.RUnlock()
	if ok {
		return salt
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	mac := hmac.New(sha256.New, v.secret)
	mac.Write([]byte(time.Unix(day*24*3600, 0).UTC().Format(time.DateOnly)))
	mac.Sum(salt[:0])
	if len(v.salts) >= maxSalts {
		clear(v.salts)
	}
	v.salts[day] = salt
	return salt
}

// hash is the visitor of a day. It is never zero: zero means absent.
func (v *visitors) hash(day int64, addr netip.Addr, agent string) uint64 {
	salt := v.salt(day)
	h := sha256.New()
	a := addr.As16()
	h.Write(salt[:])
	h.Write(a[:])
	h.Write([]byte(agent))
	var sum [sha256.Size]byte
	h.Sum(sum[:0])
	return max(1, binary.LittleEndian.Uint64(sum[:8]))
}
