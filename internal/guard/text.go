package guard

// strconv and strings are left out of the guard on purpose (rulings 35); what
// it needs of them is here.

// formatInt writes a number in decimal.
func formatInt(n int64) string {
	if n < 0 {
		return "-" + formatUint(uint64(-(n+1))+1)
	}
	return formatUint(uint64(n))
}

func formatUint(n uint64) string {
	var buf [20]byte
	i := len(buf)
	for {
		i--
		buf[i] = byte('0' + n%10)
		n /= 10
		if n == 0 {
			return string(buf[i:])
		}
	}
}

// parseUint reads a decimal number; ok is false for anything else, overflow
// included.
func parseUint(s string) (n uint64, ok bool) {
	if s == "" {
		return 0, false
	}
	for i := 0; i < len(s); i++ {
		d := uint64(s[i]) - '0'
		if d > 9 || n > (1<<64-1-d)/10 {
			return 0, false
		}
		n = n*10 + d
	}
	return n, true
}

// parseInt reads a decimal number that is not negative and fits an int64.
func parseInt(s string) (n int64, ok bool) {
	u, ok := parseUint(s)
	if !ok || u > 1<<63-1 {
		return 0, false
	}
	return int64(u), true
}

// parseHex reads lower-case hexadecimal digits.
func parseHex(s string) (n uint64, ok bool) {
	if s == "" || len(s) > 16 {
		return 0, false
	}
	for i := 0; i < len(s); i++ {
		d := unhex(s[i])
		if d > 15 {
			return 0, false
		}
		n = n<<4 | uint64(d)
	}
	return n, true
}

// fields splits at runs of spaces.
func fields(s string) []string {
	var words []string
	for i := 0; i < len(s); {
		if s[i] == ' ' {
			i++
			continue
		}
		j := i
		for j < len(s) && s[j] != ' ' {
			j++
		}
		words = append(words, s[i:j])
		i = j
	}
	return words
}

func hasPrefix(s, prefix string) bool { return len(s) >= len(prefix) && s[:len(prefix)] == prefix }

// cutLine returns the text before the first newline and what follows it.
func cutLine(s string) (line, rest string) {
	for i := 0; i < len(s); i++ {
		if s[i] == '\n' {
			return s[:i], s[i+1:]
		}
	}
	return s, ""
}

// lastIndex returns the position of the last such byte, or -1.
func lastIndex(s string, b byte) int {
	for i := len(s) - 1; i >= 0; i-- {
		if s[i] == b {
			return i
		}
	}
	return -1
}

const hexDigits = "0123456789abcdef"

// Quote makes one word of the protocol out of any string: bytes outside the
// printable ASCII range, spaces and % become %xx, the empty string a lone %.
func Quote(s string) string {
	if s == "" {
		return "%"
	}
	var out []byte
	for i := 0; i < len(s); i++ {
		if c := s[i]; c > ' ' && c < 0x7f && c != '%' {
			out = append(out, c)
		} else {
			out = append(out, '%', hexDigits[c>>4], hexDigits[c&15])
		}
	}
	return string(out)
}

// Unquote reverses Quote; ok is false for a word that Quote cannot have made.
func Unquote(word string) (s string, ok bool) {
	if word == "%" {
		return "", true
	}
	if word == "" {
		return "", false
	}
	var out []byte
	for i := 0; i < len(word); i++ {
		c := word[i]
		if c <= ' ' || c >= 0x7f {
			return "", false
		}
		if c != '%' {
			out = append(out, c)
			continue
		}
		if i+2 >= len(word) {
			return "", false
		}
		hi, lo := unhex(word[i+1]), unhex(word[i+2])
		if hi > 15 || lo > 15 {
			return "", false
		}
		out = append(out, hi<<4|lo)
		i += 2
	}
	return string(out), true
}

func unhex(c byte) byte {
	switch {
	case c >= '0' && c <= '9':
		return c - '0'
	case c >= 'a' && c <= 'f':
		return c - 'a' + 10
	default:
		return 255
	}
}
