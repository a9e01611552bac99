package api

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"pgha/internal/config"
	"pgha/internal/tlsconf"
)

// ErrNoURL: the member publishes no usable api_url.
var ErrNoURL = errors.New("the member has no REST address")

// maxAnswer bounds what is read of an answer.
const maxAnswer = 8 << 20

// ClientOptions is everything a Client needs.
type ClientOptions struct {
	// Username and Password are sent with every request when Username is set.
	Username string
	Password config.Secret
	// TLS is used for https addresses; nil: the system's store, full verification.
	TLS *tls.Config
	// UserAgent of the requests.
	UserAgent string
	// Timeout of one request, connecting included, when its context has no
	// earlier end. Zero: 10 s. Switching over and restarting take longer: give
	// them a context with a deadline and use Long.
	Timeout time.Duration
	// ConnectTimeout bounds the making of a connection, all tries together.
	// Zero: Timeout.
	ConnectTimeout time.Duration
	// ConnectRetries is how often a connection that could not be made is tried
	// again at once. A request that was sent is never repeated.
	ConnectRetries int
	// Retrying, when not nil, hears of every such repetition.
	Retrying func(url string, err error)
}

// Client talks to the REST servers of members. It is safe for concurrent
// use. Close it with CloseIdle.
type Client struct {
	opts ClientOptions
	// reading keeps connections: peers are asked again and again. changing
	// does not: on a kept connection that died meanwhile nobody can tell
	// whether a request arrived, and the library would repeat some of them.
	reading, changing *http.Client
}

// NewClient makes a client from explicit options.
func NewClient(o ClientOptions) *Client {
	if o.Timeout == 0 {
		o.Timeout = 10 * time.Second
	}
	if o.ConnectTimeout == 0 {
		o.ConnectTimeout = o.Timeout
	}
	dialer := &net.Dialer{Timeout: o.ConnectTimeout, KeepAlive: 10 * time.Second}
	kept := &http.Transport{ // no proxy from the environment: members are asked directly
		DialContext:         dialer.DialContext,
		TLSClientConfig:     o.TLS,
		TLSHandshakeTimeout: o.ConnectTimeout,
		MaxIdleConnsPerHost: 2,
		IdleConnTimeout:     30 * time.Second,
		DisableCompression:  true,
	}
	fresh := kept.Clone()
	fresh.DisableKeepAlives = true
	asIs := func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return &Client{
		opts:     o,
		reading:  &http.Client{Transport: kept, CheckRedirect: asIs},
		changing: &http.Client{Transport: fresh, CheckRedirect: asIs},
	}
}

// NewPeerClient is the client with which an agent asks other agents: 2 s a
// request; certificates are believed unless ctl.certfile is set, then their
// chain is verified but not the name (contract: rest-api.md section 14).
// Errors: a certificate file cannot be used.
func NewPeerClient(ctl config.Ctl, rest config.RestAPI, userAgent string) (*Client, error) {
	return newPeerClient(ctl, rest, userAgent, 2*time.Second)
}

// NewFailsafeClient is the peer client for POST /failsafe: only the context
// of a request ends it, however far away the member is. Errors: as NewPeerClient.
func NewFailsafeClient(ctl config.Ctl, rest config.RestAPI, userAgent string) (*Client, error) {
	return newPeerClient(ctl, rest, userAgent, time.Hour)
}

func newPeerClient(ctl config.Ctl, rest config.RestAPI, userAgent string, timeout time.Duration) (*Client, error) {
	files := tlsconf.ClientFiles{Verify: tlsconf.VerifyNone}
	if ctl.CertFile != "" {
		files = clientFiles(ctl, rest)
		files.Verify = tlsconf.VerifyChain
	}
	conf, err := tlsconf.NewClient(files)
	if err != nil {
		return nil, fmt.Errorf("REST client: %w", err)
	}
	user, password := credentials(ctl, rest)
	return NewClient(ClientOptions{Username: user, Password: password, TLS: conf, UserAgent: userAgent, Timeout: timeout}), nil
}

// toolConnect is how long an operator's tool tries to connect (contract:
// ctl.md section 10 item 2).
const toolConnect = 3 * time.Second

// NewToolClient is the client of ctl and the other tools (contract: ctl.md
// section 8): certificates are verified with their names, unless insecure
// (ctl.insecure or -k): then not at all, or with a client certificate of our
// own the chain only. Errors: a certificate file cannot be used.
func NewToolClient(ctl config.Ctl, rest config.RestAPI, insecure bool, userAgent string) (*Client, error) {
	files := clientFiles(ctl, rest)
	if insecure || ctl.Insecure {
		files.Verify = tlsconf.VerifyNone
		if ctl.CertFile != "" {
			files.Verify = tlsconf.VerifyChain
		}
	}
	conf, err := tlsconf.NewClient(files)
	if err != nil {
		return nil, fmt.Errorf("REST client: %w", err)
	}
	user, password := credentials(ctl, rest)
	return NewClient(ClientOptions{Username: user, Password: password, TLS: conf, UserAgent: userAgent,
		ConnectTimeout: toolConnect, ConnectRetries: 3}), nil
}

