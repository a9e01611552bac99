package agent

import "pgha/agent/rest"

var httpChange = rest.Change{Method: "POST", Path: "/restart", Client: "192.0.2.1", Code: 200, Answer: "restarted successfully"}
