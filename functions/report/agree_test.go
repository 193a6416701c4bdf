package report

import (
	"context"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/footfall/footfall/shared/access"
	"github.com/footfall/footfall/shared/catalog"
	"github.com/footfall/footfall/shared/channel"
	"github.com/footfall/footfall/shared/processed"
)

const allMetrics = "users,new_users,sessions,engaged_sessions,engagementRate,bounceRate,averageSessionDuration,engagement,views,events,key_events,transactions,revenue,eventValue,unconverted,itemsPurchased,itemRevenue," +
	"ecommercePurchases,duplicateTransactions,purchaseRevenue,refundAmount,taxAmount,shippingAmount,addToCarts,checkouts,itemViewEvents,itemListViewEvents,itemListClickEvents," +
	"promotionViews,promotionClicks,grossItemRevenue,itemRefundAmount,itemDiscountAmount,itemsViewed,itemsAddedToCart,itemsCheckedOut,itemsViewedInList,itemsClickedInPromotion"

// measured are metrics that no record holds.
const measured = "users,sessions,events,returningUsers,scrolledUsers,totalPurchasers,purchaserRate,transactionsPerPurchaser,userKeyEventRate,sessionKeyEventRate," +
	"keyEvents:scroll,userKeyEventRate:scroll,sessionKeyEventRate:scroll,customEvent:size,countCustomEvent:size,averageCustomEvent:size"

// trailing are metrics that look at days before the date range.
const trailing = "active1DayUsers,active7DayUsers,active28DayUsers,dauPerMau,dauPerWau,wauPerMau"

// randomRows are events of a small shop within some days: few clients, so that
// sessions, duplicates and returning users abound.
func randomRows(r *rand.Rand, n int, from time.Time, span time.Duration) []processed.Row {
	pick := func(list ...string) string { return list[r.IntN(len(list))] }
	rows := make([]processed.Row, n)
	for i := range rows {
		at := from.Add(time.Duration(r.Int64N(int64(span)))).Truncate(time.Second)
		row := row(fmt.Sprint("e", r.IntN(n*9/10)), fmt.Sprint("c", r.IntN(12)), pick("/", "/shoes", "/hats", "/thanks"), at)
		row.Text[processed.ColName] = pick("page_view", "page_view", "page_view", "scroll", "purchase", "sign_up", "view_item", "add_to_cart",
			"refund", "begin_checkout", "in_app_purchase", "view_item_list", "select_item", "view_promotion", "select_promotion")
		row.Text[processed.ColPageTitle] = pick("Home", "Shoes", "")
		row.Text[processed.ColPageQuery] = pick("", "", "q=1")
		row.Text[processed.ColCountry] = pick("DE", "AT", "")
		row.Text[processed.ColDeviceCategory] = pick("desktop", "mobile")
		row.Text[processed.ColDeviceBrand], row.Text[processed.ColDeviceModel] = pick("", "Google"), pick("", "Pixel 8")
		row.Text[processed.ColHostname], row.Text[processed.ColOSVersion], row.Text[processed.ColCityID] = pick("", "shop.example"), pick("", "11"), pick("", "17")
		row.Text[processed.ColBrowser] = pick("Chrome", "Firefox")
		row.Text[processed.ColOS] = pick("Linux", "Windows", "")
		row.Text[processed.ColLanguage] = pick("de", "en")
		if r.IntN(4) == 0 {
			row.Text[processed.ColSource], row.Text[processed.ColMedium], row.Text[processed.ColCampaign] = pick("google", "news"), pick("organic", "email", ""), pick("", "spring")
		}
		if r.IntN(3) == 0 {
			row.Session = processed.HashActor(processed.ActorSession, fmt.Sprint("s", r.IntN(4)))
			row.Flags |= processed.FlagSessionGiven
		}
		if r.IntN(8) == 0 {
			row.Flags |= processed.FlagBot
		}
		if size := pick("", "", "39", "40.5", "large"); size != "" {
			row.Params = append(row.Params, processed.Param{Key: "size", Text: size})
		}
		if r.IntN(12) == 0 {
			row.Flags |= processed.FlagInternal
		}
		row.Engaged = int64(r.IntN(3)) * 6000
		switch row.Text[processed.ColName] {
		case "page_view", "scroll", "sign_up":
		default:
			row.Flags |= processed.FlagHasValue
			row.Value = int64(r.IntN(100)) * 1_990_000
			row.Text[processed.ColCurrency] = pick("EUR", "EUR", "USD", "")
			row.Text[processed.ColTransactionID] = pick("", "t1", "t2", "t3")
			row.Text[processed.ColStream] = pick("G-1", "G-2")
			row.Params = append(row.Params, processed.Param{Key: "tax", Text: pick("1.9", "0.07", "none")}, processed.Param{Key: "shipping", Text: pick("4.9", "0")},
				processed.Param{Key: "coupon", Text: pick("", "SPRING")})
			for range r.IntN(3) {
				item := processed.Item{Price: int64(r.IntN(50)) * 100_000, Quantity: int64(1 + r.IntN(3))}
				item.Text[processed.ItemID] = pick("1", "2", "3")
				item.Text[processed.ItemName] = pick("Shoes", "Hat", "")
				item.Text[processed.ItemDiscount] = pick("", "0.99")
				item.Text[processed.ItemPromotionName] = pick("", "Spring")
				item.Text[processed.ItemListIndex] = pick("", "1", "2")
				row.Items = append(row.Items, item)
			}
		}
		rows[i] = row
	}
	return rows
}

