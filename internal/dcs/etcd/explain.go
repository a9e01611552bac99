package etcd

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"regexp"
	"strings"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"pgha/internal/dcs"
	"pgha/internal/tlsconf"
)

// UnreachedError is a request that no endpoint answered: what each of them
// said, for a person. It wraps dcs.ErrUnavailable and the last cause.
type UnreachedError struct {
	// Endpoints by URL, in the order they were asked last.
	Endpoints []EndpointError
	cause     error
	remedy    string
}

// EndpointError is why one endpoint gave no answer.
type EndpointError struct {
	URL    string
	Reason string
}

// Error names every endpoint with its reason; endpoints with the same reason
// share it.
func (e *UnreachedError) Error() string {
	var parts []string
	for i := 0; i < len(e.Endpoints); i++ {
		urls := e.Endpoints[i].URL
		for i+1 < len(e.Endpoints) && e.Endpoints[i+1].Reason == e.Endpoints[i].Reason {
			i++
			urls += ", " + e.Endpoints[i].URL
		}
		parts = append(parts, urls+": "+e.Endpoints[i].Reason)
	}
	if len(parts) == 0 {
		return e.cause.Error()
	}
	return fmt.Sprintf("%v: %s", dcs.ErrUnavailable, strings.Join(parts, "; "))
}

// Unwrap returns the last cause, which wraps dcs.ErrUnavailable.
func (e *UnreachedError) Unwrap() error { return e.cause }

// Hint is what to look at first; empty when nothing is known.
func (e *UnreachedError) Hint() string { return e.remedy }

// explain adds to an error of ask what each endpoint said. Other errors stay.
func (s *Store) explain(err error) error {
	if !errors.Is(err, dcs.ErrUnavailable) || errors.Is(err, dcs.ErrDenied) || s.closing.Load() {
		return err
	}
	told := &UnreachedError{Endpoints: s.pool.reasons(), cause: err}
	if len(told.Endpoints) == 0 {
		if located := s.locating(); located != nil {
			told.cause = fmt.Errorf("%w: %w", dcs.ErrUnavailable, located)
			told.remedy = "check etcd3.srv and the domain's records, e.g.: dig SRV _etcd-client._tcp.<domain>"
		}
		return told
	}
	for _, e := range told.Endpoints {
		if told.remedy = s.remedy(e); told.remedy != "" {
			break
		}
	}
	return told
}

// Texts by which a cause is known that waiting does not cure.
const (
	textRefused    = "connection refused"
	textNoHost     = "no such host"
	textAuthority  = "certificate signed by unknown authority"
	textNotTLS     = "first record does not look like a TLS handshake"
	textPreface    = "error reading server preface"
	textCertNeeded = "certificate required"
	textBadCert    = "bad certificate"
	textSilent     = "no answer"
	textClosed     = "the connection was closed without an answer"
)

var definiteTexts = []string{
	textRefused, textNoHost, textClosed, "x509: ", "tls: ", textPreface, "no route to host", "network is unreachable", "host is unreachable",
}

// definite says whether a reason is more than silence.
func definite(reason string) bool {
	for _, t := range definiteTexts {
		if strings.Contains(reason, t) {
			return true
		}
	}
	return false
}

