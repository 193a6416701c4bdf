package enrich

import (
	"bytes"
	"cmp"
	"crypto/subtle"
	"encoding/binary"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/footfall/footfall/shared/channel"
	"github.com/footfall/footfall/shared/event"
	"github.com/footfall/footfall/shared/processed"
)

// Reasons why an accepted event is not counted.
const (
	ReasonUnknownStream  = "unknown_stream"
	ReasonDisabledStream = "disabled_stream"
	ReasonErased         = "erased" // on request of the person whose event it was
)

// Owner is what must be known of a stream.
type Owner struct {
	Merchant string
	Disabled bool
	Secrets  []string // SHA-256 of its API secrets, hex
}

// Doc is the document of a merchant's events of one UTC hour in a batch.
type Doc struct {
	Merchant string
	Hour     event.Hour
	Events   int
	Data     []byte // processed.Encode
}

// Reject is an event that is not counted. Its fields mean what those of
// store.Reject do.
type Reject struct {
	Batch      event.BatchID
	ReceivedAt time.Time
	Merchant   string
	Stream     string
	Index      int
	EventID    string
	Hour       event.Hour
	Refused    bool
	Events     int64
	Reason     string
	Field      string
	Detail     string
	Data       []byte
}

// Result is all that a batch becomes.
type Result struct {
	Docs    []Doc    // by merchant, then hour
	Rejects []Reject // by index
}

// Options are an Enricher's. Zero values mean what is said with them.
type Options struct {
	Geo    *Geo // nil: only what a trusted ingress says of the country
	Agents int  // how many user agents are remembered: 16,384
}

// Enricher turns batches into documents. It may be used by many goroutines.
type Enricher struct {
	agents   *Agents
	geo      atomic.Pointer[Geo]
	sources  *channel.Sources
	builders sync.Pool
}

// New compiles the lists.
func New(o Options) (*Enricher, error) {
	bots, err := NewBots()
	if err != nil {
		return nil, err
	}
	if o.Agents <= 0 {
		o.Agents = 16 << 10
	}
	e := &Enricher{
		agents: NewAgents(bots, o.Agents), sources: channel.Known(),
		builders: sync.Pool{New: func() any { return new(work) }},
	}
	e.geo.Store(o.Geo)
	return e, nil
}

// UsePlaces takes another place file from the next batch on.
func (e *Enricher) UsePlaces(g *Geo) { e.geo.Store(g) }

// work is the memory that one batch needs.
type work struct {
	builder processed.Builder
	row     processed.Row
	places  []place
	geo     *Geo // one for the whole batch
	last    said // by the last event, and what it means
	means   Agent
}

// place says where an event belongs, and where it stands.
type place struct {
	owner int32
	hour  event.Hour
	batch int32
	index int32
}

// Batch is the whole way of a batch from accepted events to documents. owner
// says whose a stream is; false means nobody's, so it must not be asked before
// the registry is known. Equal batches and owners give equal bytes, whatever
// was enriched before.
func (e *Enricher) Batch(b *event.Batch, owner func(stream string) (Owner, bool)) Result {
	w := e.builders.Get().(*work)
	defer e.builders.Put(w)
	var r Result
	var last Doc
	end := func() {
		if n := w.builder.Len(); n > 0 {
			last.Events, last.Data = n, w.builder.Encode()
			r.Docs = append(r.Docs, last)
		}
	}
	r.Rejects = e.rows(w, []*event.Batch{b}, owner, func(merchant string, hour event.Hour, _ event.BatchID) *processed.Builder {
		end()
		last = Doc{Merchant: merchant, Hour: hour}
		return &w.builder
	})
	end()
	return r
}

// Rows is Batch for several batches, each another, where the caller packs: it
// is asked for a builder for each batch's rows of a merchant and an hour, in
// order of merchant, hour and batch, and they are appended in order of their
// places in the batch. nil leaves them out. What is rejected is returned, by
// batch as given, then index.
func (e *Enricher) Rows(batches []*event.Batch, owner func(stream string) (Owner, bool), at func(string, event.Hour, event.BatchID) *processed.Builder) []Reject {
	w := e.builders.Get().(*work)
	defer e.builders.Put(w)
	return e.rows(w, batches, owner, at)
}