// questions cover each table of a record, time at both grains, filters on one
// and on several dimensions, and what only documents hold.
func questions() []string {
	const days = "&from=2026-03-06&to=2026-03-12&limit=100000"
	list := []string{
		"metrics=" + allMetrics + days,
		"metrics=" + allMetrics + "&dimensions=date&empty=true" + days,
		"metrics=" + allMetrics + "&dimensions=dateHour" + days,
		"metrics=" + allMetrics + "&dimensions=hour,dayOfWeek" + days,
		"metrics=" + allMetrics + "&dimensions=isoWeek,month,year" + days,
		"metrics=" + allMetrics + "&dimensions=source,medium,date" + days,
		"metrics=" + allMetrics + "&dimensions=page&filter=page*=S" + days,
		"metrics=" + allMetrics + "&filter=page==/shoes;hour!=09" + days,
		"metrics=" + allMetrics + "&dimensions=campaign&filter=source==google,medium==(none)" + days,
		"metrics=" + allMetrics + "&dimensions=date&filter=date!=20260310" + days,
		"metrics=" + allMetrics + "&dimensions=hour&filter=views>3" + days,
		"metrics=" + allMetrics + "&dimensions=page,country" + days,
		"metrics=" + allMetrics + "&dimensions=channel,date&filter=sessionDefaultChannelGroup!=Direct,campaign==spring" + days,
		"metrics=" + allMetrics + "&dimensions=device&filter=browser==Chrome;country!=DE" + days,
		"metrics=" + allMetrics + "&dimensions=new_or_returning" + days,
		"metrics=" + measured + days,
		"metrics=users,sessions," + trailing + "&dimensions=date" + days,
		"metrics=users,sessions," + trailing + "&dimensions=isoWeek,device" + days,
		"metrics=users,sessions," + trailing + "&from=2026-03-09&to=2026-03-09&filter=country==DE;browser==Chrome",
		"metrics=returningUsers," + trailing + "&dimensions=dayOfWeek,country&from=2026-03-09&to=2026-03-10",
		"metrics=" + measured + "&dimensions=date&empty=true" + days,
		"metrics=" + measured + "&dimensions=device,source&filter=returningUsers>0" + days,
		"metrics=" + measured + "&dimensions=item" + days,
		"metrics=users,itemsViewed,itemsAddedToCart,itemsPurchased,itemRevenue&dimensions=item,date" + days,
		"metrics=users,itemsPurchased,itemRevenue&dimensions=item&filter=item_id!=2" + days,
		"metrics=itemsPurchased,itemRevenue&dimensions=country&filter=item==Shoes,page==/" + days,
		"metrics=itemsPurchased,itemRevenue&dimensions=date&filter=item==Shoes" + days,
	}
	list = append(list, "metrics=itemRevenue,itemsViewedInPromotion,itemDiscountAmount&dimensions=itemPromotionName,itemListPosition"+days,
		"metrics=cartToViewRate,purchaseToViewRate,itemListClickThroughRate,itemPromotionClickThroughRate,users&dimensions=item"+days,
		"metrics=cartToViewRate,purchaseToViewRate,itemListClickThroughRate,itemPromotionClickThroughRate,averagePurchaseRevenuePerPayingUser,purchaserConversionRate&dimensions=date"+days)
	c := catalog.New()
	for i := range c.Dimensions() {
		d := &c.Dimensions()[i]
		if d.Scope != catalog.ScopeItem {
			list = append(list, "metrics=users,new_users,sessions,views,revenue,itemRevenue&dimensions="+d.Name+days)
		}
	}
	return list
}

