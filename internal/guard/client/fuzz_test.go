package client

import "testing"

// What a guard answers, of this version or another, or what is left of its
// state file.
func FuzzState(f *testing.F) {
	for _, s := range []string{
		"guard=4711 protocol=1 epoch=7 now=5 run=running mode=primary pid=4712 start=9 status=ready protection=full armed=1 deadline=9 ttl=20 stage=none alive=3",
		"guard=1 run=%", "guard=x run=y", "run=", "=", "a b", "guard=99999999999999999999 run=stopped", "guard=1 run=%zz", "newer=1 guard=1 run=running",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, line string) {
		s, err := parseState(line)
		if err != nil {
			return
		}
		if s.GuardPID == 0 || s.Run == "" {
			t.Fatalf("%q: accepted as %+v", line, s)
		}
	})
}
