package ha

import (
	"strconv"
	"time"
)

// setHealth tells what this member's probes say: one failing probe with its
// row, or that all is well again.
func (s *story) setHealth(args []string) error {
	h := &s.in.Local.Health
	causes := map[string]string{ProbeConnect: "a new connection gets no answer", ProbeDataWrite: "no space left on device", ProbeWALWrite: "read-only file system"}
	return each(args, func(k, v string) error {
		if why, known := causes[k]; known {
			h.Failing = append(h.Failing[:len(h.Failing):len(h.Failing)], ProbeFailure{Probe: k, Why: why, Failures: 1, Since: s.in.Now})
			return nil
		}
		switch k {
		case "well":
			*h = Health{}
			return nil
		case "crowded":
			h.Crowded = "all 97 ordinary connections are in use"
			return nil
		case "stay":
			h.Stay = true
			return nil
		}
		if len(h.Failing) == 0 {
			return unknown(k)
		}
		f := &h.Failing[len(h.Failing)-1]
		switch k {
		case "failures":
			n, err := strconv.Atoi(v)
			f.Failures = n
			return err
		case "for":
			var d time.Duration
			err := duration(v, &d)
			f.Since = s.in.Now.Add(-d)
			return err
		case "hanging":
			f.Hanging, f.Why = true, "no answer"
			return nil
		}
		return unknown(k)
	})
}
