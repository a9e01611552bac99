package rest

import (
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"pgha/internal/api"
)

// answer is a complete response as a value: handlers return it, one place
// writes it.
type answer struct {
	code        int
	contentType string // empty: no body
	body        []byte
	header      http.Header
	// bare is a protocol-level error, which configured extra headers are not
	// added to.
	bare bool
}

// jsonAnswer carries a document.
func jsonAnswer(code int, document any) answer {
	return answer{code: code, contentType: "application/json", body: api.Marshal(document)}
}

// textAnswer carries the sentence that patronictl prints. The type is the
// reference's.
func textAnswer(code int, format string, args ...any) answer {
	text := format
	if len(args) > 0 {
		text = fmt.Sprintf(format, args...)
	}
	return answer{code: code, contentType: "text/html", body: []byte(text)}
}

// statusAnswer has no body at all.
func statusAnswer(code int) answer { return answer{code: code} }

// resultAnswer passes the agent's answer on.
func resultAnswer(r Result) answer {
	a := textAnswer(r.Code, "%s", r.Text)
	a.header = r.Header
	return a
}

// explanations of the bare errors, as clients see them in the page.
var explanations = map[int]string{
	http.StatusBadRequest:            "Bad request syntax or unsupported method",
	http.StatusConflict:              "Request conflict",
	http.StatusLengthRequired:        "Client must specify Content-Length",
	http.StatusRequestEntityTooLarge: "Entity is too large",
	http.StatusNotImplemented:        "Server does not support this operation",
	http.StatusBadGateway:            "Invalid responses from another server/proxy",
	http.StatusServiceUnavailable:    "The server cannot process the request due to a high load",
}

// bareError is an error without a text of its own: a small HTML page, which
// patronictl prints as it is and searches (contract: rest-api.md section 1).
func bareError(code int) answer { return errorPage(code, http.StatusText(code)) }

// notSupported is the answer to a method that has no handler.
func notSupported(method string) answer {
	return errorPage(http.StatusNotImplemented, "Unsupported method ('"+method+"')")
}

func errorPage(code int, message string) answer {
	escape := strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;")
	page := fmt.Sprintf(`<!DOCTYPE HTML>
<html lang="en">
    <head>
        <meta charset="utf-8">
        <title>Error response</title>
    </head>
    <body>
        <h1>Error response</h1>
        <p>Error code: %d</p>
        <p>Message: %s.</p>
        <p>Error code explanation: %d - %s.</p>
    </body>
</html>
`, code, escape.Replace(message), code, explanations[code])
	return answer{code: code, contentType: "text/html;charset=utf-8", body: []byte(page), bare: true}
}

// writeTimeout bounds how long a client may take to read an answer.
const writeTimeout = 10 * time.Second

// write sends the answer. HEAD and OPTIONS, and answers without a body, say
// so with a length of zero (rulings 28).
func (s *Server) write(w http.ResponseWriter, r *http.Request, a answer) {
	conf := s.settings.Load()
	h := w.Header()
	h.Set("Server", conf.serverHeader)
	for key, values := range a.header {
		h[http.CanonicalHeaderKey(key)] = values
	}
	body := a.body
	if a.contentType != "" && r.Method != http.MethodHead && r.Method != http.MethodOptions {
		h.Set("Content-Type", a.contentType)
	} else {
		h["Content-Type"] = nil // the library would guess one
		body = nil
	}
	if !a.bare {
		for key, value := range conf.extraHeaders(r.TLS != nil) {
			h.Set(key, value)
		}
	}
	h.Set("Content-Length", strconv.Itoa(len(body)))
	if !r.ProtoAtLeast(1, 1) || a.bare || unread(r) {
		h.Set("Connection", "close")
	}
	// Errors below mean that the client is gone; nobody is left to tell.
	_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(writeTimeout))
	w.WriteHeader(a.code)
	_, _ = w.Write(body)
}

// watchedBody knows whether a request's body was read to its end.
type watchedBody struct {
	io.ReadCloser
	ended bool
}

// Read implements io.Reader.
func (b *watchedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	b.ended = b.ended || err == io.EOF
	return n, err
}

// unread says whether a body is left: then the connection must not be used
// again. The library reads it for itself after the answer, in full duplex mode
// beside its own reading of the next request, and resets the connection.
func unread(r *http.Request) bool {
	b, watched := r.Body.(*watchedBody)
	return watched && r.ContentLength != 0 && !b.ended
}
