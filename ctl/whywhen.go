package ctl

import (
	"strings"
	"time"
)

// parseMoment reads a moment of the past: what parseWhen takes, a day and
// minute, a time of day, or how long ago it was ("10m ago", "2h", "1h30m").
// A time of day that is still to come is yesterday's. Empty: the zero time.
func parseMoment(text string, now time.Time) (time.Time, error) {
	text = strings.TrimSpace(text)
	if text == "" {
		return time.Time{}, nil
	}
	if strings.EqualFold(text, "now") {
		return now, nil
	}
	ago := strings.TrimSpace(strings.TrimSuffix(strings.ToLower(text), "ago"))
	if days, ok := strings.CutSuffix(ago, "d"); ok {
		if d, err := time.ParseDuration(days + "h"); err == nil && d > 0 {
			return now.Add(-24 * d), nil
		}
	}
	if d, err := time.ParseDuration(strings.ReplaceAll(ago, " ", "")); err == nil && d > 0 {
		return now.Add(-d), nil
	}
	for _, layout := range []string{"15:04", "15:04:05"} {
		if at, err := time.Parse(layout, text); err == nil {
			day := time.Date(now.Year(), now.Month(), now.Day(), at.Hour(), at.Minute(), at.Second(), 0, now.Location())
			if day.After(now) {
				day = day.AddDate(0, 0, -1)
			}
			return day, nil
		}
	}
	for _, layout := range []string{"2006-01-02 15:04", "2006-01-02T15:04", "2006-01-02"} {
		if at, err := time.ParseInLocation(layout, text, now.Location()); err == nil {
			return at, nil
		}
	}
	at, err := parseWhen(text, now)
	if err != nil {
		return at, &UsageError{Text: "'" + text + "' is no moment: 2026-11-23 03:12, 03:12, 2026-11-23T03:12:41+01:00 or 10m ago is expected"}
	}
	return at, nil
}
