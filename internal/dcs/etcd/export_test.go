package etcd

// Doubt leaves the store as after a release of the leader key that nobody answered.
func (s *Store) Doubt() { s.inDoubt.Store(true) }
