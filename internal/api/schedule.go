package api

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// timestamp is ISO 8601 with the liberties people take: a blank for the T,
// no separators, no seconds, UTC as a word, an offset of hours alone.
var timestamp = regexp.MustCompile(`^(\d{4})-?(\d\d)-?(\d\d)` +
	`(?:(?:[Tt]|\s+)(\d\d):?(\d\d)(?::?(\d\d)(?:[.,](\d{1,9}))?)?)?` +
	`\s*([Zz]|UTC|GMT|utc|[+-]\d\d(?::?\d\d)?)?$`)

// ParseSchedule reads the time of a scheduled action. zoned is false when
// the text carries no offset: such a time means another instant on another
// machine, and the caller must refuse it. The time keeps the offset it was
// written with. An error means the text is no timestamp.
func ParseSchedule(text string) (at time.Time, zoned bool, err error) {
	m := timestamp.FindStringSubmatch(strings.TrimSpace(text))
	if m == nil {
		return time.Time{}, false, fmt.Errorf("timestamp %q: want YYYY-MM-DDTHH:MM:SS+HH:MM", text)
	}
	num := func(i int) int { n, _ := strconv.Atoi(m[i]); return n }
	nanos, _ := strconv.Atoi((m[7] + "000000000")[:9])
	zone := time.UTC
	if z := m[8]; len(z) >= 3 && (z[0] == '+' || z[0] == '-') {
		digits := strings.Replace(z[1:], ":", "", 1) + "00"
		hours, _ := strconv.Atoi(digits[:2])
		minutes, _ := strconv.Atoi(digits[2:4])
		if hours > 23 || minutes > 59 {
			// Written to the DCS, it would be a time that no member can read.
			return time.Time{}, false, fmt.Errorf("timestamp %q: no such time zone", text)
		}
		seconds := hours*3600 + minutes*60
		if z[0] == '-' {
			seconds = -seconds
		}
		if seconds != 0 {
			zone = time.FixedZone("", seconds)
		}
	}
	at = time.Date(num(1), time.Month(num(2)), num(3), num(4), num(5), num(6), nanos, zone)
	// time.Date rolls the 31st of February over to March; that is no date.
	if at.Month() != time.Month(num(2)) || at.Day() != num(3) || at.Hour() != num(4) || at.Minute() != num(5) || at.Second() != num(6) {
		return time.Time{}, false, fmt.Errorf("timestamp %q: no such date or time", text)
	}
	return at, m[8] != "", nil
}
