package rest

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/http"
	"strconv"
	"strings"
	"time"

	"pgha/internal/api"
	"pgha/internal/config"
	"pgha/internal/dcs"
	"pgha/internal/postgres"
)

func (s *Server) postReload(c *call) answer {
	s.backend.Do(c.r.Context(), ReloadRequest{})
	return textAnswer(http.StatusAccepted, "reload scheduled")
}

// postSigterm answers as the reference does outside Windows: nothing happens.
func (s *Server) postSigterm(*call) answer {
	return textAnswer(http.StatusAccepted, "shutdown scheduled")
}

// postMPP takes Citus events, of which there are none without Citus.
func (s *Server) postMPP(c *call) answer {
	if _, refusal := mandatoryBody(c.w, c.r); refusal != nil {
		return *refusal
	}
	return textAnswer(http.StatusOK, "OK")
}

func (s *Server) postRestart(c *call) answer {
	body, refusal := optionalBody(c.w, c.r)
	if refusal != nil {
		return *refusal
	}
	cluster, refusal := s.clusterNow(c.r.Context())
	if refusal != nil {
		return *refusal
	}
	paused := pausedIn(cluster, s.backend.Snapshot().Config.Pause)
	request, refusal := parseRestart(body, paused, s.clock.Wall())
	if refusal != nil {
		return *refusal
	}
	return resultAnswer(s.backend.Do(c.r.Context(), request))
}

// parseRestart validates the keys in the order sent; the first that fails
// answers (contract: rest-api.md 9.1).
func parseRestart(body config.Document, paused bool, now time.Time) (RestartRequest, *answer) {
	var r RestartRequest
	values := body.Map()
	if _, scheduled := values["schedule"]; scheduled && paused {
		return r, refuseText(http.StatusInternalServerError, "Can't schedule restart in the paused state")
	}
	for _, key := range body.Keys() {
		value := values[key]
		switch key {
		case "schedule":
			at, refusal := parseScheduled(value, "restart", now)
			if refusal != nil {
				return r, refusal
			}
			r.Schedule = at
		case "role":
			r.Role = textOf(value)
			if r.Role != "primary" && r.Role != "standby_leader" && r.Role != "replica" {
				return r, refuseText(http.StatusBadRequest, "PostgreSQL role should be either primary, standby_leader, or replica")
			}
		case "postgres_version":
			r.PostgresVersion = versionText(value)
			if _, err := versionNumber(r.PostgresVersion); err != nil {
				return r, refuseText(http.StatusBadRequest, "%v", err)
			}
		case "timeout":
			seconds, valid := timeoutSeconds(value)
			if !valid {
				return r, refuseText(http.StatusBadRequest, "Timeout should be a positive number of seconds")
			}
			r.Timeout = time.Duration(seconds) * time.Second
		case "restart_pending":
			r.RestartPending = truth(value)
		default:
			return r, refuseText(http.StatusBadRequest, "Unknown filter for the scheduled restart: %s", key)
		}
	}
	return r, nil
}

// parseScheduled reads the time of a scheduled action; action is the word in
// the refusals.
func parseScheduled(value any, action string, now time.Time) (time.Time, *answer) {
	at, zoned, err := api.ParseSchedule(textOf(value))
	switch {
	case err != nil:
		return at, refuseText(http.StatusUnprocessableEntity,
			"Unable to parse scheduled timestamp. It should be in an unambiguous format, e.g. ISO 8601")
	case !zoned:
		return at, refuseText(http.StatusBadRequest, "Timezone information is mandatory for the scheduled %s", action)
	case at.Before(now):
		return at, refuseText(http.StatusUnprocessableEntity, "Cannot schedule %s in the past", action)
	}
	return at, nil
}

// versionNumber turns X.Y (from 10 on) or X.Y.Z into server_version_num. The
// errors are the texts clients see.
func versionNumber(text string) (int, error) {
	parts := strings.Split(text, ".")
	numbers := make([]int, len(parts))
	for i, p := range parts {
		n, err := strconv.Atoi(strings.TrimSpace(p))
		if err != nil || n < 0 || n > 9999 {
			//lint:ignore ST1005 the reference's text
			return 0, fmt.Errorf("Invalid PostgreSQL version: %s", text)
		}
		numbers[i] = n
	}
	switch {
	case len(parts) == 2 && numbers[0] >= 10:
		return numbers[0]*10000 + numbers[1], nil
	case len(parts) == 3:
		return numbers[0]*10000 + numbers[1]*100 + numbers[2], nil
	}
	//lint:ignore ST1005 the reference's text
	return 0, fmt.Errorf("Invalid PostgreSQL version format: X.Y or X.Y.Z is accepted: %s", text)
}

