package rest

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"runtime/debug"
	"strings"
	"time"

	"pgha/internal/postgres"
)

// call is one request on its way through a handler.
type call struct {
	w     http.ResponseWriter
	r     *http.Request
	path  string            // as sent, without query, not decoded
	query map[string]string // first value of each key, empty values dropped
	asked string            // what a change is wanted for, once that is known
}

// handler answers a request by a value.
type handler func(*Server, *call) answer

// route is a handler and whether it is open to everybody.
type route struct {
	handle handler
	// protected requests pass access control before their body is read.
	protected bool
}

// routes by method and first path segment (contract: rest-api.md section 2).
// What is not here is a health check for GET, HEAD and OPTIONS, and 501 for
// other methods. HEAD and OPTIONS find the handlers of GET.
var routes = map[string]map[string]route{
	http.MethodGet: {
		"liveness":  {handle: (*Server).getLiveness},
		"readiness": {handle: (*Server).getReadiness},
		"patroni":   {handle: (*Server).getPatroni},
		"cluster":   {handle: (*Server).getCluster},
		"history":   {handle: (*Server).getHistory},
		"config":    {handle: (*Server).getConfig},
		"metrics":   {handle: (*Server).getMetrics},
		"failsafe":  {handle: (*Server).getFailsafe},
	},
	http.MethodPatch: {"config": {handle: (*Server).patchConfig, protected: true}},
	http.MethodPut:   {"config": {handle: (*Server).putConfig, protected: true}},
	http.MethodPost: {
		"reload":       {handle: (*Server).postReload, protected: true},
		"failsafe":     {handle: (*Server).postFailsafe, protected: true},
		"sigterm":      {handle: (*Server).postSigterm, protected: true},
		"restart":      {handle: (*Server).postRestart, protected: true},
		"reinitialize": {handle: (*Server).postReinitialize, protected: true},
		"failover":     {handle: (*Server).postFailover, protected: true},
		"switchover":   {handle: (*Server).postSwitchover, protected: true},
		"citus":        {handle: (*Server).postMPP, protected: true},
		"mpp":          {handle: (*Server).postMPP, protected: true},
	},
	http.MethodDelete: {
		"restart":    {handle: (*Server).deleteRestart, protected: true},
		"switchover": {handle: (*Server).deleteSwitchover, protected: true},
	},
}

// Route is a path of pgha's own, /pgha/v1/... (rulings 45), served by the
// agent.
type Route struct {
	Method string
	// Path is compared whole, query aside.
	Path string
	// Protected routes pass the access control of state changes.
	Protected bool
	// Handle answers within ownTimeout; the body is bounded already. A handler
	// that takes longer than the server's 15 s for reading must lift the read
	// deadline itself, or its context ends.
	Handle http.HandlerFunc
}

// ownTimeout is the most an own path may take, its answer included.
const ownTimeout = 5 * time.Minute

// ServeHTTP is the whole way of a request: route, access, handler, answer.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	begin := time.Now()
	// Or the library would wait for a body nobody reads before it sends a
	// refusal. Without support for it that is what happens.
	_ = http.NewResponseController(w).EnableFullDuplex()
	r.Body = &watchedBody{ReadCloser: r.Body}
	c := newCall(w, r)
	if own := s.ownRoute(c); own != nil {
		if own.Protected {
			if refusal := s.access(r, c.path); refusal != nil {
				s.write(w, r, *refusal)
				s.recorder.request("pgha", false, refusal.code, time.Since(begin))
				return
			}
		}
		r.Body = http.MaxBytesReader(w, r.Body, maxBody)
		w.Header().Set("Server", s.settings.Load().serverHeader)
		_ = http.NewResponseController(w).SetWriteDeadline(begin.Add(ownTimeout))
		counted := &codeWriter{ResponseWriter: w, code: http.StatusOK}
		own.Handle(counted, r)
		s.recorder.request("pgha", false, counted.code, time.Since(begin))
		return
	}
	a := s.answerSafely(c)
	s.tellChange(c, a)
	s.write(w, r, a)
	class, check := pathClass(r.Method, c.path)
	s.recorder.request(class, check, a.code, time.Since(begin))
	client, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		client = r.RemoteAddr
	}
	s.log.Debug(fmt.Sprintf("API thread: %s - - %q %d - latency: %.3f ms",
		client, r.Method+" "+r.RequestURI+" "+r.Proto, a.code, float64(time.Since(begin).Microseconds())/1000))
}

// answerSafely turns a broken invariant in one handler into one bad answer:
// the agent must not lose its other parts to it, and load balancers take a
// closed connection for a dead machine.
func (s *Server) answerSafely(c *call) (a answer) {
	defer func() {
		if broken := recover(); broken != nil {
			s.log.Error("REST handler", "err", broken, "method", c.r.Method, "path", c.path, "stack", string(debug.Stack()))
			a = textAnswer(http.StatusInternalServerError, "internal error, see the log of the member")
		}
	}()
	return s.answer(c)
}

