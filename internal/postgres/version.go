package postgres

import (
	"fmt"
	"strconv"
	"strings"
)

// Version is a PostgreSQL version as server_version_num: 150018 is 15.18,
// 170000 is 17.0 or a pre-release of 17, 90603 is 9.6.3. Zero is "unknown".
type Version int

// OldestSupported is the first version pgha manages (rulings 32).
const OldestSupported Version = 130000

// Major is the major version as PG_VERSION counts it: 15. The two-part majors
// before 10 give 9.
func (v Version) Major() int { return int(v) / 10000 }

// AtLeast says whether v belongs to the given major version or a later one.
func (v Version) AtLeast(major int) bool { return v.Major() >= major }

// String prints the form people know: 15.18, or 9.6.3 before 10.
func (v Version) String() string {
	n := int(v)
	if n < 100000 {
		return fmt.Sprintf("%d.%d.%d", n/10000, n/100%100, n%100)
	}
	return fmt.Sprintf("%d.%d", n/10000, n%10000)
}

// ParseServerVersion reads what `postgres --version` and its sister programs
// print ("postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)") or the bare
// server_version ("15.18", "18beta1"). Pre-releases count as minor version 0.
func ParseServerVersion(s string) (Version, error) {
	text := s
	if _, after, ok := strings.Cut(text, "(PostgreSQL)"); ok {
		text = after
	}
	for _, field := range strings.Fields(text) {
		if field[0] >= '0' && field[0] <= '9' {
			if v, ok := parseDotted(field); ok {
				return v, nil
			}
			break
		}
	}
	return 0, fmt.Errorf("PostgreSQL version in %q: want something like 15.18", s)
}

// ParsePGVersionFile reads the content of a data directory's PG_VERSION, the
// major version only: the result's minor part is 0.
func ParsePGVersionFile(content string) (Version, error) {
	v, ok := parseDotted(strings.TrimSpace(content))
	if !ok {
		return 0, fmt.Errorf("PG_VERSION %q: want a major version like 15", content)
	}
	return v, nil
}

// parseDotted reads "15", "15.18", "9.6.3", and ignores what follows the
// digits of the last part ("18beta1", "19devel").
func parseDotted(s string) (Version, bool) {
	var parts []int
	for rest := s; len(parts) < 3; {
		n := 0
		for n < len(rest) && rest[n] >= '0' && rest[n] <= '9' {
			n++
		}
		if n == 0 || n > 4 {
			break
		}
		part, err := strconv.Atoi(rest[:n])
		if err != nil {
			return 0, false
		}
		parts = append(parts, part)
		if n >= len(rest) || rest[n] != '.' {
			break
		}
		rest = rest[n+1:]
	}
	if len(parts) == 0 || parts[0] == 0 || parts[0] > 999 {
		return 0, false
	}
	parts = append(parts, 0, 0)
	if parts[0] < 10 {
		return Version(parts[0]*10000 + parts[1]%100*100 + parts[2]%100), true
	}
	return Version(parts[0]*10000 + parts[1]), true
}
