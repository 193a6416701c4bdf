package ingest

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"github.com/klauspost/compress/gzip"

	"github.com/footfall/footfall/shared/event"
	"github.com/footfall/footfall/shared/fault"
	"github.com/footfall/footfall/shared/function"
	"github.com/footfall/footfall/shared/protocol/cloudevents"
)

// request is the memory that one request under way uses. It is used again.
type request struct {
	parser  cloudevents.Parser
	gzip    *gzip.Reader
	wire    []byte // a body as it came, where it must be read whole to be decompressed
	plain   []byte // a body after decompression
	held    int64  // bytes reserved at the gate
	sub     submission
	refused []cloudevents.Refusal
	answer  []byte
	share   share // what the request holds of its stream's share of the buffer

	// Of quotas: the window that the request came in, what it took of them,
	// and what was over.
	window int64
	taken  []taken
	over   []over
	retry  time.Duration // after which there is a quota again
}

func newRequest() *request {
	return &request{sub: submission{done: make(chan struct{}, 1)}}
}

// reset keeps the memory that is worth keeping.
func (rq *request) reset() {
	rq.parser.Release()
	rq.wire, rq.plain, rq.answer = trimmed(rq.wire), trimmed(rq.plain), trimmed(rq.answer)
	rq.held = 0
	rq.sub.reset()
	clear(rq.refused)
	rq.refused = rq.refused[:0]
	clear(rq.taken)
	clear(rq.over)
	rq.taken, rq.over = rq.taken[:0], rq.over[:0]
	rq.share = share{}
}

// serveEvents is POST /events.
func (in *Ingest) serveEvents(w http.ResponseWriter, r *http.Request) {
	allowOrigins(w.Header())
	switch r.Method {
	case http.MethodPost:
	case http.MethodOptions:
		preflight(w, r)
		return
	default:
		w.Header()["Allow"] = allowedMethods
		writeWhole(w, http.StatusMethodNotAllowed, &fault.Error{Kind: fault.Unsupported, Field: "method", Expected: "POST"})
		return
	}
	if err := in.gate.enter(); err != nil {
		function.WriteError(w, err)
		return
	}
	rq := in.requests.Get().(*request)
	defer func() {
		in.gate.leave(rq.held, rq.share)
		rq.reset()
		in.requests.Put(rq)
	}()
	err := in.take(rq, w, r)
	if err == nil {
		err = in.collector.submit(&rq.sub)
	}
	if err != nil {
		rq.giveBack()
		in.answerFault(w, err)
		return
	}
	for i := range rq.over {
		in.quotas.refuse(rq.over[i].stream, rq.over[i].limit, rq.over[i].events)
	}
	in.countRefusals(rq.refused)
	writeReceipt(w, rq)
}

// take reads a request into rq: the events that are accepted, encoded, and
// what is refused.
func (in *Ingest) take(rq *request, w http.ResponseWriter, r *http.Request) error {
	body, err := in.body(rq, w, r)
	if err != nil {
		return err
	}
	now := in.ports.Clock()
	parsed, err := rq.parser.Parse(r.Header, body, now)
	if err != nil {
		return err
	}
	rq.refused = append(rq.refused[:0], parsed.Refused...)
	rq.window, rq.retry = windowAt(now), untilNext(now)
	if len(parsed.Events) > 0 {
		ctx := in.contextOf(r)
		for i := range parsed.Events {
			in.admit(rq, &ctx, parsed, i)
		}
	}
	rq.sub.receivedAt = now
	for i := range rq.refused {
		if rq.refused[i].Reason != event.ReasonQuota { // those are counted, not kept
			rq.sub.refused = append(rq.sub.refused, rq.refused[i].Refused)
		}
	}
	if err := in.hold(rq, len(rq.sub.encoded)); err != nil || len(rq.sub.runs) == 0 {
		return err
	}
	rq.share, err = in.gate.claim(rq.sub.runs[0].hash, rq.held)
	return err
}

// requestContext is what all events of a request share.
type requestContext struct {
	sender
	dataCentre bool // its address is of one
	bearer     bool
	credential digest
	fullHash   string // SHA-256 of the secret, hex

	// The last event's stream and visitor: mostly those of the next, too.
	streamID   string
	streamHash uint64
	stream     stream
	known      bool
	visitorDay int64
	visitor    uint64
}

func (in *Ingest) contextOf(r *http.Request) requestContext {
	ctx := requestContext{sender: in.cfg.senderOf(r)}
	ctx.dataCentre = in.dataCentres.holds(ctx.addr)
	if auth := r.Header.Get("Authorization"); auth != "" {
		secret := auth
		if len(auth) > 7 && strings.EqualFold(auth[:7], "Bearer ") {
			secret = strings.TrimSpace(auth[7:])
		}
		sum := sha256.Sum256([]byte(secret))
		ctx.bearer, ctx.credential, ctx.fullHash = true, digest(sum[:16]), hex.EncodeToString(sum[:])
	}
	return ctx
}