// TestRecordsAndDocumentsAgree asks the same of four stores that hold the same
// events: none summarised; all summarised; summarised before some late and new
// events came; and, of the last, summarised again.
func TestRecordsAndDocumentsAgree(t *testing.T) {
	from := time.Date(2026, 3, 6, 3, 0, 0, 0, time.UTC)
	for _, zone := range []string{"Asia/Kolkata", "America/New_York"} {
		t.Run(zone, func(t *testing.T) {
			r := rand.New(rand.NewPCG(7, uint64(len(zone))))
			// 8 March 2026 has 23 hours in New York.
			early := randomRows(r, 500, from, 100*time.Hour)
			late := append(randomRows(r, 15, from.Add(75*time.Hour), 2*time.Hour), randomRows(r, 15, from.Add(100*time.Hour), 2*time.Hour)...)
			change := func(s *access.Settings, _ *Config) {
				s.TimeZone = zone
				s.ChannelRules = []channel.Rule{{Channel: "Spring", When: []channel.Condition{{Field: "campaign", Begins: "spr"}}}}
			}
			open, closed, mixed := newWorld(t, change), newWorld(t, change), newWorld(t, change)
			for _, w := range []*world{open, closed, mixed} {
				w.put(early[:250]...)
				w.put(early[250:]...)
				if w == mixed {
					w.summarise()
				}
				w.put(late...)
				if w == closed {
					w.summarise()
				}
			}
			for _, q := range questions() {
				want := open.report(q)
				if want.Metadata.GeneratedFrom.FromDo == 0 || len(want.Rows) == 0 {
					t.Fatalf("%s: expected an answer from documents: %+v", q, want)
				}
				for name, w := range map[string]*world{"closed": closed, "mixed": mixed} {
					got := w.report(q)
					if diff := cmp.Diff(want.Rows, got.Rows); diff != "" {
						t.Fatalf("%s: rows of the %s store differ from documents' (-documents +%s):\n%s", q, name, name, diff)
					}
					if diff := cmp.Diff(want.Totals, got.Totals); diff != "" {
						t.Fatalf("%s: totals of the %s store differ from documents':\n%s", q, name, diff)
					}
				}
			}
			g := closed.report(questions()[1]).Metadata.GeneratedFrom
			if g.Days == 0 || g.FromDo > 0 {
				t.Errorf("expected days from records alone, got %+v", g)
			}
			// Summaries may be emptied at any time: clean hours without a record
			// are worked out from documents, quiet ones not at all.
			closed.must(closed.stores.Summaries.Drop(context.Background(), closed.merchant.ID, closed.merchant.Generation))
			closed.service.live = newLive(&closed.service.config, &closed.service.ports, closed.service.clock) // which keeps answers
			for _, q := range questions()[:8] {
				if diff := cmp.Diff(open.report(q).Rows, closed.report(q).Rows); diff != "" {
					t.Fatalf("%s: rows without any summary differ:\n%s", q, diff)
				}
			}
			g = mixed.report(questions()[1]).Metadata.GeneratedFrom
			if g.Days == 0 || g.Hours == 0 || g.FromDo == 0 {
				t.Errorf("expected days and hours from records and the rest from documents, got %+v", g)
			}
		})
	}
}
