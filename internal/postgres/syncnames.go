package postgres

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// SyncMethod is how synchronous_standby_names chooses the standbys to wait for.
type SyncMethod string

const (
	// SyncNone: no standby is waited for (the setting is empty).
	SyncNone SyncMethod = ""
	// SyncFirst: the first Num of the listed standbys that are connected.
	SyncFirst SyncMethod = "FIRST"
	// SyncAny: any Num of the listed standbys.
	SyncAny SyncMethod = "ANY"
)

// SyncNames is a value of synchronous_standby_names (PostgreSQL manual 20.6.2).
// The zero value is the empty setting.
type SyncNames struct {
	Method SyncMethod
	// Num is how many standbys a commit waits for; at least 1 unless SyncNone.
	Num int
	// Names as written, without quotes. "*" is every standby, quoted or not.
	Names []string
}

// SyncNamesError says where a value is no synchronous_standby_names.
type SyncNamesError struct {
	Position int // byte, from 1; one behind the end where something is missing
	Message  string
}

// Error names the position.
func (e *SyncNamesError) Error() string {
	return fmt.Sprintf("synchronous_standby_names: character %d: %s", e.Position, e.Message)
}

// ParseSyncNames reads a value of synchronous_standby_names: FIRST n (list),
// ANY n (list), n (list), or the list alone, which is FIRST 1. It accepts what
// PostgreSQL 13 to 18 accept, but for numbers beyond 2^31-1, which those take
// for another number. Errors are *SyncNamesError.
func ParseSyncNames(text string) (SyncNames, error) {
	if text == "" {
		return SyncNames{}, nil
	}
	p := syncParser{text: text}
	p.next()
	names, err := p.value()
	if err == nil && p.kind != tokenEnd {
		err = p.unexpected("the end")
	}
	if err != nil {
		return SyncNames{}, err
	}
	return names, nil
}

// String is the value in PostgreSQL's own syntax; parsed again it gives the
// same SyncNames.
func (s SyncNames) String() string {
	if s.Method == SyncNone {
		return ""
	}
	quoted := make([]string, len(s.Names))
	for i, name := range s.Names {
		quoted[i] = quoteSyncName(name)
	}
	return fmt.Sprintf("%s %d (%s)", s.Method, s.Num, strings.Join(quoted, ", "))
}

// Lists says whether a standby with that application_name is among those that
// may be waited for. PostgreSQL compares without regard to case.
func (s SyncNames) Lists(applicationName string) bool {
	for _, name := range s.Names {
		if name == "*" || strings.EqualFold(name, applicationName) {
			return true
		}
	}
	return false
}

// quoteSyncName quotes a name unless it is fit to stand as it is.
func quoteSyncName(name string) string {
	p := syncParser{text: name}
	p.next()
	if (p.kind == tokenName || p.kind == tokenNumber) && p.at == len(name) && p.word == name {
		return name
	}
	return `"` + strings.ReplaceAll(name, `"`, `""`) + `"`
}

// tokenKind is what kind of word the scanner found.
type tokenKind int

const (
	tokenEnd tokenKind = iota
	tokenName
	tokenNumber
	tokenAny
	tokenFirst
	tokenMark // one of ( ) ,
	tokenBad  // unterminated quotes, or a character that means nothing
)

// syncParser reads one value, one token ahead.
type syncParser struct {
	text string
	at   int // behind the token

	kind  tokenKind
	word  string
	start int
}

// value reads the whole setting.
func (p *syncParser) value() (SyncNames, error) {
	s := SyncNames{Method: SyncFirst, Num: 1}
	switch p.kind {
	case tokenAny, tokenFirst:
		if p.kind == tokenAny {
			s.Method = SyncAny
		}
		p.next()
		if p.kind != tokenNumber {
			return s, p.unexpected("a number")
		}
		number, at := p.word, p.start
		p.next()
		return p.counted(s, number, at)
	case tokenNumber: // of standbys, or the first standby's name
		number, at := p.word, p.start
		p.next()
		if p.is("(") {
			return p.counted(s, number, at)
		}
		s.Names = []string{number}
		return s, p.more(&s)
	}
	return s, p.list(&s)
}