// versionText shows a version that was sent as another type, so that it is
// refused with itself in the text (section 18, 17).
func versionText(value any) string {
	if text, isText := value.(string); isText {
		return text
	}
	raw, err := json.Marshal(value)
	if err != nil {
		return ""
	}
	return string(raw) + " is not a text"
}

// timeoutSeconds reads a number, or a text as PostgreSQL's settings have it.
func timeoutSeconds(value any) (int64, bool) {
	const most = math.MaxInt64 / int64(time.Second)
	seconds, valid := isInteger(value)
	switch v := value.(type) {
	case string:
		seconds, valid = config.ParseGUCInt(v, "s")
	case float64:
		seconds, valid = config.ParseGUCInt(strconv.FormatFloat(v, 'f', -1, 64), "s")
	}
	return seconds, valid && seconds > 0 && seconds <= most
}

func (s *Server) deleteRestart(c *call) answer {
	return resultAnswer(s.backend.Do(c.r.Context(), CancelRestartRequest{}))
}

func (s *Server) postReinitialize(c *call) answer {
	body, refusal := optionalBody(c.w, c.r)
	if refusal != nil {
		return *refusal
	}
	cluster, refusal := s.clusterNow(c.r.Context())
	if refusal != nil {
		return *refusal
	}
	switch {
	case cluster.Leader == nil:
		return resultAnswer(NoLeader)
	case cluster.Leader.Name == s.backend.Snapshot().Name:
		return resultAnswer(IsLeader)
	}
	values := body.Map()
	return resultAnswer(s.backend.Do(c.r.Context(), ReinitRequest{
		Force: truthInt(values["force"]),
		// The published documentation spells it with a hyphen.
		FromLeader: truthInt(values["from_leader"]) || truthInt(values["from-leader"]),
	}))
}

// truthInt is truth for values of a config.Document, whose numbers are int64.
func truthInt(v any) bool {
	if n, whole := v.(int64); whole {
		return n != 0
	}
	return truth(v)
}

// postFailsafe hears of a primary that lost the DCS (contract: rest-api.md
// section 12).
func (s *Server) postFailsafe(c *call) answer {
	body, refusal := mandatoryBody(c.w, c.r)
	if refusal != nil {
		return *refusal
	}
	status := s.backend.Snapshot()
	switch {
	case !status.Config.FailsafeMode:
		return bareError(http.StatusBadGateway)
	case status.runsAsPrimary():
		return resultAnswer(FailsafeLeader)
	}
	request, valid := parseFailsafe(body.Map())
	if !valid {
		return bareError(http.StatusBadRequest)
	}
	return resultAnswer(s.backend.Do(c.r.Context(), request))
}

// maxTTL in seconds is longer than any ttl that somebody sets on purpose.
const maxTTL = 24 * 3600

func parseFailsafe(values map[string]any) (FailsafeRequest, bool) {
	r := FailsafeRequest{Name: textOf(values["name"]), ConnURL: textOf(values["conn_url"]), APIURL: textOf(values["api_url"])}
	if r.Name == "" || r.ConnURL == "" || r.APIURL == "" {
		return r, false
	}
	slots, _ := values["slots"].(map[string]any)
	r.Slots = make(map[string]postgres.LSN, len(slots))
	for name, at := range slots {
		if n, whole := isInteger(at); whole && n > 0 {
			r.Slots[name] = postgres.LSN(n)
		}
	}
	if ttl, whole := isInteger(values["ttl"]); whole && ttl > 0 && int64(ttl) <= maxTTL {
		r.TTL = time.Duration(ttl) * time.Second
	}
	return r, true
}

// deleteSwitchover takes a scheduled switchover back.
func (s *Server) deleteSwitchover(c *call) answer {
	cluster, refusal := s.clusterNow(c.r.Context())
	if refusal != nil {
		return *refusal
	}
	if cluster.Failover == nil || cluster.Failover.ScheduledAt.IsZero() {
		return textAnswer(http.StatusNotFound, "no switchover is scheduled")
	}
	err := s.backend.Do(c.r.Context(), ClearFailoverRequest{Revision: cluster.FailoverRevision}).Err
	if err != nil {
		s.log.Warn("DELETE /switchover: not cleared", "err", err)
		if !errors.Is(err, dcs.ErrConflict) {
			return textAnswer(http.StatusServiceUnavailable, "DCS is not accessible")
		}
		return bareError(http.StatusConflict)
	}
	return textAnswer(http.StatusOK, "scheduled switchover deleted")
}
