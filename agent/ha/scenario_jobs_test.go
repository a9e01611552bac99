package ha

// Facts of scenarios about long actions: jobs, what became of them, requests.

import (
	"slices"
	"strconv"
	"time"

	"pgha/internal/postgres"
)

func (s *story) setJob(args []string) error {
	job := Job{JobSpec: JobSpec{Kind: JobKind(args[0]), Name: args[0]}, Started: s.in.Now.Add(-time.Second)}
	if i := slices.IndexFunc(jobWords, func(w jobWord) bool { return w.word == args[0] }); i >= 0 {
		job.Kind, job.Name = jobWords[i].kind, string(jobWords[i].kind)
	}
	if s.running != nil && s.running.Kind == job.Kind {
		job.JobSpec = s.running.JobSpec
	}
	s.in.Job = &job
	return each(args[1:], func(k, v string) error {
		switch k {
		case "phase":
			job.Phase = map[string]Phase{"shutdown": PhaseShutDown, "promoting": PhasePromoting,
				"recovering": PhaseRecovering, "post-bootstrap": PhasePostBootstrap}[v]
		case "checkpoint":
			return lsn(v, &job.CheckpointLSN)
		case "canceled":
			job.Canceled = true
		case "age":
			var age time.Duration
			err := duration(v, &age)
			job.Started = s.in.Now.Add(-age)
			return err
		default:
			return unknown(k)
		}
		return nil
	})
}

type jobWord struct {
	word string
	kind JobKind
}

// jobWords are one-word names for jobs in scenarios.
var jobWords = []jobWord{
	{"bootstrap", JobBootstrap}, {"unbootstrap", JobUnbootstrap}, {"clone", JobClone}, {"reinit", JobReinit},
	{"start-primary", JobStartPrimary}, {"start-standby", JobStartStandby}, {"crash-recovery", JobCrashRecovery},
	{"promote", JobPromote}, {"restart", JobRestart}, {"follow", JobFollow}, {"rewind", JobRewind}, {"stop", JobStop},
}

// setFinished ends the job that the previous cycle started, or one named by kind=.
func (s *story) setFinished(args []string) error {
	r := JobResult{}
	if s.in.Job != nil {
		r.JobSpec = s.in.Job.JobSpec
	}
	s.in.Finished, s.in.Job = &r, nil
	return each(args, func(k, v string) error {
		switch k {
		case "ok":
			r.OK = true
		case "failed":
			r.Err = "it did not work"
		case "pre-promote-failed":
			r.Err, r.PrePromoteFailed = "pre_promote failed: exit status 1", true
		case "unreachable":
			r.Err, r.Unreachable = "the leader is not reachable", true
		case "still-starting":
			r.Err, r.StillStarting = "still starting", true
		case "checkpoint":
			return lsn(v, &r.CheckpointLSN)
		case "kind":
			for _, w := range jobWords {
				if w.word == v {
					r.Kind, r.Name = w.kind, string(w.kind)
				}
			}
		default:
			return unknown(k)
		}
		return nil
	})
}

func (s *story) setRequest(args []string) error {
	r := &Request{ID: 1, Kind: RequestRestart}
	s.in.Request = r
	return each(args, func(k, v string) error {
		switch k {
		case "restart":
		case "reinit":
			r.Kind = RequestReinit
		case "force":
			r.Force = true
		case "from-leader":
			r.FromLeader = true
		case "role":
			r.Role = postgres.Role(v)
		case "pending":
			r.PendingOnly = true
		case "pending-now":
			r.PendingRestart = true
		case "below":
			n, err := strconv.Atoi(v)
			r.BelowVersion, r.ServerVersion = n, 150010
			return err
		case "timeout":
			return duration(v, &r.Timeout)
		default:
			return unknown(k)
		}
		return nil
	})
}
