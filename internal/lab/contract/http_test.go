package contract

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"

	"pgha/internal/lab"
)

// tlsFiles is how a client of the members speaks TLS.
type tlsFiles struct {
	ca         string
	cert, key  string
	present    bool // show the client certificate
	serverName string
}

// reply is one answer.
type reply struct {
	status string // "200 OK"
	code   int
	header http.Header
	body   string
}

func (r reply) text() string { return r.status + "\n" + r.body }

// answerLimit bounds one request: a switchover may take its time, nothing
// else does.
const answerLimit = 30 * time.Second

// dial connects to the member's REST server from a machine of the lab.
func (w *world) dial(m *lab.Member, from *lab.Host) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Second)
	defer cancel()
	conn, err := from.Dial(ctx, "tcp", m.Addr+":8008")
	if err != nil {
		return nil, err
	}
	if err := conn.SetDeadline(time.Now().Add(answerLimit)); err != nil {
		return nil, err
	}
	if w.tls == nil || m.Name != "pg02" {
		return conn, nil
	}
	conf, err := w.tls.config()
	if err != nil {
		return nil, err
	}
	return tls.Client(conn, conf), nil
}

func (f *tlsFiles) config() (*tls.Config, error) {
	pem, err := os.ReadFile(f.ca)
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(pem)
	conf := &tls.Config{RootCAs: roots, ServerName: f.serverName}
	if f.present {
		pair, err := tls.LoadX509KeyPair(f.cert, f.key)
		if err != nil {
			return nil, err
		}
		conf.Certificates = []tls.Certificate{pair}
	}
	return conf, nil
}

// send sends one request, target as written: the library would tidy it up.
func (w *world) send(m *lab.Member, from *lab.Host, request string, header []string, body string) (reply, error) {
	conn, err := w.dial(m, from)
	if err != nil {
		return reply{}, err
	}
	defer conn.Close()
	method, _, _ := strings.Cut(request, " ")
	head := request + " HTTP/1.1\r\nHost: " + m.Addr + ":8008\r\n"
	has := func(name string) bool {
		return slices.ContainsFunc(header, func(h string) bool { return strings.HasPrefix(strings.ToLower(h), name) })
	}
	if body != "" && !has("content-length") && !has("transfer-encoding") {
		header = append(header, fmt.Sprintf("Content-Length: %d", len(body)))
	}
	if !has("connection") {
		header = append(header, "Connection: close")
	}
	for _, h := range header {
		head += h + "\r\n"
	}
	// A server that has read enough answers and closes: the answer counts.
	_, broken := conn.Write([]byte(head + "\r\n" + body))
	r, err := http.ReadResponse(bufio.NewReader(conn), &http.Request{Method: method})
	if err != nil {
		return reply{}, errors.Join(broken, err)
	}
	defer r.Body.Close()
	text, err := io.ReadAll(r.Body)
	return reply{status: r.Status, code: r.StatusCode, header: r.Header, body: string(text)}, err
}

// from is the machine a case is asked from: the member itself, which may
// change everything; from=client, a machine outside the cluster; from=pg02.
func (w *world) from(t *testing.T, d *datadriven.TestData, m *lab.Member) *lab.Host {
	t.Helper()
	arg, given := d.Arg("from")
	switch {
	case !given:
		return m.Host
	case arg.SingleVal(t) == "client":
		return w.client
	}
	return w.member(t, arg.SingleVal(t)).Host
}

// usual headers are shown by raw only.
var usual = []string{"Date", "Server", "Connection", "Content-Length"}

// http sends a request (first line, then headers, after an empty line the
// body) and shows status, unusual headers and body. A refused change must
// have changed nothing: what it did change is shown.
func (w *world) http(t *testing.T, d *datadriven.TestData) string {
	t.Helper()
	head, body, _ := strings.Cut(w.unmasked(d.Input), "\n\n")
	lines := strings.Split(head, "\n")
	var filler int
	d.MaybeScanArgs(t, "filler", &filler)
	body += strings.Repeat(" ", filler)
	var b strings.Builder
	for _, m := range w.on(t, d) {
		before := w.facts()
		begin := time.Now()
		a, err := w.send(m, w.from(t, d, m), lines[0], lines[1:], body)
		if err != nil {
			fmt.Fprintf(&b, "no answer: %s\n", w.masked(shortError(err)))
			continue
		}
		if took := time.Since(begin); took > 5*time.Second && !strings.HasPrefix(lines[0], "POST") {
			fmt.Fprintf(&b, "after %v\n", took)
		}
		b.WriteString(w.masked(show(a, d.HasArg("headers"))))
		if a.code >= 400 && !strings.HasPrefix(lines[0], "GET") {
			b.WriteString(w.changed(before))
		}
	}
	return b.String()
}

