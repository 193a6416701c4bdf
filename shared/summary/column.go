package summary

import (
	"strings"

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
	case DimPagePath, DimLandingPage:
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
	case DimCountry:
		return processed.ColCountry, true
	case DimRegion:
		return processed.ColRegion, true
	case DimCity:
		return processed.ColCity, true
	case DimLanguage:
		return processed.ColLanguage, true
	case DimDeviceCategory:
		return processed.ColDeviceCategory, true
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
	default:
		return processed.ItemID
	}
}

// Needs are the columns that Resolve and a grouping or filter by keys read.
func Needs(keys []Key) processed.Columns {
	c := processed.Columns{Identity: true, Actors: true, Text: ResolveText | 1<<processed.ColCurrency}
	for _, k := range keys {
		switch {
		case k.Dim == DimParam:
			c.Params = append(c.Params, k.Param)
		case k.Dim.IsItem():
			c.Items = true
		case k.Dim == DimPagePathQuery:
			c.Text |= 1<<processed.ColPagePath | 1<<processed.ColPageQuery
		default:
			if t, ok := textOf(k.Dim); ok {
				c.Text |= 1 << t
			}
		}
	}
	return c
}

// Column works out the values of a dimension. cal is needed for time
// dimensions only. Values are as the facts have them, "" where there is none;
// DimSessionSourceMedium joins its halves with " / " even where one is empty.
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
	switch k.Dim {
	case DimParam:
		if p := f.Frame.Params[k.Param]; p != nil {
			return f.gather(p, f.Rows, nil)
		}
		return f.constant("")
	case DimNewVsReturning:
		code := make([]uint32, len(f.Rows))
		for i, row := range f.Rows {
			if f.NewUser[row] {
				code[i] = 1
			}
		}
		return Column{[]string{"returning", "new"}, code}
	case DimPagePathQuery:
		return joined(f.gather(&f.Frame.Text[processed.ColPagePath], f.Rows, nil),
			f.gather(&f.Frame.Text[processed.ColPageQuery], f.Rows, nil), func(path, query string) string {
				if query == "" {
					return path
				}
				return path + "?" + query
			})
	case DimSessionSourceMedium:
		return joined(f.Column(Key{Dim: DimSessionSource}, cal), f.Column(Key{Dim: DimSessionMedium}, cal),
			func(source, medium string) string { return source + " / " + medium })
	case DimSessionSource, DimSessionMedium, DimSessionCampaign:
		c, _ := textOf(k.Dim)
		return f.gather(&f.Frame.Text[c], f.Rows, f.Attribution)
	case DimLandingPage:
		return f.gather(&f.Frame.Text[processed.ColPagePath], f.Rows, f.Landing)
	}
	if c, ok := textOf(k.Dim); ok {
		return f.gather(&f.Frame.Text[c], f.Rows, nil)
	}
	return f.constant("")
}

func (f *Facts) constant(value string) Column {
	return Column{[]string{value}, make([]uint32, len(f.Rows))}
}

// gather takes the column's values of rows, or of the rows that via names.
func (f *Facts) gather(s *processed.Strings, rows, via []uint32) Column {
	if s.Code == nil {
		return f.constant("")
	}
	code := make([]uint32, len(rows))
	if via == nil {
		for i, row := range rows {
			code[i] = s.Code[row]
		}
	} else {
		for i, row := range rows {
			code[i] = s.Code[via[row]]
		}
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

// joined combines two columns; each pair that occurs is joined once.
func joined(a, b Column, join func(a, b string) string) Column {
	out := Column{Code: make([]uint32, len(a.Code))}
	pairCode := newPairs(len(a.Code))
	values := map[string]uint32{}
	var codes []uint32 // by pair
	for i := range a.Code {
		before := pairCode.len()
		n := pairCode.add(uint64(a.Code[i]), uint64(b.Code[i]))
		if int(n) == before {
			value := join(a.Dict[a.Code[i]], b.Dict[b.Code[i]])
			code, ok := values[value]
			if !ok {
				code = uint32(len(out.Dict))
				out.Dict = append(out.Dict, strings.Clone(value))
				values[value] = code
			}
			codes = append(codes, code)
		}
		out.Code[i] = codes[n-1]
	}
	return out
}
