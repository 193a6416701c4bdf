package place

import "testing"

func TestCountries(t *testing.T) {
	for code, want := range map[string]Country{
		"DE": {"Germany", "150", "155"}, "US": {"United States", "019", "021"}, "AU": {"Australia", "009", "053"}, "TR": {"Türkiye", "142", "145"},
		"HK": {"Hong Kong", "142", "030"}, "XK": {"Kosovo", "150", "039"}, "AQ": {Name: "Antarctica"}, "ZZ": {}, "de": {}, "": {},
	} {
		if got := Of(code); got != want {
			t.Errorf("%q: got %+v, want %+v", code, got, want)
		}
	}
	if Region("155") != "Western Europe" || Region("142") != "Asia" || Region("000") != "" {
		t.Error("names of regions")
	}
	if n := len(known().countries); n < 249 {
		t.Errorf("%d countries, expected all of ISO 3166-1", n)
	}
	for _, list := range []string{"DE\tGermany\t150\t155\n", "DEU\n", "x\ty\tz"} {
		if _, err := parse(list); err == nil {
			t.Errorf("list %q: no error", list)
		}
	}
}
