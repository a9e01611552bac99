package dcs

import "time"

// Layouts of ISO 8601 as members and operators write them. Fractions of a
// second are read after any of them that ends in seconds.
var (
	datePart = []string{"2006-01-02T", "2006-01-02 ", "20060102T"}
	timePart = []string{"15:04:05", "15:04", "150405", "1504"}
	zonePart = []string{"Z07:00", "Z0700", "Z07", " Z07:00", " Z0700", " MST", ""}
)

// ParseTime reads a civil time in ISO 8601 form. zoned is false when the text
// names no time zone: the time returned is then in UTC and means nothing. ok
// is false when the text is no time.
func ParseTime(s string) (t time.Time, zoned, ok bool) {
	for _, z := range zonePart {
		for _, d := range datePart {
			for _, h := range timePart {
				t, err := time.Parse(d+h+z, s)
				if err != nil {
					continue
				}
				// Go makes up an offset of zero for abbreviations it does not know.
				if z == " MST" && t.Location() != time.UTC {
					return time.Time{}, false, false
				}
				return t, z != "", true
			}
		}
	}
	return time.Time{}, false, false
}

// FormatTime writes a time as the other members do: with an offset, with six
// digits of fraction or none.
func FormatTime(t time.Time) string {
	if t.Nanosecond() >= int(time.Microsecond) {
		return t.Format("2006-01-02T15:04:05.000000-07:00")
	}
	return t.Format("2006-01-02T15:04:05-07:00")
}
