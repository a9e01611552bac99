package ha

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"pgha/internal/postgres"
)

// Notation and outcomes of failsafe mode, for the scenarios.

func (s *story) setFailsafe(topic string, args []string) error {
	switch topic {
	case "agree":
		return each(args, func(name, v string) error {
			how, at, _ := strings.Cut(v, "@")
			a := FailsafeAnswer{Name: name}
			switch how {
			case "yes":
				a.Accepted = true
			case "no":
				a.Refused, a.Fault = true, "status 500: Running as a leader"
			case "silent":
				a.Fault = "no answer"
			default:
				return unknown(v)
			}
			s.agree[name] = a
			if at == "" {
				return nil
			}
			err := lsn(at, &a.Location)
			s.agree[name] = a
			return err
		})
	case "born":
		return each(args, func(k, _ string) error {
			ago, err := time.ParseDuration(k)
			s.in.Failsafe.Born = s.in.Now.Add(ago)
			return err
		})
	}
	s.in.Failsafe.Sender = nil
	if args[0] == "-" {
		return nil
	}
	p := &FailsafeSender{Name: args[0], ConnURL: "postgres://" + args[0] + ":5432/postgres", APIURL: "http://" + args[0] + ":8008/patroni",
		Heard: s.in.Now, Until: s.in.Now.Add(s.in.Settings.TTL)}
	s.in.Failsafe.Sender = p
	return each(args[1:], func(k, v string) error {
		switch k {
		case "heard", "until":
			d, err := time.ParseDuration(v)
			if k == "heard" {
				p.Heard = s.in.Now.Add(d)
				p.Until = p.Heard.Add(s.in.Settings.TTL)
			} else {
				p.Until = s.in.Now.Add(d)
			}
			return err
		case "slots":
			name, at, _ := strings.Cut(v, ":")
			var l postgres.LSN
			err := lsn(at, &l)
			p.Slots = map[string]postgres.LSN{name: l}
			return err
		case "mixed":
			p.Mixed = true
		default:
			return unknown(k)
		}
		return nil
	})
}

func (s *story) executeFailsafe(action Action) string {
	switch a := action.(type) {
	case AskFailsafe:
		round := &FailsafeRound{Sent: s.in.Now}
		var out []string
		for _, m := range a.Members {
			answer, ok := s.agree[m.Name]
			if !ok {
				answer = FailsafeAnswer{Name: m.Name, Fault: "no answer"}
			}
			round.Answers = append(round.Answers, answer)
			out = append(out, m.Name+" "+map[bool]string{true: "accepts", false: "does not"}[answer.Accepted])
		}
		s.in.Tried.Failsafe = round
		return strings.Join(out, ", ")
	case ExtendLeadership:
		s.in.Tried.Extended = true
		s.in.LeaderUntil = max(s.in.LeaderUntil, a.Sent.Add(s.in.Settings.TTL))
		return fmt.Sprintf("%.0f s left", s.in.LeaderUntil.Sub(s.in.Now).Seconds())
	}
	return "?"
}

func failsafeText(members map[string]string) string {
	if members == nil {
		return ""
	}
	return " failsafe=" + strings.Join(slices.Sorted(maps.Keys(members)), ",")
}
