package summary

import (
	"cmp"
	"slices"
	"strings"

	"github.com/footfall/footfall/shared/channel"
	"github.com/footfall/footfall/shared/processed"
)

// Column is the value of a dimension for each place in Facts.Rows, or of an
// item dimension for each item of the frame, coded by a dictionary. Filters
// look at Dict once and then at codes.
type Column struct {
	Dict []string
	Code []uint32
}

// textOf names the frame's column of a dimension that is one.
func textOf(d Dimension) (processed.StringColumn, bool) {
	switch d {
	case DimEventName:
		return processed.ColName, true
	case DimStream:
		return processed.ColStream, true
	case DimHostname:
		return processed.ColHostname, true
	case DimPagePath, DimLandingPage, DimExitPage:
		return processed.ColPagePath, true
	case DimPageTitle:
		return processed.ColPageTitle, true
	case DimPageReferrer:
		return processed.ColPageReferrer, true
	case DimSource, DimSessionSource:
		return processed.ColSource, true
	case DimMedium, DimSessionMedium:
		return processed.ColMedium, true
	case DimCampaign, DimSessionCampaign:
		return processed.ColCampaign, true
	case DimTerm, DimSessionTerm:
		return processed.ColTerm, true
	case DimContent, DimSessionContent:
		return processed.ColContent, true
	case DimCountry:
		return processed.ColCountry, true
	case DimRegion:
		return processed.ColRegion, true
	case DimCity:
		return processed.ColCity, true
	case DimCityID:
		return processed.ColCityID, true
	case DimLanguage:
		return processed.ColLanguage, true
	case DimDeviceCategory:
		return processed.ColDeviceCategory, true
	case DimDeviceBrand:
		return processed.ColDeviceBrand, true
	case DimDeviceModel:
		return processed.ColDeviceModel, true
	case DimBrowser:
		return processed.ColBrowser, true
	case DimBrowserVersion:
		return processed.ColBrowserVersion, true
	case DimOS:
		return processed.ColOS, true
	case DimOSVersion:
		return processed.ColOSVersion, true
	case DimScreen:
		return processed.ColScreen, true
	case DimCurrency:
		return processed.ColCurrency, true
	case DimTransactionID:
		return processed.ColTransactionID, true
	default:
		return 0, false
	}
}

func itemTextOf(d Dimension) processed.ItemColumn {
	switch d {
	case DimItemName:
		return processed.ItemName
	case DimItemBrand:
		return processed.ItemBrand
	case DimItemVariant:
		return processed.ItemVariant
	case DimItemCategory:
		return processed.ItemCategory1
	case DimItemCategory2:
		return processed.ItemCategory2
	case DimItemCategory3:
		return processed.ItemCategory3
	case DimItemCategory4:
		return processed.ItemCategory4
	case DimItemCategory5:
		return processed.ItemCategory5
	case DimItemListID:
		return processed.ItemListID
	case DimItemListName:
		return processed.ItemListName
	case DimItemListPosition:
		return processed.ItemListIndex
	case DimItemAffiliation:
		return processed.ItemAffiliation
	case DimItemLocationID:
		return processed.ItemLocationID
	case DimItemPromotionID:
		return processed.ItemPromotionID
	case DimItemPromotionName:
		return processed.ItemPromotionName
	case DimItemCreativeName:
		return processed.ItemCreativeName
	case DimItemCreativeSlot:
		return processed.ItemCreativeSlot
	default:
		return processed.ItemID
	}
}

// screenParams are the parameters in which apps tell their screen, by what of
// it they tell: as Google's tags name them for the web and for apps.
var (
	screenNames   = []string{"screen_name", "firebase_screen"}
	screenClasses = []string{"screen_class", "firebase_screen_class"}
)

// paramOf is the parameter that a dimension is the value of; "" where it is
// none.
func (k Key) paramOf() string {
	switch k.Dim {
	case DimParam:
		return k.Param
	case DimOrderCoupon:
		return paramCoupon
	case DimShippingTier:
		return paramTier
	default:
		return ""
	}
}

// Needs are the columns that Resolve and a grouping or filter by keys read.
func Needs(keys []Key) processed.Columns {
	c := Reads(keys)
	c.Text |= ResolveText
	return c
}

