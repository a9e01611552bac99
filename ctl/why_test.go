package ctl

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"

	"pgha/internal/journal"
	"pgha/internal/render"
)

// TestWhyStories runs testdata/why/*.txt over journals that clusters wrote:
// testdata/why/DIR/MEMBER.jsonl, with addresses, paths and process numbers made
// neutral. One directive:
//
//	why dir=DIR [member=M] [at=TIME] [since=TIME] [format=json] [without=M] [skew=M] [now=TIME]
//
// without: that member does not answer; skew: its clock is 3 s ahead.
func TestWhyStories(t *testing.T) {
	datadriven.Walk(t, "testdata/why", func(t *testing.T, path string) {
		if !strings.HasSuffix(path, ".txt") {
			return
		}
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			var dir, at, since, without, only, skew string
			o := WhyOptions{Cluster: "shop", Format: render.Pretty}
			for _, a := range d.CmdArgs {
				value := strings.ReplaceAll(strings.Join(a.Vals, ","), "_", " ")
				switch a.Key {
				case "dir":
					dir = a.Vals[0]
				case "member":
					o.Member = value
				case "at":
					at = value
				case "since":
					since = value
				case "format":
					o.Format = render.Format(value)
				case "without":
					without = value
				case "only":
					only = value
				case "skew":
					skew = value
				}
			}
			journals := recorded(t, filepath.Join("testdata/why", dir), without, skew)
			if only != "" { // as with --file
				journals = slices.DeleteFunc(journals, func(j memberJournal) bool { return j.Name != only })
			}
			now := time.Time{}
			for _, j := range journals {
				for _, r := range j.Records {
					if r.End().After(now) {
						now = r.End()
					}
				}
			}
			now = now.Add(time.Minute).UTC()
			moment, err := parseMoment(at, now)
			if err != nil {
				t.Fatal(err)
			}
			from, err := parseMoment(since, now)
			if err != nil {
				t.Fatal(err)
			}
			var out bytes.Buffer
			if err := newReport(o, journals, moment, from, now).write(&out, o.Format); err != nil {
				t.Fatal(err)
			}
			return out.String()
		})
	})
}

// recorded reads a directory of journals.
func recorded(t *testing.T, dir, without, skew string) []memberJournal {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*.jsonl"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no journals in %s: %v", dir, err)
	}
	var out []memberJournal
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".jsonl")
		j := memberJournal{Name: name, Source: "rest"}
		if name == without {
			j.Source, j.Fault = "", "it does not answer: connection refused"
			out = append(out, j)
			continue
		}
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		own := t.TempDir()
		if err := os.WriteFile(filepath.Join(own, "journal-00000001.jsonl"), text, 0o600); err != nil {
			t.Fatal(err)
		}
		found, err := journal.Read(own, journal.Query{})
		if err != nil || found.Unreadable > 0 {
			t.Fatalf("%s: %v, %d unreadable", file, err, found.Unreadable)
		}
		j.Records = found.Records
		if name == skew {
			j.Skew = 3 * time.Second
			for i := range j.Records {
				r := &j.Records[i]
				r.At = r.At.Add(j.Skew)
				r.Last = later(r.Last, j.Skew)
				if r.Seen != nil {
					seen := *r.Seen
					seen.Leaderless, seen.LeaseUntil, seen.DCSSeen = later(seen.Leaderless, j.Skew), later(seen.LeaseUntil, j.Skew), later(seen.DCSSeen, j.Skew)
					r.Seen = &seen
				}
			}
		}
		out = append(out, j)
	}
	return out
}

func later(at *time.Time, d time.Duration) *time.Time {
	if at == nil {
		return nil
	}
	moved := at.Add(d)
	return &moved
}

// Moments as people write them.
func TestParseMoment(t *testing.T) {
	zone := time.FixedZone("", 3600)
	now := time.Date(2026, 11, 23, 3, 30, 0, 0, zone)
	for text, want := range map[string]string{
		"2026-11-23 03:12": "2026-11-23T03:12:00+01:00", "03:12": "2026-11-23T03:12:00+01:00", "03:12:41": "2026-11-23T03:12:41+01:00",
		"23:50": "2026-11-22T23:50:00+01:00", "2026-11-23T02:12:41Z": "2026-11-23T02:12:41Z", "10m ago": "2026-11-23T03:20:00+01:00",
		"1h30m": "2026-11-23T02:00:00+01:00", "2d": "2026-11-21T03:30:00+01:00", "now": "2026-11-23T03:30:00+01:00", "2026-11-20": "2026-11-20T00:00:00+01:00",
		"2026-11-23 03:12:41": "2026-11-23T03:12:41+01:00",
	} {
		at, err := parseMoment(text, now)
		if err != nil || at.Format(time.RFC3339) != want {
			t.Errorf("%s: %s, %v; want %s", text, at.Format(time.RFC3339), err, want)
		}
	}
	for _, text := range []string{"yesterday", "25:99", "-5m", "ago"} {
		if at, err := parseMoment(text, now); err == nil {
			t.Errorf("%s was taken as %s", text, at)
		}
	}
}
