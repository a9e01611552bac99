package config

import "strings"

// nearest returns the known name that the given one was probably meant to be;
// empty when none is near enough: one slip in three letters.
func nearest(name string, known []string) string {
	best, bestDistance := "", len(name)/3+1
	if len(name) < 3 {
		return ""
	}
	for _, k := range known {
		if max(len(k)-len(name), len(name)-len(k)) > bestDistance {
			continue // no nearer than that; and a foreign key may be a megabyte long
		}
		if d := editDistance(strings.ToLower(name), strings.ToLower(k)); d < bestDistance || (d == bestDistance && best == "" && d == 1) {
			best, bestDistance = k, d
		}
	}
	return best
}

// editDistance counts insertions, deletions, replacements and swaps of
// neighbours.
func editDistance(a, b string) int {
	before, previous := make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range previous {
		previous[j] = j
	}
	for i := 1; i <= len(a); i++ {
		current := make([]int, len(b)+1)
		current[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			current[j] = min(previous[j]+1, current[j-1]+1, previous[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				current[j] = min(current[j], before[j-2]+1)
			}
		}
		before, previous = previous, current
	}
	return previous[len(b)]
}
