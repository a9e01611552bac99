package agent

import (
	"sync"

	"pgha/agent/ha"
)

// requestQueue holds operators' requests until the loop decides on them.
type requestQueue struct {
	mu      sync.Mutex
	nextID  uint64
	waiting []*pending          // not decided yet, oldest first
	running map[uint64]*pending // the job under way answers these
}

type pending struct {
	ha.Request
	reply chan RequestAnswer // buffered: the loop never waits for a reader
}

// RequestAnswer is what an operator hears: an HTTP status and a text of
// contract: rest-api.md 9 and 11.
type RequestAnswer struct {
	Code int
	Text string
}

// Submit queues a request and wakes the loop. The channel gets one answer.
func (l *Loop) Submit(r ha.Request) <-chan RequestAnswer {
	ch := l.requests.add(r)
	l.Sleeper.Wake()
	return ch
}

func (q *requestQueue) add(r ha.Request) <-chan RequestAnswer {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.nextID++
	r.ID = q.nextID
	p := &pending{Request: r, reply: make(chan RequestAnswer, 1)}
	q.waiting = append(q.waiting, p)
	return p.reply
}

// head is the oldest undecided request, nil when none.
func (q *requestQueue) head() *ha.Request {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.waiting) == 0 {
		return nil
	}
	r := q.waiting[0].Request
	return &r
}

// answer answers the head and takes it off the queue.
func (q *requestQueue) answer(code int, text string) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.waiting) > 0 {
		q.waiting[0].reply <- RequestAnswer{code, text}
		q.waiting = q.waiting[1:]
	}
}

// started moves the head to the job that was started for it. A reinitialise
// is answered now, a restart when it has ended.
func (q *requestQueue) started(spec ha.JobSpec) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.waiting) == 0 || q.waiting[0].ID != spec.RequestID {
		return
	}
	p := q.waiting[0]
	q.waiting = q.waiting[1:]
	if spec.Kind == ha.JobReinit {
		p.reply <- RequestAnswer{200, "reinitialize started"}
		return
	}
	if q.running == nil {
		q.running = map[uint64]*pending{}
	}
	q.running[p.ID] = p
}

// finish answers the request whose job ended.
func (q *requestQueue) finish(r ha.JobResult) {
	q.mu.Lock()
	defer q.mu.Unlock()
	p := q.running[r.RequestID]
	if p == nil {
		return
	}
	delete(q.running, r.RequestID)
	switch {
	case r.OK:
		p.reply <- RequestAnswer{200, "restarted successfully"}
	case r.StillStarting:
		p.reply <- RequestAnswer{503, "postgres is still starting"}
	default:
		p.reply <- RequestAnswer{503, "restart failed"}
	}
}
