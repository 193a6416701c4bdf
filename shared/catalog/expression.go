package catalog

import (
	"fmt"
	"strconv"

	"github.com/footfall/footfall/shared/fault"
)

// Expression is arithmetic over metrics, such as eventCount/totalUsers. What is
// divided by 0 is 0, as metrics are, and so is what is beyond all numbers.
type Expression struct {
	Parts []*Metric // each once
	root  node
}

// node is a number, a metric, or two nodes with an operator between.
type node struct {
	op          byte // '+', '-', '*', '/'; 'n' a number, 'm' a metric
	left, right *node
	number      float64
	part        int
}

// Bounds of an expression.
const (
	maxExpression = 500 // bytes
	maxNesting    = 20
)

// ParseExpression reads names, numbers, + - * / and parentheses. find finds a
// metric by its name. Errors name field.
func ParseExpression(field, text string, find func(name string) (*Metric, error)) (*Expression, error) {
	if len(text) > maxExpression {
		return nil, fault.Field(field, fmt.Sprintf("at most %d bytes", maxExpression))
	}
	p := &expressionParser{field: field, text: text, find: find, out: &Expression{}}
	root, err := p.sum(0)
	if err != nil {
		return nil, err
	}
	if p.space(); p.at < len(text) {
		return nil, p.expected("an operator, one of + - * /,")
	}
	if len(p.out.Parts) == 0 {
		return nil, fault.Field(field, "an expression with at least one metric")
	}
	p.out.root = *root
	return p.out, nil
}

type expressionParser struct {
	field, text string
	at          int
	find        func(name string) (*Metric, error)
	out         *Expression
}

func (p *expressionParser) expected(what string) error {
	return fault.Field(p.field, fmt.Sprintf("%s at position %d", what, len([]rune(p.text[:p.at]))+1))
}

func (p *expressionParser) space() {
	for p.at < len(p.text) && p.text[p.at] == ' ' {
		p.at++
	}
}

// operator takes one of two operators, or returns 0.
func (p *expressionParser) operator(a, b byte) byte {
	p.space()
	if p.at < len(p.text) && (p.text[p.at] == a || p.text[p.at] == b) {
		p.at++
		return p.text[p.at-1]
	}
	return 0
}

func (p *expressionParser) sum(depth int) (*node, error) {
	return p.chain('+', '-', func() (*node, error) {
		return p.chain('*', '/', func() (*node, error) { return p.factor(depth) })
	})
}

func (p *expressionParser) chain(a, b byte, next func() (*node, error)) (*node, error) {
	left, err := next()
	if err != nil {
		return nil, err
	}
	for op := p.operator(a, b); op != 0; op = p.operator(a, b) {
		right, err := next()
		if err != nil {
			return nil, err
		}
		left = &node{op: op, left: left, right: right}
	}
	return left, nil
}

func (p *expressionParser) factor(depth int) (*node, error) {
	if p.operator('(', '(') != 0 {
		if depth == maxNesting {
			return nil, p.expected(fmt.Sprintf("at most %d levels of parentheses", maxNesting))
		}
		inner, err := p.sum(depth + 1)
		if err != nil {
			return nil, err
		}
		if p.operator(')', ')') == 0 {
			return nil, p.expected("a closing parenthesis")
		}
		return inner, nil
	}
	start := p.at
	for p.at < len(p.text) && inName(p.text[p.at]) {
		p.at++
	}
	word := p.text[start:p.at]
	if word == "" {
		return nil, p.expected("the name of a metric, a number or a parenthesis")
	}
	if word[0] >= '0' && word[0] <= '9' || word[0] == '.' {
		n, err := strconv.ParseFloat(word, 64)
		if err != nil {
			p.at = start
			return nil, p.expected("a number")
		}
		return &node{op: 'n', number: n}, nil
	}
	m, err := p.find(word)
	if err != nil {
		return nil, err
	}
	for i, known := range p.out.Parts {
		if known.Name == m.Name {
			return &node{op: 'm', part: i}, nil
		}
	}
	p.out.Parts = append(p.out.Parts, m)
	return &node{op: 'm', part: len(p.out.Parts) - 1}, nil
}

func inName(b byte) bool {
	return b >= 'a' && b <= 'z' || b >= 'A' && b <= 'Z' || b >= '0' && b <= '9' || b == '_' || b == ':' || b == '.'
}

// Of works the expression out from the values of its parts.
func (e *Expression) Of(values []Value) Value { return floatValue(e.root.of(values)) }

func (n *node) of(values []Value) float64 {
	switch n.op {
	case 'n':
		return n.number
	case 'm':
		return values[n.part].Float()
	}
	a, b := n.left.of(values), n.right.of(values)
	switch n.op {
	case '+':
		return a + b
	case '-':
		return a - b
	case '*':
		return a * b
	default:
		if b == 0 {
			return 0
		}
		return a / b
	}
}
