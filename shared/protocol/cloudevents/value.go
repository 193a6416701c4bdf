package cloudevents

import (
	"strconv"
	"strings"

	"github.com/valyala/fastjson"

	"github.com/footfall/footfall/shared/event"
	"github.com/footfall/footfall/shared/money"
)

const microsPerUnit = 1_000_000

// str is a text of at most limit bytes.
func (p *Parser) str(field string, v *fastjson.Value, limit int) string {
	if v.Type() != fastjson.TypeString {
		p.fail(field, "a text")
		return ""
	}
	s := text(v)
	if len(s) > limit {
		p.fail(field, "at most "+strconv.Itoa(limit)+" bytes")
		return ""
	}
	return s
}

// ident is an id: a text, or a number's own digits, at most MaxID bytes.
func (p *Parser) ident(field string, v *fastjson.Value) string {
	if v.Type() == fastjson.TypeNumber {
		if s := p.number(v); len(s) <= MaxID {
			return s
		}
	}
	if v.Type() != fastjson.TypeString {
		p.fail(field, "a text or a number")
		return ""
	}
	return p.str(field, v, MaxID)
}

// number is a number's text as it came, or that of a text.
func (p *Parser) number(v *fastjson.Value) string {
	if v.Type() == fastjson.TypeString {
		return strings.TrimSpace(text(v))
	}
	start := len(p.texts)
	p.texts = v.MarshalTo(p.texts)
	return view(p.texts[start:])
}

// decimal is a number, or a text that holds one, in millionths. The texts
// that it needs are given up again.
func (p *Parser) decimal(v *fastjson.Value) (int64, bool) {
	if t := v.Type(); t != fastjson.TypeNumber && t != fastjson.TypeString {
		return 0, false
	}
	keep := len(p.texts)
	n, ok := money.Micros(p.number(v))
	p.texts = p.texts[:keep]
	return n, ok
}

// money is an amount in millionths.
func (p *Parser) money(field string, v *fastjson.Value) int64 {
	n, ok := p.decimal(v)
	if !ok {
		p.fail(field, "a number of at most 9 trillion")
	}
	return n
}

// engagement is a time in ms, rounded.
func (p *Parser) engagement(field string, v *fastjson.Value) int64 {
	n, ok := p.decimal(v)
	if !ok || n < 0 || n > maxEngaged*1000*microsPerUnit {
		p.fail(field, "a number of milliseconds from 0 to 86400000")
		return 0
	}
	return (n + microsPerUnit/2) / microsPerUnit
}

// quantity is a whole number.
func (p *Parser) quantity(field string, v *fastjson.Value) int64 {
	n, ok := p.decimal(v)
	if !ok || n < 0 || n%microsPerUnit != 0 || n > maxQuantity*microsPerUnit {
		p.fail(field, "a whole number from 0 to 1000000000")
		return 0
	}
	return n / microsPerUnit
}

// currency is a code of ISO 4217's form, in upper case.
func (p *Parser) currency(field string, v *fastjson.Value) string {
	s := p.str(field, v, MaxText)
	if p.problem != nil || s == "" {
		return ""
	}
	upper := true
	for i := range len(s) {
		if len(s) != 3 || !isLetter(s[i]) {
			p.fail(field, "a currency code of three letters, such as EUR")
			return ""
		}
		upper = upper && s[i] <= 'Z'
	}
	if !upper {
		return strings.ToUpper(s)
	}
	return s
}

// location is an absolute URL.
func (p *Parser) location(field string, v *fastjson.Value) string {
	s := p.str(field, v, MaxURL)
	if p.problem != nil || s == "" {
		return ""
	}
	at := strings.Index(s, "://")
	valid := at > 0 && isLetter(s[0]) && len(s) > at+3
	for i := 1; valid && i < at; i++ {
		c := s[i]
		valid = isLetter(c) || isDigit(c) || c == '+' || c == '-' || c == '.'
	}
	if !valid {
		p.fail(field, "a whole URL, such as https://shop.example/cart")
		return ""
	}
	return s
}

// param reads one parameter and appends it to p.params.
func (p *Parser) param(parent, key string, v *fastjson.Value) {
	if key == "" || len(key) > MaxKey || event.ReservedKey(key) {
		p.fail(quoteKey(parent, key), "a name of 1 to 40 bytes that does not begin with @")
		return
	}
	out := event.Param{Key: key}
	switch v.Type() {
	case fastjson.TypeString:
		if out.Text = text(v); len(out.Text) > MaxText {
			p.fail(quoteKey(parent, key), "at most 1024 bytes")
		}
		if namesAddress(key) {
			start := len(p.texts)
			p.texts = appendCutAddresses(p.texts, out.Text)
			out.Text = view(p.texts[start:])
		}
	case fastjson.TypeNumber:
		p.numberParam(parent, &out, v)
	case fastjson.TypeTrue, fastjson.TypeFalse:
		out.Kind, out.Bool = event.ParamBool, v.Type() == fastjson.TypeTrue
	default:
		p.fail(quoteKey(parent, key), "a text, a number, true or false")
	}
	p.params = append(p.params, out)
}

func (p *Parser) numberParam(parent string, out *event.Param, v *fastjson.Value) {
	keep := len(p.texts)
	s := p.number(v)
	integer, ok := money.ValidNumber(s)
	if ok && integer {
		if n, err := strconv.ParseInt(s, 10, 64); err == nil {
			out.Kind, out.Int = event.ParamInt, n
			p.texts = p.texts[:keep]
			return
		}
	}
	f, err := strconv.ParseFloat(s, 64)
	if !ok || err != nil {
		p.fail(quoteKey(parent, out.Key), "a finite number")
	}
	out.Kind, out.Double = event.ParamDouble, f
	p.texts = p.texts[:keep]
}

func validName(s string) bool {
	if s == "" || len(s) > MaxName || !isLetter(s[0]) {
		return false
	}
	for i := 1; i < len(s); i++ {
		if c := s[i]; !isLetter(c) && !isDigit(c) && c != '_' {
			return false
		}
	}
	return true
}

func itemField(place int, member string) string {
	return "data.items[" + strconv.Itoa(place) + "]" + member
}