// counted reads a list in parentheses behind its number.
func (p *syncParser) counted(s SyncNames, number string, at int) (SyncNames, error) {
	n, err := strconv.Atoi(number)
	if err != nil || n < 1 || n > math.MaxInt32 {
		return s, &SyncNamesError{at + 1, fmt.Sprintf("the number of standbys must be from 1 to %d, got %s", math.MaxInt32, number)}
	}
	s.Num = n
	if !p.is("(") {
		return s, p.unexpected(`"("`)
	}
	p.next()
	if err := p.list(&s); err != nil {
		return s, err
	}
	if !p.is(")") {
		return s, p.unexpected(`"," or ")"`)
	}
	p.next()
	return s, nil
}

// list reads one name or several.
func (p *syncParser) list(s *SyncNames) error {
	if p.kind != tokenName && p.kind != tokenNumber {
		return p.unexpected("a name")
	}
	s.Names = append(s.Names, p.word)
	p.next()
	return p.more(s)
}

// more reads what follows the first name.
func (p *syncParser) more(s *SyncNames) error {
	for p.is(",") {
		p.next()
		if p.kind != tokenName && p.kind != tokenNumber {
			return p.unexpected("a name")
		}
		s.Names = append(s.Names, p.word)
		p.next()
	}
	return nil
}

func (p *syncParser) is(mark string) bool { return p.kind == tokenMark && p.word == mark }

func (p *syncParser) unexpected(wanted string) error {
	got := fmt.Sprintf("%q", p.text[p.start:p.at])
	switch {
	case p.kind == tokenEnd:
		got = "the end"
	case p.kind == tokenBad && p.text[p.start] == '"':
		got = "a quoted name without its closing quote"
	}
	return &SyncNamesError{p.start + 1, "expected " + wanted + ", got " + got}
}

// next scans one token.
func (p *syncParser) next() {
	for p.at < len(p.text) && strings.IndexByte(" \t\n\r\f", p.text[p.at]) >= 0 {
		p.at++
	}
	p.start = p.at
	if p.at == len(p.text) {
		p.kind, p.word = tokenEnd, ""
		return
	}
	switch c := p.text[p.at]; {
	case c == '(' || c == ')' || c == ',':
		p.take(tokenMark, p.at+1)
	case c == '*':
		p.take(tokenName, p.at+1)
	case c == '"':
		p.quoted()
	case isDigit(c):
		p.take(tokenNumber, p.span(isDigit))
	case startsName(c):
		p.take(tokenName, p.span(func(c byte) bool { return startsName(c) || isDigit(c) || c == '$' }))
		switch {
		case strings.EqualFold(p.word, "any"):
			p.kind = tokenAny
		case strings.EqualFold(p.word, "first"):
			p.kind = tokenFirst
		}
	default:
		p.take(tokenBad, p.at+1)
	}
}

func (p *syncParser) take(kind tokenKind, end int) {
	p.kind, p.word, p.at = kind, p.text[p.at:end], end
}

// span is the end of the run of such bytes that starts here.
func (p *syncParser) span(in func(byte) bool) int {
	end := p.at
	for end < len(p.text) && in(p.text[end]) {
		end++
	}
	return end
}

// quoted scans a name in double quotes; a doubled quote is one.
func (p *syncParser) quoted() {
	var b strings.Builder
	for i := p.at + 1; i < len(p.text); i++ {
		switch {
		case p.text[i] != '"':
			b.WriteByte(p.text[i])
		case i+1 < len(p.text) && p.text[i+1] == '"':
			b.WriteByte('"')
			i++
		default:
			p.kind, p.word, p.at = tokenName, b.String(), i+1
			return
		}
	}
	p.kind, p.word, p.at = tokenBad, "", len(p.text)
}

func isDigit(c byte) bool { return c >= '0' && c <= '9' }

// startsName: letters, underscore and every byte of a character beyond ASCII.
func startsName(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c == '_' || c >= 0x80
}
