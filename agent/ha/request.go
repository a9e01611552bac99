package ha

import "pgha/internal/postgres"

// onRequest decides on an operator's restart or reinitialise (15). The job
// answers the request when it ends; what cannot be done is answered at once.
func onRequest(in Input) Decision {
	r := in.Request
	if r.Kind == RequestReinit {
		return reinit(in)
	}
	if in.Job != nil {
		return refuse(in, in.Job.Name+" already in progress")
	}
	if in.Memory.Rewind == RewindFailed && !in.Local.Alive {
		return refuse(in, "pg_rewind did not finish on this data directory; reinitialize it instead")
	}
	if nothingToRun(in) || in.Local.Data == DataForeign {
		// What a start writes would spoil the directory for the clone or the
		// bootstrap that is due: it is no longer empty, and no data either.
		return refuse(in, "there is no usable data directory to restart PostgreSQL on")
	}
	role := in.Local.Role
	switch {
	case r.Role != "" && r.Role != role,
		r.BelowVersion != 0 && r.ServerVersion >= r.BelowVersion,
		r.PendingOnly && !r.PendingRestart:
		return refuse(in, "restart conditions are not satisfied")
	}
	if in.holder() && !in.Settings.Pause && in.Tried.Renew == NotTried && in.Tried.Acquire != Done {
		return do(in, RenewLeader{}, "before a restart") // the guard asks for it, and it may take long
	}
	spec := JobSpec{Kind: JobRestart, Name: string(JobRestart), Timeout: r.Timeout, Role: postgres.RoleReplica, RequestID: r.ID}
	switch {
	case in.Local.Primary(), !in.Local.Alive && role == postgres.RolePrimary && (in.holder() || in.Settings.Pause):
		spec.Role = postgres.RolePrimary
	default:
		spec.Source, _ = followTarget(in)
		if m := &in.Memory; !in.Local.Alive && !m.Rewind.executed() && m.Rewind != RewindNeed {
			m.Rewind = RewindCheck // nobody compared its history before this start
		}
	}
	return startJob(in, spec, Reason{Code: Restarting})
}

// refuse answers the request with a no; the cycle goes on.
func refuse(in Input, text string) Decision {
	return act(in, Answer{Code: 503, Text: text}, Reason{Code: StoppingRequest, Detail: text})
}

// busy says why no request can be decided on in this cycle; empty: it can.
func busy(in Input) string {
	switch {
	case in.Shutdown != ShutdownNone:
		return "the agent is shutting down"
	case in.Memory.Demotion != nil && in.Job != nil:
		return in.Job.Name + " already in progress"
	case in.Memory.Demotion != nil:
		return "demote already in progress"
	case in.Cluster == nil || in.Tried.Renew == Failed:
		return "DCS is not accessible"
	}
	return ""
}

// reinit clones anew, from where any new replica would be cloned unless the
// leader is asked for (15).
func reinit(in Input) Decision {
	if in.Cluster.Leader == nil {
		return refuse(in, "Cluster has no leader, can not reinitialize")
	}
	source, kind := cloneSource(in)
	if in.Request.FromLeader {
		source, kind = in.Cluster.LeaderMember(), "leader"
	}
	switch {
	case in.holder():
		return refuse(in, "I am the leader, can not reinitialize")
	case source == nil || source.ConnURL == "":
		return refuse(in, "the leader has not published an address to copy from")
	case in.Job != nil && (!in.Request.Force || in.Job.Kind == JobStop):
		return refuse(in, in.Job.Name+" already in progress")
	case in.Job != nil && in.Job.Canceled:
		return rest(in, Reason{Code: JobInProgress, Name: in.Job.Name})
	case in.Job != nil:
		return act(in, CancelJob{}, Reason{Code: JobInProgress, Name: in.Job.Name})
	}
	return startJob(in, JobSpec{Kind: JobReinit, Name: string(JobReinit), Source: source, BaseBackupOnly: in.Request.FromLeader, RequestID: in.Request.ID},
		Reason{Code: Cloning, Name: "reinitialize from " + kind + " '" + source.Name + "'"})
}
