package rest

import (
	"context"
	"net/http"
	"sync"

	"pgha/internal/config"
	"pgha/internal/dcs"
)

// writtenConfig remembers the document this server wrote last until the
// published view shows a newer revision: a client that reads right after its
// own PATCH must not get, and send back, the old document (section 18, 8).
type writtenConfig struct {
	mu  sync.Mutex
	doc *config.Document
	// after is the key's revision before the write.
	after dcs.Revision
}

func (w *writtenConfig) remember(doc config.Document, before *dcs.Config) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.doc, w.after = &doc, revisionOf(before)
}

// newerThan returns the remembered document when it is newer than the key as
// read, else nil.
func (w *writtenConfig) newerThan(read *dcs.Config) *config.Document {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.doc != nil && revisionOf(read) > w.after {
		w.doc = nil
	}
	return w.doc
}

func revisionOf(c *dcs.Config) dcs.Revision {
	if c == nil {
		return 0
	}
	return c.Revision
}

// patchConfig merges into the stored document (contract: rest-api.md section 7).
func (s *Server) patchConfig(c *call) answer {
	patch, refusal := mandatoryBody(c.w, c.r)
	if refusal != nil {
		return *refusal
	}
	cluster, refusal := s.clusterNow(c.r.Context())
	if refusal != nil {
		return *refusal
	}
	if cluster.Config == nil || !cluster.Config.Valid {
		return bareError(http.StatusServiceUnavailable)
	}
	doc, err := config.ParseDocument(cluster.Config.Raw)
	if err != nil {
		return bareError(http.StatusServiceUnavailable)
	}
	if doc.MergePatch(patch) {
		guard := dcs.Guard{Revision: cluster.Config.Revision}
		if err := s.writeConfig(c.r.Context(), doc, cluster.Config, guard); err != nil {
			s.log.Warn("PATCH /config: not written", "err", err)
			return bareError(http.StatusConflict)
		}
	}
	s.wake(c.r.Context())
	return documentAnswer(doc)
}

// putConfig replaces the stored document.
func (s *Server) putConfig(c *call) answer {
	doc, refusal := mandatoryBody(c.w, c.r)
	if refusal != nil {
		return *refusal
	}
	cluster, refusal := s.clusterNow(c.r.Context())
	if refusal != nil {
		return *refusal
	}
	if cluster.Config != nil && cluster.Config.Valid {
		if stored, err := config.ParseDocument(cluster.Config.Raw); err == nil && stored.Equal(doc) {
			return documentAnswer(doc)
		}
	}
	if err := s.writeConfig(c.r.Context(), doc, cluster.Config, dcs.Guard{}); err != nil {
		s.log.Warn("PUT /config: not written", "err", err)
		return bareError(http.StatusBadGateway)
	}
	return documentAnswer(doc)
}

func (s *Server) writeConfig(ctx context.Context, doc config.Document, before *dcs.Config, guard dcs.Guard) error {
	ctx, cancel := context.WithTimeout(ctx, s.dcsBudget())
	defer cancel()
	if err := s.backend.Do(ctx, ConfigRequest{Document: doc.Compact(), Guard: guard}).Err; err != nil {
		return err
	}
	s.written.remember(doc, before)
	return nil
}

func (s *Server) wake(ctx context.Context) { s.backend.Do(ctx, WakeRequest{}) }
