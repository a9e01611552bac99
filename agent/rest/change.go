package rest

import "net/http"

// Change is a request that wants to change something, and its answer: what the
// decision journal keeps of operators.
type Change struct {
	Method, Path string
	// Client is the address it came from.
	Client string
	// Asked says what for, where the path does not; may be empty.
	Asked string
	Code  int
	// Answer is the text that the client got.
	Answer string
}

// tellChange reports an answered request for a change. Refused strangers are
// not reported: a scanner must not fill the journal. POST /failsafe is not an
// operator's.
func (s *Server) tellChange(c *call, a answer) {
	if s.changes == nil || a.code == http.StatusUnauthorized || a.code == http.StatusForbidden {
		return
	}
	segment := firstSegment(c.path)
	if to, found := routes[c.r.Method][segment]; !found || !to.protected || segment == "failsafe" {
		return
	}
	change := Change{Method: c.r.Method, Path: "/" + segment, Client: c.r.RemoteAddr, Asked: c.asked, Code: a.code}
	if addr, known := clientAddr(c.r.RemoteAddr); known {
		change.Client = addr.String()
	}
	if a.contentType != "application/json" {
		change.Answer = string(a.body)
	}
	s.changes(change)
}

// text is a wish in words.
func (w wish) text() string {
	to := w.candidate
	if to == "" {
		to = "any member"
	}
	if w.leader == "" {
		return string(w.action) + " to " + to
	}
	return string(w.action) + " from " + w.leader + " to " + to
}
