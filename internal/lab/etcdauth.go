package lab

// EnableAuth makes a root user with that password and switches etcd's
// authentication on: from then on nobody else gets in, the lab included.
func (e *Etcd) EnableAuth(password string) {
	e.lab.t.Helper()
	for _, c := range []struct {
		path string
		in   map[string]any
	}{
		{"/v3/auth/user/add", map[string]any{"name": "root", "password": password}},
		{"/v3/auth/role/add", map[string]any{"name": "root"}},
		{"/v3/auth/user/grant", map[string]any{"user": "root", "role": "root"}},
		{"/v3/auth/enable", map[string]any{}},
	} {
		e.lab.must(e.call(c.path, c.in, &struct{}{}))
	}
}
