package access

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"net/http"
	"strings"

	"github.com/footfall/footfall/shared/fault"
)

// Role is what a principal is.
type Role uint8

// The roles.
const (
	RoleNone   Role = iota // no credential came
	RoleAdmin              // the operator's token: everything
	RoleReport             // a report token: reads one merchant
)

// Principal is who asks.
type Principal struct {
	Role     Role
	Merchant string // of RoleReport
}

// Action is what is asked for.
type Action uint8

// The actions. All but the first three need the admin token.
const (
	ReadReport     Action = iota // reports, ledger, rejects of a merchant
	ReadMerchant                 // settings and streams of a merchant, without secrets
	AskWhoIAm                    // anyone with a valid credential
	ChangeMerchant               // settings, streams, secrets, tokens of a merchant
	CreateMerchant
	ListMerchants
	Operate // reprocess, archive, what concerns all merchants
)

// Merchants finds merchants by id; NotFound where there is none. store.Registry
// is one, and so is what keeps its answers for some seconds.
type Merchants interface {
	Merchant(ctx context.Context, id string) (Merchant, error)
}

// Authorizer is the one place that decides who may do what.
type Authorizer struct {
	admin     [sha256.Size]byte
	hasAdmin  bool
	merchants Merchants
}

// NewAuthorizer knows the operator by a token; with an empty one nobody is.
func NewAuthorizer(adminToken string, merchants Merchants) *Authorizer {
	return &Authorizer{admin: sha256.Sum256([]byte(adminToken)), hasAdmin: adminToken != "", merchants: merchants}
}

// Bearer is the token of a request's Authorization header, "" where it has
// none or not one of ours.
func Bearer(r *http.Request) string {
	scheme, token, ok := strings.Cut(r.Header.Get("Authorization"), " ")
	if !ok || !strings.EqualFold(scheme, "Bearer") || len(token) > MaxToken {
		return ""
	}
	return strings.TrimSpace(token)
}

// Authenticate tells who made a request: RoleNone where it carries no
// credential, Unauthenticated where it carries a wrong one.
func (a *Authorizer) Authenticate(ctx context.Context, r *http.Request) (Principal, error) {
	token := Bearer(r)
	if token == "" {
		if r.Header.Get("Authorization") != "" {
			return Principal{}, wrongCredential()
		}
		return Principal{}, nil
	}
	// Hashed first, so that the comparison takes the same time for tokens of
	// any length.
	sum := sha256.Sum256([]byte(token))
	if a.hasAdmin && subtle.ConstantTimeCompare(sum[:], a.admin[:]) == 1 {
		return Principal{Role: RoleAdmin}, nil
	}
	id, ok := reportTokenMerchant(token)
	if !ok {
		return Principal{}, wrongCredential()
	}
	m, err := a.merchants.Merchant(ctx, id)
	switch {
	case fault.Is(err, fault.NotFound):
		return Principal{}, wrongCredential()
	case err != nil:
		return Principal{}, err
	case !m.HasReportToken(token):
		return Principal{}, wrongCredential()
	}
	return Principal{Role: RoleReport, Merchant: m.ID}, nil
}

// Authorize authenticates a request and asks May.
func (a *Authorizer) Authorize(ctx context.Context, r *http.Request, action Action, merchant string) (Principal, error) {
	p, err := a.Authenticate(ctx, r)
	if err != nil {
		return p, err
	}
	return p, May(p, action, merchant)
}

// May returns nil where p may do action to a merchant ("" where the action
// concerns none), else Unauthenticated or Forbidden. It does not know which
// merchants exist: a foreign one and an unknown one are answered alike.
func May(p Principal, action Action, merchant string) error {
	switch {
	case p.Role == RoleNone:
		return &fault.Error{Kind: fault.Unauthenticated, Field: "Authorization", Expected: `"Bearer" and a token`}
	case p.Role == RoleAdmin, action == AskWhoIAm:
		return nil
	case p.Role == RoleReport && merchant == p.Merchant && (action == ReadReport || action == ReadMerchant):
		return nil
	default:
		return fault.New(fault.Forbidden, "the token does not allow this")
	}
}

func wrongCredential() error {
	return &fault.Error{Kind: fault.Unauthenticated, Field: "Authorization", Expected: `"Bearer" and a valid token`}
}
