package logging

import (
	"fmt"
	"strings"
	"time"
)

// newStamp returns the function for %(asctime)s. An empty dateformat is
// Python's default: local time with milliseconds behind a comma.
func newStamp(dateformat string) func(time.Time) string {
	if dateformat == "" {
		return func(t time.Time) string { return t.Local().Format("2006-01-02 15:04:05,000") }
	}
	return func(t time.Time) string { return strftime(dateformat, t.Local()) }
}

// conversions maps strftime's letters to Go layouts.
var conversions = map[byte]string{
	'Y': "2006", 'y': "06", 'm': "01", 'd': "02", 'H': "15", 'I': "03", 'M': "04", 'S': "05",
	'p': "PM", 'b': "Jan", 'h': "Jan", 'B': "January", 'a': "Mon", 'A': "Monday", 'z': "-0700", 'Z': "MST",
	'F': "2006-01-02", 'T': "15:04:05", 'D': "01/02/06", 'R': "15:04", 'j': "002", 'e': "_2",
	'c': "Mon Jan _2 15:04:05 2006", 'x': "01/02/06", 'X': "15:04:05",
}

// strftime formats t. An unknown conversion is printed as it stands.
func strftime(format string, t time.Time) string {
	var b strings.Builder
	for i := 0; i < len(format); i++ {
		if format[i] != '%' || i+1 == len(format) {
			b.WriteByte(format[i])
			continue
		}
		i++
		switch c := format[i]; {
		case c == '%':
			b.WriteByte('%')
		case c == 's':
			fmt.Fprint(&b, t.Unix())
		case c == 'f':
			fmt.Fprintf(&b, "%06d", t.Nanosecond()/1000)
		case conversions[c] != "":
			b.WriteString(t.Format(conversions[c]))
		default:
			b.WriteByte('%')
			b.WriteByte(c)
		}
	}
	return b.String()
}
