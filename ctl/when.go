package ctl

import (
	"strings"
	"time"

	"pgha/internal/api"
)

// parseWhen reads the time of a scheduled action: "now" and the empty text
// are now (the zero time); without an offset the time is local (contract:
// ctl.md 5.4). A time of day alone is today's.
func parseWhen(text string, now time.Time) (time.Time, error) {
	if text == "" || strings.EqualFold(text, "now") {
		return time.Time{}, nil
	}
	at, zoned, err := api.ParseSchedule(text)
	if err != nil {
		at, zoned, err = api.ParseSchedule(now.Format("2006-01-02T") + text)
	}
	if err != nil {
		return time.Time{}, fail("Unable to parse scheduled timestamp (%s). It should be in an unambiguous format (e.g. ISO 8601)", text)
	}
	if !zoned {
		at = time.Date(at.Year(), at.Month(), at.Day(), at.Hour(), at.Minute(), at.Second(), at.Nanosecond(), now.Location())
	}
	return at, nil
}

// isoTime is the time as members write it.
func isoTime(t time.Time) string { return api.FormatTime(t, 'T') }