func (s *Server) answer(c *call) answer {
	method, reads := c.r.Method, isRead(c.r.Method)
	if reads {
		method = http.MethodGet
	}
	to, found := routes[method][firstSegment(c.path)]
	switch {
	case !found && reads:
		return s.healthCheck(c)
	case !found:
		return notSupported(c.r.Method)
	case to.protected:
		if refusal := s.access(c.r, c.path); refusal != nil {
			return *refusal
		}
	}
	return to.handle(s, c)
}

func isRead(method string) bool {
	return method == http.MethodGet || method == http.MethodHead || method == http.MethodOptions
}

func (s *Server) ownRoute(c *call) *Route {
	for i := range s.own {
		if s.own[i].Path == c.path && s.own[i].Method == c.r.Method {
			return &s.own[i]
		}
	}
	return nil
}

func newCall(w http.ResponseWriter, r *http.Request) *call {
	path, query, _ := strings.Cut(requestTarget(r), "?")
	if slash := strings.LastIndexByte(path, '/'); slash >= 0 {
		last, _, _ := strings.Cut(path[slash:], ";")
		path = path[:slash] + last
	}
	return &call{w: w, r: r, path: "/" + strings.TrimLeft(path, "/"), query: firstValues(query)}
}

// requestTarget is the target as sent: paths are compared without decoding
// them. An absolute URL loses scheme and host.
func requestTarget(r *http.Request) string {
	target := r.RequestURI
	if _, rest, absolute := strings.Cut(target, "://"); absolute && !strings.HasPrefix(target, "/") {
		if slash := strings.IndexByte(rest, '/'); slash >= 0 {
			return rest[slash:]
		}
		return "/"
	}
	return target
}

// firstValues reads a query: the first value of each key, none for empty
// values, pairs that cannot be decoded left out.
func firstValues(query string) map[string]string {
	values := map[string]string{}
	for pair := range strings.SplitSeq(query, "&") {
		key, value, _ := strings.Cut(pair, "=")
		key, errKey := url.QueryUnescape(key)
		value, errValue := url.QueryUnescape(value)
		if errKey != nil || errValue != nil || value == "" {
			continue
		}
		if _, there := values[key]; !there {
			values[key] = value
		}
	}
	return values
}

func firstSegment(path string) string {
	segment, _, _ := strings.Cut(strings.TrimPrefix(path, "/"), "/")
	return segment
}

// check prepares a health check over a status.
func (s *Server) check(status *Status, c *call) check {
	return check{status: status, now: s.clock.Now(), query: c.query, warn: func(text string) {
		s.log.Warn("health check: "+text, "client", c.r.RemoteAddr, "path", c.path)
	}}
}

// healthCheck answers every path that nothing else does: never 404.
func (s *Server) healthCheck(c *call) answer {
	var status *Status
	if lockCheck(c.path) {
		status = s.backend.Snapshot()
	} else {
		status = s.fresh(c.r.Context(), checkAge)
	}
	return jsonAnswer(s.check(status, c).code(c.path), statusDocument(status, s.clock.Now()))
}

func (s *Server) getLiveness(c *call) answer {
	return statusAnswer(s.check(s.backend.Snapshot(), c).live())
}

func (s *Server) getReadiness(c *call) answer {
	status := s.backend.Snapshot()
	if !status.holdsLease(s.clock.Now()) { // the holder is ready whatever PostgreSQL says
		status = s.fresh(c.r.Context(), checkAge)
	}
	code, reason := s.check(status, c).ready()
	if reason != "" {
		s.log.Debug("not ready", "reason", reason)
	}
	return statusAnswer(code)
}

func (s *Server) getPatroni(c *call) answer {
	status := s.fresh(c.r.Context(), statusAge)
	return jsonAnswer(http.StatusOK, statusDocument(status, s.clock.Now()))
}

// fresh returns a status at most maxAge old, or after refreshBudget what there is.
func (s *Server) fresh(ctx context.Context, maxAge time.Duration) *Status {
	if latest := s.backend.Snapshot(); s.clock.Now().Sub(latest.At) <= maxAge {
		return latest
	}
	ctx, cancel := context.WithTimeout(ctx, refreshBudget)
	defer cancel()
	status := s.backend.Refresh(ctx, maxAge)
	if status.Server == nil || s.clock.Now().Sub(status.At) <= maxAge+refreshBudget {
		return status
	}
	// PostgreSQL does not answer and the agent has not noticed yet. What it
	// said before says nothing of now: a frozen replica is not a good one.
	silent := *status
	silent.Server = nil
	if silent.State == postgres.StateRunning {
		silent.State = postgres.StateUnknown
	}
	return &silent
}
