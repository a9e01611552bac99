package postgres

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// parseConninfoURI reads what follows postgres:// :
// [user[:password]@][host[:port][,...]][/dbname][?key=value[&...]].
func parseConninfoURI(s string) (map[string]string, error) {
	u := uriReader{values: map[string]string{}}
	rest := s
	// As libpq: an @ counts only before the first slash.
	if at := strings.IndexAny(rest, "@/"); at >= 0 && rest[at] == '@' {
		user, password, _ := strings.Cut(rest[:at], ":")
		u.store("user", user)
		u.store("password", password)
		rest = rest[at+1:]
	}
	rest, err := u.hosts(rest)
	if err != nil {
		return nil, err
	}
	if after, ok := strings.CutPrefix(rest, "/"); ok {
		dbname, _, _ := strings.Cut(after, "?")
		u.store("dbname", dbname)
		rest = after[len(dbname):]
	}
	if params, ok := strings.CutPrefix(rest, "?"); ok {
		u.params(params)
	}
	return u.values, u.err
}

// uriReader collects decoded values and the first error.
type uriReader struct {
	values map[string]string
	err    error
}

func (u *uriReader) store(key, encoded string) {
	value, err := percentDecode(encoded)
	if err != nil && u.err == nil {
		u.err = fmt.Errorf("connection URI, %s: %w", key, err)
	}
	if value != "" {
		u.values[key] = value
	}
}

// hosts reads the list of host[:port] and returns what follows it.
func (u *uriReader) hosts(s string) (rest string, err error) {
	var hosts, ports []string
	rest = s
	for {
		host, after, err := uriHost(rest)
		if err != nil {
			return "", err
		}
		port := ""
		if p, ok := strings.CutPrefix(after, ":"); ok {
			end := indexAnyOrEnd(p, "/?,")
			port, after = p[:end], p[end:]
		}
		hosts, ports = append(hosts, host), append(ports, port)
		more, ok := strings.CutPrefix(after, ",")
		if !ok {
			rest = after
			break
		}
		rest = more
	}
	u.store("host", strings.Join(hosts, ","))
	u.store("port", strings.Join(ports, ","))
	return rest, nil
}

func uriHost(s string) (host, rest string, err error) {
	if !strings.HasPrefix(s, "[") {
		end := indexAnyOrEnd(s, ":/?,")
		return s[:end], s[end:], nil
	}
	end := strings.IndexByte(s, ']')
	switch {
	case end < 0:
		return "", "", errors.New(`connection URI: missing "]" after an IPv6 address`)
	case end == 1:
		return "", "", errors.New("connection URI: empty IPv6 address")
	}
	host, rest = s[1:end], s[end+1:]
	if rest != "" && strings.IndexByte(":/?,", rest[0]) < 0 {
		return "", "", errors.New(`connection URI: unexpected character after "]"`)
	}
	return host, rest, nil
}

func (u *uriReader) params(s string) {
	if s == "" {
		return
	}
	// libpq accepts one & after the last parameter.
	for i, word := range strings.Split(strings.TrimSuffix(s, "&"), "&") {
		key, value, ok := strings.Cut(word, "=")
		key, err := percentDecode(key)
		if !ok || key == "" || err != nil || strings.Contains(value, "=") {
			if u.err == nil {
				u.err = fmt.Errorf("connection URI: parameter %d: want key=value", i+1)
			}
			return
		}
		if key == "ssl" && value == "true" {
			key, value = "sslmode", "require" // JDBC's spelling
		}
		u.store(key, value)
	}
}

func indexAnyOrEnd(s, chars string) int {
	if i := strings.IndexAny(s, chars); i >= 0 {
		return i
	}
	return len(s)
}

// percentDecode leaves "+" alone, as libpq does, and refuses %00.
func percentDecode(s string) (string, error) {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] != '%' {
			b.WriteByte(s[i])
			continue
		}
		if i+3 > len(s) {
			return "", errors.New("incomplete percent-encoding")
		}
		n, err := strconv.ParseUint(s[i+1:i+3], 16, 8)
		if err != nil || n == 0 {
			return "", errors.New("invalid percent-encoding")
		}
		b.WriteByte(byte(n))
		i += 2
	}
	return b.String(), nil
}