// admit judges one event by its stream, completes it, and encodes it.
func (in *Ingest) admit(rq *request, ctx *requestContext, parsed *cloudevents.Result, i int) {
	e := &parsed.Events[i]
	if e.Stream != ctx.streamID {
		ctx.streamID, ctx.streamHash = e.Stream, in.streams.hash(e.Stream)
		ctx.stream, ctx.known = in.streams.find(ctx.streamHash)
	}
	switch {
	case ctx.known && ctx.stream.disabled:
		rq.refuse(parsed.Index[i], e, fault.Forbidden, "measurementid", "a stream that is not disabled")
		return
	case ctx.bearer && !ctx.known:
		e.Auth, e.Credential = event.AuthUnknown, ctx.fullHash
	case ctx.bearer && !ctx.stream.matches(ctx.credential):
		rq.refuse(parsed.Index[i], e, fault.Unauthenticated, "authorization", "Bearer and an API secret of the stream")
		return
	case ctx.bearer:
		e.Auth = event.AuthVerified
	}
	if t := ctx.stream.tenant(); t != nil && !in.within(rq, t, e.Stream) {
		rq.refuse(parsed.Index[i], e, fault.QuotaExceeded, "quota", quotaExpected(t.quota()))
		return
	}
	in.complete(ctx, e, parsed, i)
	before := len(rq.sub.encoded)
	rq.sub.encoded = event.AppendEvent(rq.sub.encoded, e)
	if len(rq.sub.encoded)-before > event.MaxEventBytes {
		rq.sub.encoded = rq.sub.encoded[:before]
		rq.refuse(parsed.Index[i], e, fault.TooLarge, "event", "at most 256 KiB")
		return
	}
	rq.sub.add(e.Stream, ctx.streamHash, e.Hour())
}

// complete fills in what the request says of the visitor. A claim about the
// visitor counts with an API secret only.
func (in *Ingest) complete(ctx *requestContext, e *event.Event, parsed *cloudevents.Result, i int) {
	e.UserAgent, e.Country, e.Region, e.City = ctx.agent, ctx.country, ctx.region, ctx.city
	e.Purpose = ctx.purpose
	e.IP = ctx.cut
	if e.Hints == "" && !ctx.bearer {
		e.Hints = ctx.hints
	}
	if e.Language == "" && !ctx.bearer {
		e.Language = ctx.language // a server's own language says nothing of its visitor's
	}
	claim := parsed.Claims[i]
	if e.Auth == event.AuthNone {
		e.ClaimedUserAgent, e.ClaimedIP = "", ""
	}
	in.networks(ctx, e, claim)
	if ctx.known && ctx.stream.keepIP && ctx.addr.IsValid() {
		e.IP = ctx.addr.String()
		if e.ClaimedIP != "" {
			e.ClaimedIP = claim.String()
		}
	}
	if e.ClientID != "" {
		return
	}
	day := dayOf(e.TimeMicros)
	if ctx.visitor == 0 || ctx.visitorDay != day {
		ctx.visitorDay, ctx.visitor = day, in.visitors.hash(day, ctx.addr, ctx.agent)
	}
	e.Visitor = ctx.visitor
	if e.ClaimedUserAgent != "" || e.ClaimedIP != "" {
		addr, agent := ctx.addr, ctx.agent
		if e.ClaimedIP != "" {
			addr = claim
		}
		if e.ClaimedUserAgent != "" {
			agent = e.ClaimedUserAgent
		}
		e.ClaimedVisitor = in.visitors.hash(day, addr, agent)
	}
}

// networks marks what the whole addresses tell.
func (in *Ingest) networks(ctx *requestContext, e *event.Event, claim netip.Addr) {
	if ctx.dataCentre {
		e.Networks |= event.NetworkDataCentre
	}
	claimed := e.ClaimedIP != ""
	if claimed && in.dataCentres.holds(claim) {
		e.Networks |= event.NetworkClaimedDataCentre
	}
	if !ctx.known {
		return
	}
	for _, network := range ctx.stream.internal() {
		if network.Contains(ctx.addr) {
			e.Networks |= event.NetworkInternal
		}
		if claimed && network.Contains(claim) {
			e.Networks |= event.NetworkClaimedInternal
		}
	}
}

// refuse records an event that was well formed and is not taken.
func (rq *request) refuse(index int, e *event.Event, kind fault.Kind, field, expected string) {
	rq.refused = append(rq.refused, cloudevents.Refusal{Index: index, Refused: event.Refused{
		Stream: e.Stream, ID: e.ID, Field: field, Reason: kind.String(), Detail: expected,
	}})
}

func (in *Ingest) countRefusals(refused []cloudevents.Refusal) {
	for i := range refused {
		in.meters.add(in.meters.rejected, 1, "reason", refused[i].Reason)
	}
}

// answerFault answers a request of which nothing was read or accepted.
func (in *Ingest) answerFault(w http.ResponseWriter, err error) {
	kind := fault.KindOf(err)
	in.meters.add(in.meters.rejected, 1, "reason", kind.String())
	var f *fault.Error
	switch kind {
	case fault.Invalid, fault.TooLarge, fault.Unsupported:
		if errors.As(err, &f) {
			writeWhole(w, kind.Status(), f)
			return
		}
	}
	function.WriteError(w, err)
}
