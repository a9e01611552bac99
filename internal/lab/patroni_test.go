package lab

import "testing"

// The Patroni that pgha speaks for is preferred to newer ones; of others the
// newest by number, and what is no version is passed over.
func TestChoosePeer(t *testing.T) {
	for _, c := range []struct {
		found []string
		want  string
	}{
		{nil, ""},
		{[]string{"4.1.5"}, "4.1.5"},
		{[]string{"4.0.7", "4.1.5", "4.2.0"}, "4.1.5"},
		{[]string{"4.1.9", "4.1.10", "4.0.7"}, "4.1.10"},
		{[]string{"4.1.6.new", "4.0.7"}, "4.0.7"},
		{[]string{"4.1.6.new"}, ""},
	} {
		if got := choosePeer(c.found); got != c.want {
			t.Errorf("of %v: %q, want %q", c.found, got, c.want)
		}
	}
}
