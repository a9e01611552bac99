package postgres

import (
	"errors"
	"fmt"
	"strings"
)

// KV is one keyword of a connection string.
type KV struct {
	Key   string
	Value string
}

// ParseConninfo reads a libpq connection string, key=value words or a
// postgres:// URI, by libpq's rules. Of a repeated keyword the last value wins.
// Keywords are not checked against a libpq version. Several hosts stay one
// comma-separated value. Errors name the place without quoting values: they may
// be passwords.
func ParseConninfo(s string) (map[string]string, error) {
	for _, scheme := range []string{"postgresql://", "postgres://"} {
		if rest, ok := strings.CutPrefix(s, scheme); ok {
			return parseConninfoURI(rest)
		}
	}
	return parseKeywords(s)
}

func parseKeywords(s string) (map[string]string, error) {
	result := map[string]string{}
	rest := strings.TrimLeft(s, conninfoSpace)
	for rest != "" {
		end := strings.IndexAny(rest, "="+conninfoSpace)
		if end < 0 {
			return nil, fmt.Errorf("connection string: missing %q after keyword %d", "=", len(result)+1)
		}
		key := rest[:end]
		rest = strings.TrimLeft(rest[end:], conninfoSpace)
		if !strings.HasPrefix(rest, "=") {
			return nil, fmt.Errorf("connection string: missing %q after keyword %d", "=", len(result)+1)
		}
		if key == "" {
			return nil, fmt.Errorf("connection string: missing keyword before %q", "=")
		}
		value, after, err := keywordValue(strings.TrimLeft(rest[1:], conninfoSpace))
		if err != nil {
			return nil, err
		}
		result[key] = value
		rest = strings.TrimLeft(after, conninfoSpace)
	}
	return result, nil
}

// conninfoSpace is what C's isspace accepts.
const conninfoSpace = " \t\n\v\f\r"

// keywordValue reads one value, quoted or not, and returns what follows it.
func keywordValue(s string) (value, rest string, err error) {
	quoted := strings.HasPrefix(s, "'")
	var b strings.Builder
	i := 0
	if quoted {
		i = 1
	}
	for ; i < len(s); i++ {
		switch c := s[i]; {
		case c == '\\':
			i++
			if i < len(s) {
				b.WriteByte(s[i])
			}
		case quoted && c == '\'':
			return b.String(), s[i+1:], nil
		case !quoted && strings.IndexByte(conninfoSpace, c) >= 0:
			return b.String(), s[i:], nil
		default:
			b.WriteByte(c)
		}
	}
	if quoted {
		return "", "", errors.New("connection string: unterminated quoted value")
	}
	return b.String(), "", nil
}

// conninfoOrder is the fixed order of keywords (contract: config.md 5.5).
var conninfoOrder = []string{
	"dbname", "user", "passfile", "password", "host", "port", "sslmode", "sslcompression",
	"sslcert", "sslkey", "sslpassword", "sslrootcert", "sslcrl", "sslcrldir", "application_name",
	"krbsrvname", "gssencmode", "channel_binding", "target_session_attrs", "sslnegotiation",
}

// FormatConninfo prints keywords for primary_conninfo and the programs: those
// of the contract in its order (config.md 5.5), then the others as given.
// Values are escaped with backslashes, never quoted. Empty values are left out:
// unquoted, libpq would read the next keyword as the value.
func FormatConninfo(kvs []KV) string {
	var words []string
	done := map[string]bool{}
	add := func(kv KV) {
		if kv.Value != "" {
			words = append(words, kv.Key+"="+escapeConninfo(kv.Value))
		}
		done[kv.Key] = true
	}
	for _, key := range conninfoOrder {
		for _, kv := range kvs {
			if kv.Key == key && !done[key] {
				add(kv)
			}
		}
	}
	for _, kv := range kvs {
		if !done[kv.Key] {
			add(kv)
		}
	}
	return strings.Join(words, " ")
}

func escapeConninfo(value string) string {
	var b strings.Builder
	for i := 0; i < len(value); i++ {
		if strings.IndexByte("'\\"+conninfoSpace, value[i]) >= 0 {
			b.WriteByte('\\')
		}
		b.WriteByte(value[i])
	}
	return b.String()
}