func (e *Enricher) rows(w *work, batches []*event.Batch, owner func(stream string) (Owner, bool), at func(string, event.Hour, event.BatchID) *processed.Builder) []Reject {
	w.geo = e.geo.Load()
	var rejects []Reject
	owners := resolver{find: owner, known: map[string]int32{}}
	w.places = w.places[:0]
	for k, b := range batches {
		for i := range b.Events {
			ev := &b.Events[i]
			who := owners.of(ev.Stream)
			switch {
			case ev.Erased() && who >= 0:
				rejects = append(rejects, erased(b, i, owners.list[who].Merchant))
			case who < 0:
				rejects = append(rejects, rejected(b, i, "", ReasonUnknownStream, "the measurement id of an existing stream"))
			case owners.list[who].Disabled:
				rejects = append(rejects, rejected(b, i, owners.list[who].Merchant, ReasonDisabledStream, "a stream that is not disabled"))
			default:
				w.places = append(w.places, place{who, ev.Hour(), int32(k), int32(i)})
			}
		}
		for i := range b.Refused {
			rejects = append(rejects, refused(b, i, &owners))
		}
	}
	slices.SortFunc(w.places, func(a, b place) int {
		if a.owner != b.owner {
			if c := strings.Compare(owners.list[a.owner].Merchant, owners.list[b.owner].Merchant); c != 0 {
				return c
			}
		}
		if c := cmp.Compare(a.hour, b.hour); c != 0 {
			return c
		}
		if a.batch != b.batch {
			return bytes.Compare(batches[a.batch].ID[:], batches[b.batch].ID[:])
		}
		return cmp.Compare(a.index, b.index)
	})
	for i := 0; i < len(w.places); {
		first := w.places[i]
		b, merchant := batches[first.batch], owners.list[first.owner].Merchant
		builder := at(merchant, first.hour, b.ID)
		for ; i < len(w.places); i++ {
			p := &w.places[i]
			if p.batch != first.batch || p.hour != first.hour || p.owner != first.owner && owners.list[p.owner].Merchant != merchant {
				break
			}
			if builder != nil {
				e.row(w, b, int(p.index), &owners.list[p.owner])
				builder.Append(&w.row)
			}
		}
	}
	w.row = processed.Row{}
	w.geo, w.last, w.means = nil, said{}, Agent{}
	return rejects
}

// resolver asks once per stream of a batch.
type resolver struct {
	find  func(string) (Owner, bool)
	known map[string]int32
	list  []Owner
	last  string
	index int32
}

func (o *resolver) of(stream string) int32 {
	if stream == o.last && len(o.known) > 0 {
		return o.index
	}
	index, ok := o.known[stream]
	if !ok {
		index = -1
		if owner, found := o.find(stream); found {
			index = int32(len(o.list))
			o.list = append(o.list, owner)
		}
		o.known[stream] = index
	}
	o.last, o.index = stream, index
	return index
}

// erased holds the place of an event in the ledger.
func erased(b *event.Batch, i int, merchant string) Reject {
	ev := &b.Events[i]
	return Reject{Batch: b.ID, ReceivedAt: b.ReceivedAt, Merchant: merchant, Stream: ev.Stream, Index: i, Hour: ev.Hour(), Reason: ReasonErased}
}

func rejected(b *event.Batch, i int, merchant, reason, expected string) Reject {
	ev := &b.Events[i]
	return Reject{
		Batch: b.ID, ReceivedAt: b.ReceivedAt, Merchant: merchant, Stream: ev.Stream, Index: i, EventID: ev.ID, Hour: ev.Hour(),
		Reason: reason, Field: "measurementid", Detail: expected, Data: event.EncodeEvent(ev),
	}
}

