package cloudevents

import (
	"net/netip"
	"strings"
)

// TruncateAddr is an address as it may become durable: its /24 or /48 network.
func TruncateAddr(a netip.Addr) netip.Addr {
	a = a.Unmap().WithZone("")
	bits := 48
	if a.Is4() {
		bits = 24
	}
	p, err := a.Prefix(bits)
	if err != nil { // only of an invalid address
		return netip.Addr{}
	}
	return p.Addr()
}

// addressClass marks bytes that an IP address can consist of.
var addressClass = func() (t [256]bool) {
	for _, c := range []byte("0123456789abcdefABCDEF:.") {
		t[c] = true
	}
	return t
}()

// appendCutAddresses appends text with every IP address in it cut to its
// network, wherever it stands.
func appendCutAddresses(dst []byte, text string) []byte {
	for i := 0; i < len(text); {
		start := i
		for i < len(text) && !addressClass[text[i]] {
			i++
		}
		dst = append(dst, text[start:i]...)
		start = i
		dots, colons := 0, 0
		for i < len(text) && addressClass[text[i]] {
			switch text[i] {
			case '.':
				dots++
			case ':':
				colons++
			}
			i++
		}
		word := text[start:i]
		if dots < 3 && colons < 2 {
			dst = append(dst, word...)
			continue
		}
		dst = appendCutWord(dst, word)
	}
	return dst
}

// appendCutWord cuts the address that a word of address characters holds,
// with a port or stops around it.
func appendCutWord(dst []byte, word string) []byte {
	core := strings.TrimRight(word, ".")
	lead := len(core) - len(strings.TrimLeft(core, "."))
	core = core[lead:]
	for _, candidate := range [...]string{core, strings.TrimSuffix(core, ":"), strings.TrimPrefix(core, ":"), strings.Trim(core, ":")} {
		if a, err := netip.ParseAddr(candidate); err == nil {
			at := strings.Index(word, candidate)
			dst = append(dst, word[:at]...)
			dst = TruncateAddr(a).AppendTo(dst)
			return append(dst, word[at+len(candidate):]...)
		}
	}
	if a, err := netip.ParseAddrPort(core); err == nil {
		dst = append(dst, word[:lead]...)
		dst = netip.AddrPortFrom(TruncateAddr(a.Addr()), a.Port()).AppendTo(dst)
		return append(dst, word[lead+len(core):]...)
	}
	// Several joined by colons or dots: each that stands for itself.
	if at := strings.IndexByte(word, ':'); at >= 0 && strings.Count(word[:at], ".") == 3 {
		dst = appendCutWord(dst, word[:at])
		dst = append(dst, ':')
		return appendCutWord(dst, word[at+1:])
	}
	return append(dst, word...)
}

// namesAddress reports whether a parameter's key says that its value is an
// address of a visitor.
func namesAddress(key string) bool {
	switch key {
	case "ip", "ip_address", "client_ip", "user_ip", "visitor_ip", "remote_addr", "remote_ip", "ip_override", "uip", "_uip", "x_forwarded_for":
		return true
	}
	return false
}