// Reads are the columns that a grouping or filter by keys reads besides those of
// Resolve, or of ResolveLean.
func Reads(keys []Key) processed.Columns {
	c := processed.Columns{
		Identity: true, Actors: true, Text: 1 << processed.ColCurrency,
		Params: []string{paramTax, paramShipping},
	}
	for _, k := range keys {
		switch {
		case k.paramOf() != "":
			c.Params = append(c.Params, k.paramOf())
		case k.Dim.IsItem():
			c.Items = true
		case k.Dim.parts() != nil:
			for _, part := range k.Dim.parts() {
				if t, ok := textOf(part); ok {
					c.Text |= 1 << t
				}
			}
		default:
			text, params := columnsOf(k.Dim)
			c.Text |= text
			c.Params = append(c.Params, params...)
		}
	}
	slices.Sort(c.Params)
	c.Params = slices.Compact(c.Params)
	return c
}

// columnsOf are the columns (bits of processed.Columns.Text) and parameters that a
// dimension of events is made of.
func columnsOf(d Dimension) (text uint64, params []string) {
	const (
		path  = 1 << processed.ColPagePath
		query = 1 << processed.ColPageQuery
	)
	switch d {
	case DimPagePathQuery, DimLandingPageQuery:
		return path | query, nil
	case DimFullPageURL:
		return path | query | 1<<processed.ColHostname, nil
	case DimFirstSource, DimFirstMedium, DimFirstCampaign, DimFirstTerm, DimFirstContent:
		return OriginText, nil // of users whose first event is at hand
	case DimScreenClass:
		return 1 << processed.ColPageTitle, screenClasses
	case DimScreenName:
		return 1 << processed.ColPageTitle, screenNames
	case DimPathOrScreen:
		return path, screenClasses
	case DimPathQueryScreen:
		return path | query, screenClasses
	}
	if t, ok := textOf(d); ok {
		return 1 << t, nil
	}
	return 0, nil // of what Resolve reads anyway, or of no column
}

// Column works out the values of a dimension. cal is needed for time
// dimensions only. Values are as the facts have them, "" where there is none;
// sources and mediums are joined with " / " even where one is empty.
// What follows from the values of others is worked out here.
func (f *Facts) Column(k Key, cal *Calendar) Column {
	switch {
	case k.Dim.IsItem():
		return itemColumn(&f.Frame.Items, itemTextOf(k.Dim))
	case k.Dim.IsTime():
		t := newTimeDims(cal, k.Dim)
		code := make([]uint32, len(f.Rows))
		for i, row := range f.Rows {
			code[i] = t.at(f.Frame.Millis[row])
		}
		return Column{t.dict, code}
	}
	if parts := k.Dim.parts(); parts != nil {
		columns := make([]Column, len(parts))
		for i, part := range parts {
			columns[i] = f.Column(Key{Dim: part}, cal)
		}
		return joined(k.Dim.join(channel.NewGroup(f.Settings.ChannelRules)), columns...)
	}
	switch k.Dim {
	case DimParam, DimOrderCoupon, DimShippingTier:
		return f.param(k.paramOf())
	case DimNewVsReturning:
		code := make([]uint32, len(f.Rows))
		for i, row := range f.Rows {
			if f.NewSession[row] {
				code[i] = 1
			}
		}
		return Column{[]string{"returning", "new"}, code}
	case DimPagePathQuery:
		return f.pathQuery()
	case DimLandingPageQuery:
		return joined(withQuery, f.sessionText(processed.ColPagePath, LandingRow), f.sessionText(processed.ColPageQuery, LandingRow))
	case DimFullPageURL:
		return joined(func(v []string) string { return v[0] + v[1] }, f.text(processed.ColHostname), f.pathQuery())
	case DimFirstSource, DimFirstMedium, DimFirstCampaign, DimFirstTerm, DimFirstContent:
		return f.origin(k.Dim)
	case DimFirstDate:
		return f.firstDate(cal)
	case DimIsKeyEvent:
		if f.packed != nil {
			return f.packed.keyEvents(f.classes)
		}
		code := make([]uint32, len(f.Rows))
		for i, row := range f.Rows {
			if f.KeyEvent[row] {
				code[i] = 1
			}
		}
		return Column{keyEventValues, code}
	case DimScreenClass:
		return f.orScreen(f.text(processed.ColPageTitle), screenClasses)
	case DimScreenName:
		return f.orScreen(f.text(processed.ColPageTitle), screenNames)
	case DimPathOrScreen:
		return f.orScreen(f.text(processed.ColPagePath), screenClasses)
	case DimPathQueryScreen:
		return f.orScreen(f.pathQuery(), screenClasses)
	}
	if of, c, ok := sessionTextOf(k.Dim); ok {
		return f.sessionText(c, of)
	}
	if c, ok := textOf(k.Dim); ok {
		return f.text(c)
	}
	return f.constant("")
}

