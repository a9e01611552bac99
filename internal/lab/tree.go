package lab

// PostgresProcesses are the pids of the member's postmaster and its children;
// none when it does not run.
func (m *Member) PostgresProcesses() []int {
	server := m.Postmaster()
	if server == 0 {
		return nil
	}
	return append([]int{server}, children(server)...)
}