func refused(b *event.Batch, i int, owners *resolver) Reject {
	x := &b.Refused[i]
	merchant := ""
	if x.Stream != "" {
		if who := owners.of(x.Stream); who >= 0 {
			merchant = owners.list[who].Merchant
		}
	}
	r := Reject{
		Batch: b.ID, ReceivedAt: b.ReceivedAt, Merchant: merchant, Stream: x.Stream, Index: len(b.Events) + i, EventID: x.ID, Hour: event.HourOf(b.ReceivedAt),
		Refused: true, Reason: x.Reason, Field: x.Field, Detail: x.Detail, Data: x.Data,
	}
	if n := x.Events(); n > 1 || x.Reason == event.ReasonQuota {
		r.Events, r.Data = n, nil
	}
	return r
}

// row works out the facts of one event.
func (e *Enricher) row(w *work, b *event.Batch, i int, owner *Owner) {
	ev, r := &b.Events[i], &w.row
	*r = processed.Row{
		Batch: b.ID, Seq: uint32(i), EventID: processed.HashID(ev.Stream, ev.ID),
		Millis:  floorMillis(ev.TimeMicros),
		Engaged: ev.EngagementMillis,
		Params:  r.Params[:0], Items: r.Items[:0],
	}
	speaks := ev.Auth == event.AuthVerified || ev.Auth == event.AuthUnknown && owner.holds(ev.Credential)
	visitor := ev.Visitor
	if speaks && ev.ClaimedVisitor != 0 {
		visitor = ev.ClaimedVisitor
	}
	r.User, r.Client = actors(ev, visitor)
	if ev.SessionID != "" {
		r.Session = processed.HashActor(processed.ActorSession, ev.SessionID)
		r.Flags |= processed.FlagSessionGiven
	}
	if ev.TimeAssigned {
		r.Flags |= processed.FlagTimeAssigned
	}
	if ev.HasValue {
		r.Flags |= processed.FlagHasValue
		r.Value = ev.ValueMicros
	}
	text := &r.Text
	text[processed.ColName] = ev.Name
	text[processed.ColStream] = ev.Stream
	text[processed.ColLanguage] = ev.Language
	text[processed.ColScreen] = ev.Screen
	text[processed.ColCurrency] = ev.Currency
	text[processed.ColPageTitle] = ev.PageTitle
	text[processed.ColPageReferrer] = ev.PageReferrer
	e.page(ev, text)
	e.agent(w, ev, speaks, r)
	internal(ev, speaks, r)
	e.place(w.geo, ev, speaks, text)
	params(ev, r)
	items(ev, r)
}

// holds reports whether a hash is one of the stream's secrets'.
func (o *Owner) holds(credential string) bool {
	ok := 0
	for _, secret := range o.Secrets {
		ok |= subtle.ConstantTimeCompare([]byte(secret), []byte(credential))
	}
	return ok == 1 && credential != ""
}

// actors are the hashes of whose event and whose session it is.
func actors(ev *event.Event, visitor uint64) (user, client uint64) {
	var anyone uint64
	if ev.UserID == "" || ev.ClientID == "" {
		if ev.UserID == "" && ev.ClientID == "" {
			if visitor == 0 {
				// Nothing tells this visitor from another: an actor of its own.
				anyone = processed.HashActor(processed.ActorVisitor, ev.Stream+"\x00"+ev.ID)
			} else {
				var raw [8]byte
				binary.LittleEndian.PutUint64(raw[:], visitor)
				anyone = processed.HashActor(processed.ActorVisitor, string(raw[:]))
			}
			return anyone, anyone
		}
	}
	if ev.UserID != "" {
		user = processed.HashActor(processed.ActorUser, ev.UserID)
	}
	if ev.ClientID != "" {
		client = processed.HashActor(processed.ActorClient, ev.ClientID)
	}
	return cmp.Or(user, client), cmp.Or(client, user)
}

func (e *Enricher) page(ev *event.Event, text *[processed.NumStringColumns]string) {
	var c campaign
	page := pageOf(ev.PageLocation, &c)
	text[processed.ColHostname] = page.Host
	text[processed.ColPagePath] = page.Path
	text[processed.ColPageQuery] = page.Query
	s := sourceOf(e.sources, &c, page.Host, ev.PageReferrer)
	text[processed.ColSource] = s.Source
	text[processed.ColMedium] = s.Medium
	text[processed.ColCampaign] = s.Campaign
	text[processed.ColTerm] = s.Term
	text[processed.ColContent] = s.Content
}