// Match writes for each place in Rows whether its value of a dimension of events
// passes. Each text is asked about once.
func (f *Facts) Match(k Key, cal *Calendar, passes func(text string) bool, out []bool) {
	if f.packed != nil {
		if t, ok := f.packed.textOf(k); ok {
			t.match(passes, out)
			return
		}
	}
	c := f.Column(k, cal)
	verdicts := verdictsOf(c.Dict, passes)
	for i, code := range c.Code {
		out[i] = verdicts[code]
	}
}

func verdictsOf(texts []string, passes func(text string) bool) []bool {
	verdicts := make([]bool, len(texts))
	for i, text := range texts {
		verdicts[i] = passes(text)
	}
	return verdicts
}

// keyEventValues are those of DimIsKeyEvent. Read only.
var keyEventValues = []string{"false", "true"}

// text is a column of the frame.
func (f *Facts) text(c processed.StringColumn) Column {
	if f.packed != nil {
		return f.packed.column(&f.packed.text[c])
	}
	return f.gather(&f.Frame.Text[c])
}

// sessionTextOf is the row of a session and the column that a dimension's value stands
// in; ok is false where it stands elsewhere, or is made of several.
func sessionTextOf(d Dimension) (of SessionRow, c processed.StringColumn, ok bool) {
	switch d {
	case DimSessionSource, DimSessionMedium, DimSessionCampaign, DimSessionTerm, DimSessionContent:
		c, ok = textOf(d)
		return AttributionRow, c, ok
	case DimLandingPage:
		return LandingRow, processed.ColPagePath, true
	case DimExitPage:
		return ExitRow, processed.ColPagePath, true
	}
	return 0, 0, false
}

// sessionText is the same of a row of each row's session.
func (f *Facts) sessionText(c processed.StringColumn, of SessionRow) Column {
	s := &f.Frame.Text[c]
	if s.Code == nil {
		return f.constant("")
	}
	code := make([]uint32, len(f.Rows))
	for i, row := range f.Rows {
		code[i] = s.Code[f.Session[row][of]]
	}
	return Column{s.Dict, code}
}

func (f *Facts) param(name string) Column {
	if f.packed != nil {
		t := f.packed.params[name]
		return f.packed.column(&t)
	}
	if p := f.Frame.Params[name]; p != nil {
		return f.gather(p)
	}
	return f.constant("")
}

func (f *Facts) pathQuery() Column {
	return joined(withQuery, f.text(processed.ColPagePath), f.text(processed.ColPageQuery))
}

func withQuery(v []string) string {
	if path, query := v[0], v[1]; query != "" {
		return path + "?" + query
	}
	return v[0]
}

// orScreen fills what a web page has with what an app says of its screen.
func (f *Facts) orScreen(page Column, params []string) Column {
	for _, name := range params {
		if f.Frame.Params[name] != nil || f.packed != nil {
			page = joined(func(v []string) string { return cmp.Or(v[0], v[1]) }, page, f.param(name))
		}
	}
	return page
}

func (f *Facts) constant(value string) Column {
	return Column{[]string{value}, make([]uint32, len(f.Rows))}
}

// gather takes the column's values of the rows that count.
func (f *Facts) gather(s *processed.Strings) Column {
	if s.Code == nil {
		return f.constant("")
	}
	code := make([]uint32, len(f.Rows))
	for i, row := range f.Rows {
		code[i] = s.Code[row]
	}
	return Column{s.Dict, code}
}

func itemColumn(items *processed.ItemFrame, c processed.ItemColumn) Column {
	s := &items.Text[c]
	if s.Code == nil {
		return Column{[]string{""}, make([]uint32, items.Len)}
	}
	return Column{s.Dict, s.Code}
}

// joined combines columns; each tuple that occurs is joined once. join must not
// keep what it is given.
func joined(join func(values []string) string, columns ...Column) Column {
	first := columns[0].Code
	out := Column{Code: make([]uint32, len(first))}
	copy(out.Code, first) // while it is worked on: the number of the tuple so far
	for _, c := range columns[1:] {
		numbers := newPairs(len(first))
		for i, code := range c.Code {
			out.Code[i] = numbers.add(uint64(out.Code[i]), uint64(code))
		}
	}
	tuples := 0
	for _, n := range out.Code {
		tuples = max(tuples, int(n)+1)
	}
	known := make([]uint32, tuples) // by number: 1 + its code
	codes := map[string]uint32{}
	values := make([]string, len(columns))
	for i, n := range out.Code {
		if known[n] == 0 {
			for k := range columns {
				values[k] = columns[k].Dict[columns[k].Code[i]]
			}
			value := join(values)
			code, ok := codes[value]
			if !ok {
				code = uint32(len(out.Dict))
				out.Dict = append(out.Dict, strings.Clone(value))
				codes[value] = code
			}
			known[n] = code + 1
		}
		out.Code[i] = known[n] - 1
	}
	return out
}
