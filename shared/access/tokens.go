package access

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base32"
	"encoding/hex"
	"strings"
)

// Prefixes of tokens, so that a person and a secret scanner know them. What
// follows is opaque.
const (
	APISecretPrefix   = "ffs_"
	ReportTokenPrefix = "ffr_"
	AdminTokenPrefix  = "ffa_"
	// MaxToken bounds what is taken for a token, in bytes.
	MaxToken = 256
)

const (
	merchantIDLetters    = 10 // 50 random bits: the registry tells a collision
	keyedIDLetters       = 16 // 80 bits: nothing would tell that two keys name one merchant
	measurementIDLetters = 10
	tokenBytes           = 20 // 160 random bits
)

// lower32 is base32 in lower case without padding.
var lower32 = base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding)

// NewMerchantID makes a random id: "m" and ten lower-case letters or digits.
func NewMerchantID() string {
	var b [8]byte
	randomBytes(b[:])
	return "m" + lower32.EncodeToString(b[:])[:merchantIDLetters]
}

// MerchantIDFor makes the id of a merchant that is created under an
// idempotency key: the same key always names the same merchant, so that
// a creation that is tried again meets the merchant of the first try.
func MerchantIDFor(idempotencyKey string) string {
	sum := sha256.Sum256([]byte("merchant\x00" + idempotencyKey))
	return "m" + lower32.EncodeToString(sum[:])[:keyedIDLetters]
}

// NewMeasurementID makes a random id of a stream: "G-" and ten of A-Z, 0-9.
func NewMeasurementID() string {
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
	const fair = 256 / len(alphabet) * len(alphabet) // bytes from here on would favour the first letters
	id := make([]byte, 0, 2+measurementIDLetters)
	id = append(id, "G-"...)
	var b [16]byte
	for {
		randomBytes(b[:])
		for _, x := range b {
			if int(x) < fair {
				id = append(id, alphabet[int(x)%len(alphabet)])
			}
			if len(id) == cap(id) {
				return string(id)
			}
		}
	}
}

// NewAPISecret makes a stream's secret. It is shown once; its Hash is kept.
func NewAPISecret() string { return APISecretPrefix + randomText() }

// NewReportToken makes a token that reads one merchant's reports. The
// merchant's id stands in it, so that it is found without an index of tokens.
func NewReportToken(merchant string) string {
	return ReportTokenPrefix + merchant + "_" + randomText()
}

// NewAdminToken makes an operator's token, where none was configured.
func NewAdminToken() string { return AdminTokenPrefix + randomText() }

// reportTokenMerchant is the merchant that a token claims to be of.
func reportTokenMerchant(token string) (merchant string, ok bool) {
	rest, ok := strings.CutPrefix(token, ReportTokenPrefix)
	if !ok {
		return "", false
	}
	i := strings.LastIndexByte(rest, '_')
	if i <= 0 {
		return "", false
	}
	return rest[:i], true
}

func randomText() string {
	var b [tokenBytes]byte
	randomBytes(b[:])
	return lower32.EncodeToString(b[:])
}

// randomBytes fills b. crypto/rand ends the program where the system has no
// randomness, and returns no error.
func randomBytes(b []byte) { _, _ = rand.Read(b) }

// HashOf is the hash under which a token is kept.
func HashOf(token string) Hash {
	sum := sha256.Sum256([]byte(token))
	return Hash(hex.EncodeToString(sum[:]))
}

// Matches reports whether h is the token's hash, in constant time.
func (h Hash) Matches(token string) bool {
	return subtle.ConstantTimeCompare([]byte(h), []byte(HashOf(token))) == 1
}

// HasSecret reports whether token is one of the stream's API secrets.
func (s *Stream) HasSecret(token string) bool { return matchesAny(s.APISecrets, token) }

// HasReportToken reports whether token reads the merchant's reports.
func (m *Merchant) HasReportToken(token string) bool { return matchesAny(m.ReportTokens, token) }

// matchesAny looks at every hash, so that the time tells nothing but their
// number.
func matchesAny(hashes []Hash, token string) bool {
	sum, found := []byte(HashOf(token)), 0
	for _, h := range hashes {
		found |= subtle.ConstantTimeCompare([]byte(h), sum)
	}
	return found == 1
}