func show(a reply, all bool) string {
	var b strings.Builder
	b.WriteString(a.status + "\n")
	names := []string{}
	for name := range a.header {
		if all || !slices.Contains(usual, name) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	for _, name := range names {
		fmt.Fprintf(&b, "%s: %s\n", name, strings.Join(a.header[name], ", "))
	}
	if a.body != "" {
		b.WriteString(strings.TrimRight(tidyPage(a.body), "\n") + "\n")
	}
	return b.String()
}

var pageLine = regexp.MustCompile(`<p>(.*?)</p>`)

// tidyPage shows a bare error page by its three lines.
func tidyPage(body string) string {
	if !strings.Contains(body, "<h1>Error response</h1>") {
		return body
	}
	var lines []string
	for _, part := range pageLine.FindAllStringSubmatch(body, -1) {
		lines = append(lines, "<page> "+part[1])
	}
	return strings.Join(lines, "\n")
}

func shortError(err error) string {
	text := err.Error()
	if i := strings.LastIndex(text, ": "); i >= 0 {
		return text[i+2:]
	}
	return text
}

// facts are what a refused request must not touch.
func (w *world) facts() map[string]string {
	all := map[string]string{}
	if w.down {
		return all
	}
	keys, err := w.etcd.List(w.cluster.Key(""))
	if err != nil {
		return all
	}
	for key, value := range keys {
		if !strings.Contains(key, "/members/") && !strings.HasSuffix(key, "/status") && !strings.HasSuffix(key, "/optime/leader") {
			all[key] = value
		}
	}
	for _, m := range w.cluster.Members {
		all["postmaster of "+m.Name] = fmt.Sprint(m.Postmaster())
	}
	return all
}

func (w *world) changed(before map[string]string) string {
	if w.down {
		return ""
	}
	var b strings.Builder
	for name, value := range w.facts() {
		if before[name] != value {
			fmt.Fprintf(&b, "CHANGED %s: %q -> %q\n", name, before[name], value)
		}
	}
	return b.String()
}

// codes asks, all at once, every line ([METHOD] TARGET) of every member and shows the codes
// side by side. GET is asked with HEAD and OPTIONS too; a method whose code
// differs is shown.
func (w *world) codes(t *testing.T, d *datadriven.TestData) string {
	t.Helper()
	members := w.on(t, d)
	heading := []string{""}
	for _, m := range members {
		heading = append(heading, m.Name)
	}
	rows := [][]string{heading}
	lines := strings.Split(d.Input, "\n")
	var asked sync.WaitGroup
	for _, line := range lines {
		r := make([]string, 1+len(members))
		r[0] = line
		rows = append(rows, r)
		asked.Go(func() {
			for i, m := range members {
				r[1+i] = w.code(m, line)
			}
		})
	}
	asked.Wait()
	return table(rows)
}

func (w *world) code(m *lab.Member, line string) string {
	methods := []string{"GET", "HEAD", "OPTIONS"}
	if method, target, given := strings.Cut(line, " "); given {
		methods, line = []string{method}, target
	}
	var first string
	var differing []string
	for _, method := range methods {
		code := "no answer"
		if a, err := w.send(m, m.Host, method+" "+line, nil, ""); err == nil {
			code = fmt.Sprint(a.code)
			if method != "GET" && a.body != "" && a.code != 501 {
				code += "+body"
			}
		}
		if method == methods[0] {
			first = code
		} else if code != first {
			differing = append(differing, method+" "+code)
		}
	}
	return strings.Join(append([]string{first}, differing...), " ")
}

// raw sends the lines as they are and shows all of the answer, until the
// server closes the connection or, with keep, has answered once.
func (w *world) raw(t *testing.T, d *datadriven.TestData) string {
	t.Helper()
	m := w.on(t, d)[0]
	conn, err := w.dial(m, m.Host)
	if err != nil {
		t.Fatalf("%s: %v", d.Pos, err)
	}
	defer conn.Close()
	request := strings.ReplaceAll(d.Input, "\n", "\r\n") + "\r\n\r\n"
	if head, body, hasBody := strings.Cut(d.Input, "\n\n"); hasBody {
		request = strings.ReplaceAll(head, "\n", "\r\n") + "\r\n\r\n" + strings.ReplaceAll(body, `\r\n`, "\r\n")
	}
	if _, err := conn.Write([]byte(request)); err != nil {
		t.Fatalf("%s: %v", d.Pos, err)
	}
	ends := "closed"
	if err := conn.SetReadDeadline(time.Now().Add(3 * time.Second)); err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(conn)
	if err != nil {
		ends = "kept open"
	}
	head, body, _ := strings.Cut(string(text), "\r\n\r\n")
	out := strings.ReplaceAll(head, "\r\n", "\n") + "\n"
	if body != "" {
		out += "\n" + strings.TrimRight(strings.ReplaceAll(tidyPage(body), "\r\n", "\n"), "\n") + "\n"
	}
	return w.masked(contentLength.ReplaceAllString(out, "Content-Length: <n>")) + ends + "\n"
}

var contentLength = regexp.MustCompile(`Content-Length: [1-9]\d*`)
