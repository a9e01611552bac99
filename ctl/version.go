package ctl

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"

	"pgha/internal/api"
	"pgha/internal/clusterops"
	"pgha/internal/dcs"
)

// VersionOptions are those of version.
type VersionOptions struct {
	// Cluster is empty: only the tool's own version is printed.
	Cluster string
	Members []string
}

// Version prints the version of patronictl this tool stands for, and what
// runs on the members of a cluster.
func Version(ctx context.Context, s *Session, o VersionOptions) error {
	s.say("patronictl version %s", api.PatroniVersion)
	if o.Cluster == "" {
		return nil
	}
	s.say("")
	c, err := s.load(ctx, o.Cluster)
	if err != nil {
		return err
	}
	agents, err := s.Agents()
	if err != nil {
		return oneLine(err)
	}
	for _, m := range c.Members {
		if len(o.Members) > 0 && !slices.Contains(o.Members, m.Name) {
			continue
		}
		text, err := memberVersion(ctx, agents, m)
		if ctx.Err() != nil {
			return ErrAborted
		}
		if err != nil {
			s.sayFailed("%s: failed to get version: %v", m.Name, err)
			continue
		}
		s.say("%s: %s", m.Name, text)
	}
	return nil
}

// status is what the tool reads of GET /patroni.
type status struct {
	State         string `json:"state"`
	ServerVersion int    `json:"server_version"`
	Patroni       struct {
		Version string `json:"version"`
	} `json:"patroni"`
}

func memberStatus(ctx context.Context, agents clusterops.Agents, m dcs.Member) (status, error) {
	var st status
	answer, err := clusterops.AskShort(ctx, agents, m, http.MethodGet, "patroni", nil)
	if err != nil {
		return st, err
	}
	if err := json.Unmarshal(answer.Body, &st); err != nil {
		return st, fmt.Errorf("answer of %s (status code %d): %w", m.APIURL, answer.Code, err)
	}
	return st, nil
}

func memberState(ctx context.Context, agents clusterops.Agents, m dcs.Member) (string, error) {
	st, err := memberStatus(ctx, agents, m)
	return st.State, err
}

func memberVersion(ctx context.Context, agents clusterops.Agents, m dcs.Member) (string, error) {
	st, err := memberStatus(ctx, agents, m)
	if err != nil {
		return "", err
	}
	text := "Patroni " + st.Patroni.Version
	if v := st.ServerVersion; v > 0 {
		text += fmt.Sprintf(" PostgreSQL %d.%d", v/10000, v%10000)
	}
	return text, nil
}
