package postgres

import (
	"fmt"
	"strings"
)

// maxSlotName is PostgreSQL's NAMEDATALEN - 1.
const maxSlotName = 63

// SlotName is the replication slot of a member: its name in lower case, "-" and
// "." as "_", any other character a slot may not have as "u" and its code point
// in at least four decimal digits, cut to 63 (contract: ha-behaviour.md 17.1).
// Two members may get the same result; then they share one slot.
func SlotName(member string) string {
	var b strings.Builder
	// Unicode's full mapping, as Python's: one letter becomes two.
	member = strings.ReplaceAll(member, "İ", "i\u0307")
	for _, r := range strings.ToLower(member) {
		switch {
		case slotRune(r):
			b.WriteRune(r)
		case r == '-' || r == '.':
			b.WriteByte('_')
		default:
			fmt.Fprintf(&b, "u%04d", r)
		}
	}
	name := b.String()
	return name[:min(len(name), maxSlotName)]
}

// ValidSlotName says whether PostgreSQL accepts the name: 1 to 63 lower-case
// letters, digits and underscores.
func ValidSlotName(name string) bool {
	return name != "" && len(name) <= maxSlotName &&
		strings.IndexFunc(name, func(r rune) bool { return !slotRune(r) }) < 0
}

func slotRune(r rune) bool {
	return r >= 'a' && r <= 'z' || r >= '0' && r <= '9' || r == '_'
}