func clientFiles(ctl config.Ctl, rest config.RestAPI) tlsconf.ClientFiles {
	files := tlsconf.ClientFiles{CA: ctl.CACert, KeyPair: tlsconf.KeyPair{
		CertFile: ctl.CertFile, KeyFile: ctl.KeyFile, Password: ctl.KeyFilePassword.Reveal(),
	}}
	if files.CA == "" {
		files.CA = rest.CAFile
	}
	return files
}

func credentials(ctl config.Ctl, rest config.RestAPI) (string, config.Secret) {
	if ctl.Username != "" {
		return ctl.Username, ctl.Password
	}
	return rest.Username, rest.Password
}

// CloseIdle closes connections kept for later requests.
func (c *Client) CloseIdle() { c.reading.CloseIdleConnections() }

// Answer is what a member answered, whatever the code.
type Answer struct {
	Code   int
	Header http.Header
	Body   []byte
}

// Text is the body as text.
func (a Answer) Text() string { return string(a.Body) }

// Do sends one request to the member whose api_url is given, with the path
// replaced by /endpoint, and reads the whole answer. body nil sends none;
// otherwise it is sent as JSON (a []byte as it is). Any HTTP status is an
// answer, not an error. Errors: ErrNoURL, the transport's; when ctx or the
// client's timeout ended it, the member may have acted all the same.
func (c *Client) Do(ctx context.Context, method, apiURL, endpoint string, body any) (Answer, error) {
	ctx, cancel := context.WithTimeout(ctx, c.opts.Timeout)
	defer cancel()
	return c.do(ctx, method, apiURL, endpoint, body)
}

// Long is Do without the client's timeout, for what blocks until it is done
// (restart, switchover). ctx must have an end.
func (c *Client) Long(ctx context.Context, method, apiURL, endpoint string, body any) (Answer, error) {
	return c.do(ctx, method, apiURL, endpoint, body)
}

func (c *Client) do(ctx context.Context, method, apiURL, endpoint string, body any) (Answer, error) {
	target, err := endpointURL(apiURL, endpoint)
	if err != nil {
		return Answer{}, err
	}
	payload, err := encodeBody(body)
	if err != nil {
		return Answer{}, fmt.Errorf("%s %s: %w", method, target, err)
	}
	began := time.Now()
	for try := 0; ; try++ {
		answer, err := c.send(ctx, method, target, payload)
		if err == nil {
			return answer, nil
		}
		if try >= c.opts.ConnectRetries || !notConnected(err) || ctx.Err() != nil || time.Since(began) >= c.opts.ConnectTimeout {
			return Answer{}, err // the library's text names method and URL
		}
		if c.opts.Retrying != nil {
			c.opts.Retrying(target, err)
		}
	}
}

func (c *Client) send(ctx context.Context, method, target string, payload []byte) (Answer, error) {
	var body io.Reader
	if payload != nil {
		body = bytes.NewReader(payload)
	}
	req, err := http.NewRequestWithContext(ctx, method, target, body)
	if err != nil {
		return Answer{}, fmt.Errorf("%s %s: %w", method, target, err)
	}
	if c.opts.Username != "" {
		req.SetBasicAuth(c.opts.Username, c.opts.Password.Reveal())
	}
	if c.opts.UserAgent != "" {
		req.Header.Set("User-Agent", c.opts.UserAgent)
	}
	if payload != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	via := c.changing
	if method == http.MethodGet {
		via = c.reading
	}
	resp, err := via.Do(req)
	if err != nil {
		return Answer{}, err
	}
	defer resp.Body.Close()
	read, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	if err != nil {
		return Answer{}, fmt.Errorf("%s %s: %w", method, target, err)
	}
	if len(read) > maxAnswer {
		return Answer{}, fmt.Errorf("%s %s: the answer is larger than %d bytes", method, target, maxAnswer)
	}
	return Answer{Code: resp.StatusCode, Header: resp.Header, Body: read}, nil
}

// notConnected says whether nothing of the request can have reached the server.
func notConnected(err error) bool {
	var op *net.OpError
	return errors.As(err, &op) && op.Op == "dial"
}

func encodeBody(body any) ([]byte, error) {
	switch b := body.(type) {
	case nil:
		return nil, nil
	case []byte:
		return b, nil
	}
	return json.Marshal(body)
}

// endpointURL replaces the path of an api_url. An empty endpoint keeps the
// URL as published.
func endpointURL(apiURL, endpoint string) (string, error) {
	u, err := url.Parse(apiURL)
	if err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https") {
		return "", fmt.Errorf("api_url %q: %w", apiURL, ErrNoURL)
	}
	if endpoint == "" {
		return apiURL, nil
	}
	path, query, _ := strings.Cut(endpoint, "?")
	u.Path, u.RawPath, u.RawQuery, u.Fragment = "/"+strings.TrimPrefix(path, "/"), "", query, ""
	return u.String(), nil
}
