package report

import (
	"strings"
	"unicode/utf8"
)

// Align makes lines of cells a table for a person to read: the first left
// columns stand left, the others, which are numbers, right.
func Align(lines [][]string, left int) string {
	var widths []int
	for _, line := range lines {
		for i, cell := range line {
			if i == len(widths) {
				widths = append(widths, 0)
			}
			widths[i] = max(widths[i], utf8.RuneCountInString(cell))
		}
	}
	var b strings.Builder
	for _, line := range lines {
		for i, cell := range line {
			if i > 0 {
				b.WriteString("  ")
			}
			fill := strings.Repeat(" ", widths[i]-utf8.RuneCountInString(cell))
			if i < left {
				b.WriteString(cell + fill)
			} else {
				b.WriteString(fill + cell)
			}
		}
		b.WriteByte('\n')
	}
	return b.String()
}

// Plain takes out of a stranger's text what would break a table or a terminal.
func Plain(s string) string {
	return strings.Map(func(r rune) rune {
		if r < 0x20 || r == 0x7f || r >= 0x80 && r < 0xa0 {
			return '?'
		}
		return r
	}, s)
}

// Harmless keeps a spreadsheet from running a visitor's text as a formula
// (OWASP, "CSV Injection").
func Harmless(s string) string {
	if s != "" && strings.ContainsRune("=+-@\t\r", rune(s[0])) {
		return "'" + s
	}
	return s
}