// agent reads the user agent that counts: the claimed one of a server that
// holds the secret, else the request's own. The own agent of a program that
// posts events by itself (an SDK's HTTP client, "python-requests", curl, or
// none at all) says nothing about the visitor, and makes the events no bot's:
// a crawler is met where it runs a page's tracker, in a browser's engine. Client
// hints are the visitor's, whoever sends them.
func (e *Enricher) agent(w *work, ev *event.Event, speaks bool, r *processed.Row) {
	says := said{ev.UserAgent, ev.Hints}
	own := !speaks || ev.ClaimedUserAgent == ""
	switch {
	case !own:
		says.agent = ev.ClaimedUserAgent
	case !runsPages(says.agent):
		if says.agent = ""; says.hints == "" {
			return
		}
	case !speaks && (ahead(ev.Purpose) || ev.Networks&event.NetworkDataCentre != 0):
		// A page that nobody looks at yet, or a place where nobody browses.
		r.Flags |= processed.FlagBot
	}
	if says != w.last || says == (said{}) {
		w.last, w.means = says, e.agents.Of(says.agent, says.hints)
	}
	a := &w.means
	if a.Bot || speaks && ev.ClaimedIP != "" && ev.Networks&event.NetworkClaimedDataCentre != 0 {
		r.Flags |= processed.FlagBot
	}
	r.Text[processed.ColDeviceCategory] = a.Device
	r.Text[processed.ColDeviceBrand] = a.Brand
	r.Text[processed.ColDeviceModel] = a.Model
	r.Text[processed.ColBrowser] = a.Browser
	r.Text[processed.ColBrowserVersion] = a.BrowserVersion
	r.Text[processed.ColOS] = a.OS
	r.Text[processed.ColOSVersion] = a.OSVersion
}

// ahead reports whether a request's purpose is to have a page ready before its
// visitor asks for it.
func ahead(purpose string) bool {
	if purpose == "" {
		return false
	}
	purpose = strings.ToLower(purpose)
	return strings.Contains(purpose, "prefetch") || strings.Contains(purpose, "prerender") || strings.Contains(purpose, "preview") || strings.Contains(purpose, "instant")
}

// internal flags what the merchant or its people did: by the parameter that
// Google's tags send for it, or because the address is of a network that the
// merchant names its own.
func internal(ev *event.Event, speaks bool, r *processed.Row) {
	networks := ev.Networks & event.NetworkInternal
	if speaks {
		networks = 0 // a server's address says nothing of its visitor
		if ev.ClaimedIP != "" {
			networks = ev.Networks & event.NetworkClaimedInternal
		}
	}
	if networks != 0 {
		r.Flags |= processed.FlagInternal
		return
	}
	for i := range ev.Params {
		if p := &ev.Params[i]; p.Key == trafficType {
			if p.Kind == event.ParamText && strings.EqualFold(p.Text, "internal") {
				r.Flags |= processed.FlagInternal
			}
			return
		}
	}
}

// trafficType is the parameter by which tags say whose traffic it is
// (https://support.google.com/analytics/answer/10104470).
const trafficType = "traffic_type"

// runsPages reports whether an agent is that of a browser's engine, or of a
// crawler that uses one: since the nineties all of them begin like this.
func runsPages(agent string) bool {
	return strings.HasPrefix(agent, "Mozilla/") || strings.HasPrefix(agent, "Opera/")
}

// place takes the address that counts. What the ingress says of the request's
// country is said of the server where a server speaks for its visitor.
func (e *Enricher) place(geo *Geo, ev *event.Event, speaks bool, text *[processed.NumStringColumns]string) {
	var p Place
	if speaks && ev.ClaimedIP != "" {
		p = geo.Of(ev.ClaimedIP)
	} else {
		p = geo.placeOf(ev.IP, Place{Country: ev.Country, Region: ev.Region, City: ev.City})
	}
	text[processed.ColCountry] = p.Country
	text[processed.ColRegion] = p.Region
	text[processed.ColCity] = p.City
	text[processed.ColCityID] = p.CityID
}

