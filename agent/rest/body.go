package rest

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"time"

	"pgha/internal/config"
)

// maxBody bounds a request's body. The largest real one is a configuration.
const maxBody = 1 << 20

// mandatoryBody reads a body that must be a JSON object with something in it.
// The second result is the refusal when it is not.
func mandatoryBody(w http.ResponseWriter, r *http.Request) (config.Document, *answer) {
	_, given := r.Header["Content-Length"]
	if !given {
		return config.Document{}, refuse(http.StatusLengthRequired) // chunked is not understood either
	}
	doc, refusal := readBody(w, r)
	if refusal == nil && doc.IsEmpty() {
		refusal = refuse(http.StatusBadRequest)
	}
	return doc, refusal
}

// optionalBody is mandatoryBody where no body is the same as {}.
func optionalBody(w http.ResponseWriter, r *http.Request) (config.Document, *answer) {
	if len(r.TransferEncoding) > 0 {
		return config.Document{}, refuse(http.StatusLengthRequired)
	}
	if r.ContentLength <= 0 {
		endOfReading(w)
		return config.Document{}, nil
	}
	return readBody(w, r)
}

func readBody(w http.ResponseWriter, r *http.Request) (config.Document, *answer) {
	text, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if tooLarge := new(http.MaxBytesError); errors.As(err, &tooLarge) {
		return config.Document{}, refuse(http.StatusRequestEntityTooLarge)
	}
	if err != nil {
		return config.Document{}, refuse(http.StatusBadRequest)
	}
	endOfReading(w)
	doc, err := config.ParseDocument(text)
	if err != nil {
		return config.Document{}, refuse(http.StatusBadRequest)
	}
	return doc, nil
}

// endOfReading lifts the time limit for reading the request: what follows may
// take long, and the library takes a read deadline that passes meanwhile for
// a client that left. A connection that cannot do this has no deadline either.
func endOfReading(w http.ResponseWriter) {
	_ = http.NewResponseController(w).SetReadDeadline(time.Time{})
}

func refuse(code int) *answer {
	a := bareError(code)
	return &a
}

func refuseText(code int, format string, args ...any) *answer {
	a := textAnswer(code, format, args...)
	return &a
}

// textOf reads a body's value as a text; other types and null are none.
func textOf(v any) string {
	s, _ := v.(string)
	return s
}

// isInteger says whether a JSON value is a whole number.
func isInteger(v any) (int64, bool) {
	switch v := v.(type) {
	case int64:
		return v, true
	case json.Number:
		n, err := v.Int64()
		return n, err == nil
	}
	return 0, false
}
