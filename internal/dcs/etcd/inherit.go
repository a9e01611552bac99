package etcd

import (
	"time"

	"pgha/internal/dcs"
)

// Held is the lease as last granted, and the TTL it was asked for: what the
// next program in this process needs for Inherit. A zero id: none.
func (s *Store) Held() (id dcs.LeaseID, asked time.Duration) { return s.lease.get() }

// Inherit goes on with the lease of the program that ran in this process
// before. The next KeepAlive renews it; one that is gone by then is granted
// anew, as always. To be called before the first KeepAlive.
func (s *Store) Inherit(id dcs.LeaseID, asked time.Duration) { s.lease.set(id, asked) }
