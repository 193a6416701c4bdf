package enrich

import "strings"

// makers are who makes a device, by how the names of its models begin; the
// first that fits counts.
var makers = []struct{ prefix, maker string }{
	{"iphone", "Apple"}, {"ipad", "Apple"}, {"ipod", "Apple"}, {"apple", "Apple"}, {"macintosh", "Apple"},
	{"sm-", "Samsung"}, {"gt-", "Samsung"}, {"sch-", "Samsung"}, {"sgh-", "Samsung"}, {"samsung", "Samsung"}, {"galaxy", "Samsung"},
	{"pixel", "Google"}, {"nexus", "Google"},
	{"redmi", "Xiaomi"}, {"poco", "Xiaomi"}, {"xiaomi", "Xiaomi"}, {"mi ", "Xiaomi"}, {"mix ", "Xiaomi"}, {"m200", "Xiaomi"}, {"m201", "Xiaomi"}, {"m210", "Xiaomi"},
	{"moto", "Motorola"}, {"xt1", "Motorola"}, {"xt2", "Motorola"}, {"motorola", "Motorola"},
	{"oneplus", "OnePlus"}, {"le21", "OnePlus"}, {"in20", "OnePlus"}, {"kb20", "OnePlus"}, {"ne22", "OnePlus"}, {"dn21", "OnePlus"},
	{"cph", "OPPO"}, {"oppo", "OPPO"}, {"pbem", "OPPO"}, {"rmx", "Realme"}, {"realme", "Realme"},
	{"vivo", "vivo"}, {"v19", "vivo"}, {"v20", "vivo"}, {"v21", "vivo"}, {"v22", "vivo"}, {"v23", "vivo"}, {"i20", "vivo"},
	{"huawei", "Huawei"}, {"ane-", "Huawei"}, {"vog-", "Huawei"}, {"els-", "Huawei"}, {"mar-", "Huawei"}, {"pot-", "Huawei"}, {"lya-", "Huawei"}, {"clt-", "Huawei"},
	{"honor", "Honor"}, {"nokia", "Nokia"}, {"ta-1", "Nokia"}, {"lg-", "LG"}, {"lm-", "LG"}, {"lge", "LG"},
	{"xq-", "Sony"}, {"so-", "Sony"}, {"sony", "Sony"}, {"xperia", "Sony"}, {"asus", "Asus"}, {"zenfone", "Asus"}, {"htc", "HTC"},
	{"lenovo", "Lenovo"}, {"tb-", "Lenovo"}, {"tb3", "Lenovo"}, {"tecno", "Tecno"}, {"infinix", "Infinix"}, {"itel", "itel"},
	{"fairphone", "Fairphone"}, {"fp3", "Fairphone"}, {"fp4", "Fairphone"}, {"fp5", "Fairphone"}, {"fp6", "Fairphone"}, {"nothing", "Nothing"}, {"a06", "Nothing"}, {"zte", "ZTE"}, {"blade", "ZTE"}, {"alcatel", "Alcatel"},
	{"aft", "Amazon"}, {"kf", "Amazon"}, {"kindle", "Amazon"}, {"wiko", "Wiko"}, {"cubot", "Cubot"}, {"doogee", "Doogee"}, {"ulefone", "Ulefone"},
	{"blackview", "Blackview"}, {"cat ", "CAT"}, {"sh-", "Sharp"}, {"quest", "Meta"}, {"shield", "NVIDIA"}, {"bravia", "Sony"}, {"mitv", "Xiaomi"},
}

// makerOf is who makes a model; "" where its name does not say.
func makerOf(model string) string {
	lower := strings.ToLower(model)
	for i := range makers {
		if strings.HasPrefix(lower, makers[i].prefix) {
			return makers[i].maker
		}
	}
	// Xiaomi's numbers begin with year and month: 2201117TY, 23049PCD8G.
	if len(lower) >= 8 && lower[0] == '2' && lower[1] >= '1' && lower[1] <= '9' && (lower[2:4] >= "01" && lower[2:4] <= "12") {
		return "Xiaomi"
	}
	return ""
}

// maxModel bounds the name of a model.
const maxModel = 60

func clip(s string) string {
	if len(s) > maxModel {
		s = strings.ToValidUTF8(s[:maxModel], "")
	}
	return strings.TrimSpace(s)
}

// modelOf is the model that an agent names: Apple's devices by their kind, and
// Android's by what stands behind the version of the system.
func modelOf(agent string) (maker, model string) {
	open := strings.IndexByte(agent, '(')
	if open < 0 {
		return "", ""
	}
	parts, _, _ := strings.Cut(agent[open+1:], ")")
	switch {
	case strings.HasPrefix(parts, "iPhone"):
		return "Apple", "iPhone"
	case strings.HasPrefix(parts, "iPad"):
		return "Apple", "iPad"
	case strings.HasPrefix(parts, "iPod"):
		return "Apple", "iPod touch"
	}
	android := strings.Index(parts, "Android ")
	if android < 0 {
		return "", ""
	}
	_, rest, _ := strings.Cut(parts[android:], ";")
	for part := range strings.SplitSeq(rest, ";") {
		part, _, _ = strings.Cut(part, " Build/")
		part = strings.TrimSpace(part)
		switch {
		case part == "K" || part == "wv" || part == "U" || part == "Mobile" || part == "Tablet" || part == "TV" || strings.HasPrefix(part, "rv:"):
			continue // a frozen agent's, a web view's, Firefox's
		case len(part) == 5 && (part[2] == '-' || part[2] == '_') || part == "" || len(part) == 2:
			continue // a language, as agents of old have it
		}
		model = clip(strings.TrimPrefix(part, "SAMSUNG "))
		return makerOf(part), model
	}
	return "", ""
}
