package compare

import (
	"fmt"

	"github.com/footfall/footfall/shared/catalog"
	"github.com/footfall/footfall/shared/summary"
)

// Metric is one number that is compared. The first are the counters of package
// summary, in their units.
type Metric uint8

// Metrics that are no counters: the users, and the lines of the ledger.
const (
	Users      Metric = Metric(summary.NumCounters) + iota
	Counted           // events that count, what the filters leave out among them; of totals only
	Filtered          // of Counted, left out of reports by the merchant's filters
	Duplicates        // events dropped because their id was counted before
	Rejected          // events rejected by the ETL, by reason
	NumMetrics
)

// metrics are the words of the catalog, where it has the number, and how many
// of the counter's units make one.
var metrics = [NumMetrics]struct {
	name string
	per  int64
}{
	Metric(summary.Events):              {"eventCount", 1},
	Metric(summary.Views):               {"screenPageViews", 1},
	Metric(summary.Sessions):            {"sessions", 1},
	Metric(summary.EngagedSessions):     {"engagedSessions", 1},
	Metric(summary.SessionMillis):       {"sessionDuration", 1000},
	Metric(summary.EngagementMillis):    {"userEngagementDuration", 1000},
	Metric(summary.NewUsers):            {"newUsers", 1},
	Metric(summary.KeyEvents):           {"keyEvents", 1},
	Metric(summary.Transactions):        {"transactions", 1},
	Metric(summary.RevenueMicros):       {"grossPurchaseRevenue", 1_000_000},
	Metric(summary.ValueMicros):         {"eventValue", 1_000_000},
	Metric(summary.Unconverted):         {"unconvertedEvents", 1},
	Metric(summary.FirstPurchases):      {"firstTimePurchasers", 1},
	Metric(summary.ItemQuantity):        {"itemsPurchased", 1},
	Metric(summary.ItemRevenue):         {"grossItemRevenue", 1_000_000},
	Metric(summary.ItemViews):           {"itemsViewed", 1},
	Metric(summary.ItemAddToCarts):      {"itemsAddedToCart", 1},
	Metric(summary.AddToCarts):          {"addToCarts", 1},
	Metric(summary.Checkouts):           {"checkouts", 1},
	Metric(summary.ItemViewEvents):      {"itemViewEvents", 1},
	Metric(summary.ListViews):           {"itemListViewEvents", 1},
	Metric(summary.ListClicks):          {"itemListClickEvents", 1},
	Metric(summary.PromotionViews):      {"promotionViews", 1},
	Metric(summary.PromotionClicks):     {"promotionClicks", 1},
	Metric(summary.AppTransactions):     {"appTransactions", 1},
	Metric(summary.DuplicateOrders):     {"duplicateTransactions", 1},
	Metric(summary.RefundMicros):        {"refundAmount", 1_000_000},
	Metric(summary.TaxMicros):           {"taxAmount", 1_000_000},
	Metric(summary.ShippingMicros):      {"shippingAmount", 1_000_000},
	Metric(summary.ItemRefund):          {"itemRefundAmount", 1_000_000},
	Metric(summary.ItemDiscount):        {"itemDiscountAmount", 1_000_000},
	Metric(summary.ItemCheckouts):       {"itemsCheckedOut", 1},
	Metric(summary.ItemListViews):       {"itemsViewedInList", 1},
	Metric(summary.ItemListClicks):      {"itemsClickedInList", 1},
	Metric(summary.ItemPromotionViews):  {"itemsViewedInPromotion", 1},
	Metric(summary.ItemPromotionClicks): {"itemsClickedInPromotion", 1},
	Users:                               {"activeUsers", 1},
	Counted:                             {"counted", 1},
	Filtered:                            {"filtered", 1},
	Duplicates:                          {"duplicate", 1},
	Rejected:                            {"rejected", 1},
}

// String is the metric's name.
func (m Metric) String() string { return metrics[m].name }

// Value is a number of the metric in its unit.
func (m Metric) Value(n int64) catalog.Value { return catalog.Value{N: n, D: metrics[m].per} }

// MarshalText implements encoding.TextMarshaler: the name.
func (m Metric) MarshalText() ([]byte, error) { return []byte(metrics[m].name), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (m *Metric) UnmarshalText(name []byte) error {
	for i := range metrics {
		if metrics[i].name == string(name) {
			*m = Metric(i)
			return nil
		}
	}
	return fmt.Errorf("there is no metric %q", name)
}

// dimensions name what the records' tables are grouped by; a row's values are
// joined as their names are.
var dimensions = [summary.NumTables]string{
	summary.TableEvent:    "eventName",
	summary.TablePage:     "pagePath",
	summary.TableTitle:    "pageTitle",
	summary.TableLanding:  "landingPage",
	summary.TableSource:   "sessionSource" + joint + "sessionMedium" + joint + "sessionCampaignName",
	summary.TableCountry:  "countryId",
	summary.TableDevice:   "deviceCategory",
	summary.TableBrowser:  "browser",
	summary.TableOS:       "operatingSystem",
	summary.TableLanguage: "language",
	summary.TableItem:     "itemId" + joint + "itemName",
}

const (
	joint = " / "
	// DimensionReason groups rejected events.
	DimensionReason = "reason"
)