// remedy is the first thing to look at for a reason.
func (s *Store) remedy(e EndpointError) string {
	files := s.pool.dialer.tls
	has := func(text string) bool { return strings.Contains(e.Reason, text) }
	switch {
	case has(textAuthority) && files.CA == "":
		return "set etcd3.cacert to the authority that signed etcd's certificate"
	case has(textAuthority):
		return "etcd3.cacert (" + files.CA + ") is not the authority that signed etcd's certificate"
	case has("x509: certificate"), has("x509: cannot validate"):
		return "in etcd3.hosts name the servers as their certificates do"
	case has(textNotTLS):
		return "etcd does not speak TLS there: set etcd3.protocol to http"
	case has(textCertNeeded), has(textBadCert):
		if files.Cert == "" {
			return "etcd asks for a client certificate: set etcd3.cert and etcd3.key"
		}
		return "etcd does not accept the certificate of etcd3.cert (" + files.Cert + ")"
	case has(textPreface), has(textClosed), has("connection reset by peer"):
		if !secure(e.URL) {
			return "if etcd speaks TLS there, set etcd3.protocol to https and etcd3.cacert"
		}
		return "if etcd does not speak TLS there, set etcd3.protocol to http; if it asks for a client certificate, set etcd3.cert and etcd3.key"
	case has(textNoHost):
		return "check the names in etcd3.hosts"
	case has(textRefused):
		return "is etcd running there? check etcd3.hosts (for pgha ctl also -d and DCS_URL)"
	case has(textSilent):
		return "is the network between here and etcd open for that port?"
	}
	return ""
}

// dialing is gRPC's wrapping of a failed connection.
var dialing = regexp.MustCompile(`^(?:last connection error: )?connection error: desc = "(?:transport: )?(?:Error while dialing: |authentication handshake failed: )?(.*?)"?$`)

// reason is an attempt's error as a person reads it.
func reason(err error) string {
	text := err.Error()
	st, fromEtcd := status.FromError(err)
	if fromEtcd {
		text = st.Message()
	}
	silent := errors.Is(err, context.DeadlineExceeded) || fromEtcd && st.Code() == codes.DeadlineExceeded
	if silent {
		_, inner, told := strings.Cut(text, "latest balancer error: ")
		if !told {
			return textSilent
		}
		text = inner
	}
	if m := dialing.FindStringSubmatch(text); m != nil {
		text = m[1]
	}
	text = strings.ReplaceAll(text, `\"`, `"`)
	if text == "EOF" || strings.HasSuffix(text, ": EOF") && !strings.Contains(text, textPreface) {
		text = textClosed
	}
	if silent && !definite(text) {
		return textSilent
	}
	return strings.Join(strings.Fields(text), " ")
}

// toolPatience is how long an operator's tool goes on when every endpoint is
// known to be out of reach: an agent uses all the time it has, because an
// outage may be shorter; a person wants to know.
const toolPatience = 2 * time.Second

// hopeless says whether a tool should stop trying.
func (s *Store) hopeless(since time.Duration) bool {
	if s.member != "" || since < toolPatience {
		return false
	}
	list := s.pool.reasons()
	for _, e := range list {
		if !definite(e.Reason) {
			return false
		}
	}
	return len(list) > 0
}

// DeniedError is etcd's refusal of a login, or of a request for want of a
// permission. It wraps dcs.ErrDenied.
type DeniedError struct {
	URL   string
	cause error
}

// Error names the endpoint.
func (e *DeniedError) Error() string { return e.URL + ": " + e.cause.Error() }

// Unwrap returns the cause, which wraps dcs.ErrDenied.
func (e *DeniedError) Unwrap() error { return e.cause }

// Hint is what to look at.
func (e *DeniedError) Hint() string {
	if strings.Contains(e.cause.Error(), "permission denied") {
		return "the roles of etcd3.username lack a permission on the keys below namespace and scope"
	}
	return "check etcd3.username and etcd3.password (or etcd3.password_file)"
}

// checkFiles says which of the TLS files cannot be used, by its key.
func checkFiles(f tlsconf.Files) error {
	if f.CA != "" {
		pem, err := os.ReadFile(f.CA)
		if err != nil {
			return fmt.Errorf("etcd3.cacert: %w", err)
		}
		if !x509.NewCertPool().AppendCertsFromPEM(pem) {
			return fmt.Errorf("etcd3.cacert: %s holds no certificate", f.CA)
		}
	}
	if f.Cert == "" {
		return nil
	}
	if _, err := tls.LoadX509KeyPair(f.Cert, f.Key); err != nil {
		return fmt.Errorf("etcd3.cert (%s), etcd3.key (%s): %w", f.Cert, f.Key, err)
	}
	return nil
}
