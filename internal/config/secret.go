package config

import (
	"regexp"
	"strings"
)

// hidden is what is shown instead of a secret.
const hidden = "***"

// secretKeys are the names of keys whose values are shown nowhere.
var secretKeys = map[string]bool{"password": true, "sslpassword": true, "keyfile_password": true}

// IsSecret says whether the value of a key is a password, wherever it stands:
// known keys, and keys of a user's own whose name says so. For whatever shows
// configuration to people.
func IsSecret(path string) bool {
	name := strings.ToLower(path[strings.LastIndexByte(path, '.')+1:])
	if secretKeys[name] {
		return true
	}
	// password_encryption, password_file and the like hold no password.
	return strings.HasSuffix(name, "password") || strings.HasSuffix(name, "passwd") ||
		strings.HasSuffix(name, "secret") || strings.HasSuffix(name, "token") && name != "server_tokens"
}

// embeddedSecret finds passwords inside other values: in URLs, and in
// connection strings (primary_conninfo, a command line with PGPASSWORD=).
var embeddedSecret = regexp.MustCompile(`(?i)(://[^/\s:@]*:)[^@\s/]+(@)|\b(\w*password\s*=\s*)(?:'(?:[^'\\]|\\.|'')*'|[^\s'"]+)`)

// Masked returns a value as it may be shown: passwords are ***, at every
// level. path is where the value stands.
func Masked(path string, v any) any {
	switch v := v.(type) {
	case nil:
		return nil
	case map[string]any:
		out := make(map[string]any, len(v))
		for key, value := range v {
			out[key] = Masked(path+"."+key, value)
		}
		return out
	case []any:
		out := make([]any, len(v))
		for i, value := range v {
			out[i] = Masked(path, value)
		}
		return out
	case []string:
		out := make([]any, len(v))
		for i, value := range v {
			out[i] = Masked(path, value)
		}
		return out
	case string:
		if v != "" && IsSecret(path) {
			return hidden
		}
		return embeddedSecret.ReplaceAllString(v, "${1}${3}"+hidden+"${2}")
	}
	if IsSecret(path) {
		return hidden // a password of digits
	}
	return v
}

// secretLine is a line of YAML that sets a value, with what may stand behind it.
var secretLine = regexp.MustCompile(`^(\s*(?:- )?['"]?([A-Za-z0-9_.-]+)['"]?\s*:\s*)('(?:[^']|'')*'|"(?:[^"\\]|\\.)*"|\S.*?)(\s+#.*)?$`)

// maskLine hides the secrets of one line of YAML; quotes stay visible, because
// they may be what the line is shown for.
func maskLine(line string) string {
	m := secretLine.FindStringSubmatch(line)
	if m == nil || !IsSecret(m[2]) {
		return embeddedSecret.ReplaceAllString(line, "${1}${3}"+hidden+"${2}")
	}
	value := hidden
	if quote := m[3][0]; quote == '\'' || quote == '"' {
		value = string(quote) + hidden + string(quote)
	}
	return m[1] + value + m[4]
}