// transactionID is the parameter that has a column of its own.
const transactionID = "transaction_id"

func params(ev *event.Event, r *processed.Row) {
	for i := range ev.Params {
		p := &ev.Params[i]
		if p.Key == transactionID {
			r.Text[processed.ColTransactionID] = paramText(p)
			continue
		}
		r.Params = append(r.Params, processed.Param{Key: p.Key, Text: paramText(p)})
	}
	for i := range ev.UserProperties {
		p := &ev.UserProperties[i]
		r.Params = append(r.Params, processed.Param{Key: processed.UserProperty + p.Key, Text: paramText(p)})
	}
}

// paramText is a parameter's value as text: numbers in their shortest form.
func paramText(p *event.Param) string {
	switch p.Kind {
	case event.ParamInt:
		return strconv.FormatInt(p.Int, 10)
	case event.ParamDouble:
		return strconv.FormatFloat(p.Double, 'g', -1, 64)
	case event.ParamBool:
		return strconv.FormatBool(p.Bool)
	default:
		return p.Text
	}
}

// itemColumn is the column of a parameter that says something of an item.
// ofEvent: an event may say it once for all its items, and Google Analytics
// ignores that where the item has its own. What else an event says of itself,
// such as its coupon, is the order's and no item's.
func itemColumn(key string) (column processed.ItemColumn, ofEvent, ok bool) {
	switch key {
	case "item_list_id":
		return processed.ItemListID, true, true
	case "item_list_name":
		return processed.ItemListName, true, true
	case "index":
		return processed.ItemListIndex, false, true
	case "affiliation":
		return processed.ItemAffiliation, true, true
	case "location_id":
		return processed.ItemLocationID, true, true
	case "promotion_id":
		return processed.ItemPromotionID, true, true
	case "promotion_name":
		return processed.ItemPromotionName, true, true
	case "creative_name":
		return processed.ItemCreativeName, true, true
	case "creative_slot":
		return processed.ItemCreativeSlot, true, true
	case "discount":
		return processed.ItemDiscount, false, true
	default:
		return 0, false, false
	}
}

func items(ev *event.Event, r *processed.Row) {
	for i := range ev.Items {
		from := &ev.Items[i]
		r.Items = append(r.Items, processed.Item{Price: from.PriceMicros, Quantity: from.Quantity})
		text := &r.Items[i].Text
		text[processed.ItemID] = from.ID
		text[processed.ItemName] = from.Name
		text[processed.ItemBrand] = from.Brand
		text[processed.ItemVariant] = from.Variant
		text[processed.ItemListID] = from.ListID
		text[processed.ItemListName] = from.ListName
		text[processed.ItemCoupon] = from.Coupon
		for c, category := range from.Categories {
			text[int(processed.ItemCategory1)+c] = category
		}
		for k := range from.Params {
			if column, _, ok := itemColumn(from.Params[k].Key); ok {
				text[column] = paramText(&from.Params[k])
			}
		}
	}
	if len(r.Items) == 0 {
		if ev.Name != "view_promotion" && ev.Name != "select_promotion" {
			return
		}
		// A banner that shows no item: what it promotes is the only thing that
		// the event is about.
		r.Items = append(r.Items, processed.Item{Quantity: 1})
	}
	said := false
	for k := range ev.Params {
		p := &ev.Params[k]
		column, ofEvent, _ := itemColumn(p.Key)
		if !ofEvent {
			continue
		}
		value := paramText(p)
		said = said || value != ""
		for i := range r.Items {
			if text := &r.Items[i].Text[column]; *text == "" {
				*text = value
			}
		}
	}
	if len(ev.Items) == 0 && !said {
		r.Items = r.Items[:0] // it names no promotion either
	}
}

func floorMillis(micros int64) int64 {
	const perMilli = int64(time.Millisecond / time.Microsecond)
	ms := micros / perMilli
	if micros%perMilli < 0 {
		ms--
	}
	return ms
}
