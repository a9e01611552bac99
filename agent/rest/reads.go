package rest

import (
	"context"
	"net/http"

	"pgha/internal/config"
	"pgha/internal/dcs"
)

// clusterNow reads the DCS. The refusal replaces the reference's closed
// connection (section 18, 5).
func (s *Server) clusterNow(ctx context.Context) (*dcs.Cluster, *answer) {
	ctx, cancel := context.WithTimeout(ctx, s.dcsBudget())
	defer cancel()
	cluster, err := s.backend.Cluster(ctx)
	if err != nil {
		s.log.Warn("the DCS could not be read for a REST request", "err", err)
		return nil, refuseText(http.StatusServiceUnavailable, "DCS is not accessible")
	}
	return cluster, nil
}

func (s *Server) getCluster(c *call) answer {
	cluster, refusal := s.clusterNow(c.r.Context())
	if refusal != nil {
		return *refusal
	}
	status := s.backend.Snapshot()
	return jsonAnswer(http.StatusOK, clusterDocument(cluster, &status.Config, status.Scope))
}

func (s *Server) getHistory(c *call) answer {
	cluster, refusal := s.clusterView(c.r.Context())
	if refusal != nil {
		return *refusal
	}
	return jsonAnswer(http.StatusOK, historyDocument(cluster.History))
}

// clusterView is the published view, or a fresh one when there is none.
func (s *Server) clusterView(ctx context.Context) (*dcs.Cluster, *answer) {
	if cluster := s.backend.Snapshot().Cluster; cluster != nil {
		return cluster, nil
	}
	return s.clusterNow(ctx)
}

func (s *Server) getConfig(c *call) answer {
	cluster, refusal := s.clusterView(c.r.Context())
	if refusal != nil {
		return *refusal
	}
	if doc := s.written.newerThan(cluster.Config); doc != nil {
		return documentAnswer(*doc)
	}
	if cluster.Config == nil || !cluster.Config.Valid {
		return bareError(http.StatusBadGateway)
	}
	doc, err := config.ParseDocument(cluster.Config.Raw)
	if err != nil {
		return bareError(http.StatusBadGateway)
	}
	return documentAnswer(doc)
}

// documentAnswer shows a configuration with its keys in the order stored.
func documentAnswer(doc config.Document) answer {
	return answer{code: http.StatusOK, contentType: "application/json", body: doc.Python()}
}

func (s *Server) getFailsafe(*call) answer {
	members := s.backend.Snapshot().Failsafe
	if len(members) == 0 {
		return bareError(http.StatusBadGateway)
	}
	return jsonAnswer(http.StatusOK, members)
}
