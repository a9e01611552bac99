package ha

import "pgha/internal/postgres"

// onRequest decides on an operator's restart or reinitialise (15). The job
// answers the request when it ends; what cannot be done is answered at once.
func onRequest(in Input) Decision {
	r := in.Request
	refuse := func(text string) Decision {
		return act(in, Answer{Code: 503, Text: text}, Reason{Code: StoppingRequest, Detail: text})
	}
	if in.Job != nil && in.Job.Kind != JobStop && r.Kind == RequestReinit && r.Force {
		if in.Job.Canceled {
			return rest(in, Reason{Code: JobInProgress, Name: in.Job.Name})
		}
		return act(in, CancelJob{}, Reason{Code: JobInProgress, Name: in.Job.Name})
	}
	if in.Job != nil {
		return refuse(in.Job.Name + " already in progress")
	}
	if r.Kind == RequestReinit {
		return reinit(in, refuse)
	}
	if in.Memory.Rewind == RewindFailed && !in.Local.Alive {
		return refuse("pg_rewind did not finish on this data directory; reinitialize it instead")
	}
	role := in.Local.Role
	switch {
	case r.Role != "" && r.Role != role,
		r.BelowVersion != 0 && r.ServerVersion >= r.BelowVersion,
		r.PendingOnly && !r.PendingRestart:
		return refuse("restart conditions are not satisfied")
	}
	spec := JobSpec{Kind: JobRestart, Name: string(JobRestart), Timeout: r.Timeout, Role: postgres.RoleReplica, RequestID: r.ID}
	if in.Local.Primary() || !in.Local.Alive && role == postgres.RolePrimary {
		spec.Role = postgres.RolePrimary
	} else {
		spec.Source = followTarget(in)
	}
	return startJob(in, spec, Reason{Code: Restarting})
}

func reinit(in Input, refuse func(string) Decision) Decision {
	switch {
	case in.Cluster.Leader == nil:
		return refuse("Cluster has no leader, can not reinitialize")
	case in.holder():
		return refuse("I am the leader, can not reinitialize")
	}
	source := in.Cluster.LeaderMember()
	if source == nil || source.ConnURL == "" {
		return refuse("the leader has not published an address to copy from")
	}
	return startJob(in, JobSpec{Kind: JobReinit, Name: string(JobReinit), Source: source, RequestID: in.Request.ID},
		Reason{Code: Cloning, Name: "reinitialize from leader '" + source.Name + "'"})
}
