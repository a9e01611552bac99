package sim

import "time"

// network carries messages between members, and between members and etcd.
// Each direction of each link can be cut on its own.
type network struct {
	s   *Sim
	cut map[[2]int]int           // how many faults cut it now
	lag map[[2]int]time.Duration // what every message takes longer
}

// etcdAt is etcd's place in the network.
const etcdAt = -1

func newNetwork(s *Sim) *network {
	return &network{s: s, cut: map[[2]int]int{}, lag: map[[2]int]time.Duration{}}
}

// up says whether messages from one to the other pass now.
func (n *network) up(from, to int) bool { return n.cut[[2]int{from, to}] == 0 }

// both says whether a connection between the two works.
func (n *network) both(a, b int) bool { return n.up(a, b) && n.up(b, a) }

// send delivers after a while, or never. A message takes what it takes even
// when its sender has given up on it.
func (n *network) send(from, to int, deliver func()) {
	if !n.up(from, to) || n.s.chance(n.s.shape.loss) {
		return
	}
	n.s.after(n.delay()+n.lag[[2]int{from, to}], func() {
		if n.up(from, to) {
			deliver()
		}
	})
}

func (n *network) delay() time.Duration {
	if n.s.chance(n.s.shape.stray) {
		return n.s.dur(n.s.shape.ttl/2, 3*n.s.shape.ttl) // given up by its sender long before
	}
	if n.s.chance(n.s.shape.slow) {
		return n.s.dur(0, n.s.shape.slowest)
	}
	return n.s.dur(100*time.Microsecond, 2*time.Millisecond)
}

// block cuts one direction for d.
func (n *network) block(from, to int, d time.Duration) {
	link := [2]int{from, to}
	n.cut[link]++
	n.s.after(d, func() { n.cut[link]-- })
}
