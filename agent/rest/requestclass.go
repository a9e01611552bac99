package rest

import "net/http"

// checkClasses are the health checks in the order in which check.code looks
// for their words. A request is counted under the first that fits.
var checkClasses = []struct {
	class string
	words []string
}{
	{"standby_leader", []string{"standby_leader", "standby-leader"}},
	{"leader", []string{"leader"}},
	{"primary", []string{"master", "primary", "read-write"}},
	{"replica", []string{"replica"}},
	{"read_only", []string{"read-only"}},
	{"health", []string{"health"}},
	{"async", []string{"async"}},
	{"sync", []string{"sync"}},
	{"quorum", []string{"quorum"}},
}

// pathClass names a request for counting: the first segment of a route, the
// health check that it asks for, or "unknown". Anybody can send any path, so
// the set is fixed. check: it is a health check.
func pathClass(method, path string) (class string, check bool) {
	if isRead(method) {
		method = http.MethodGet
	}
	segment := firstSegment(path)
	if _, routed := routes[method][segment]; routed {
		return segment, segment == "liveness" || segment == "readiness"
	}
	if method != http.MethodGet {
		return "unknown", false
	}
	if path == "/" {
		return "primary", true
	}
	for _, c := range checkClasses {
		if contains(path, c.words...) {
			return c.class, true
		}
	}
	return "unknown", true
}

// codeWriter remembers the status code of an answer written by a handler.
type codeWriter struct {
	http.ResponseWriter
	code int
}

// WriteHeader implements http.ResponseWriter.
func (w *codeWriter) WriteHeader(code int) {
	w.code = code
	w.ResponseWriter.WriteHeader(code)
}

// Unwrap lets http.ResponseController find what is below.
func (w *codeWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }
