package contract

import (
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// What changes from run to run is replaced by something of the same form and
// width, so that a golden shows form and alignment. What does not have the
// form of the contract is not replaced, and shows up.
var masks = []struct {
	form *regexp.Regexp
	as   string
}{
	{regexp.MustCompile(`\b20\d\d-\d\d-\d\d([T ])\d\d:\d\d:\d\d\.\d{6}\b`), "2031-02-03${1}04:05:06.789012"},
	{regexp.MustCompile(`\b20\d\d-\d\d-\d\d([T ])\d\d:\d\d:\d\d\.\d{5}\b`), "2031-02-03${1}04:05:06.78901"},
	{regexp.MustCompile(`\b20\d\d-\d\d-\d\d([T ])\d\d:\d\d:\d\d,\d{3}\b`), "2031-02-03${1}04:05:06,789"},
	{regexp.MustCompile(`\b20(?:2\d|30)-\d\d-\d\d([T ])\d\d:\d\d:\d\d\b`), "2031-02-03${1}04:05:06"},
	{regexp.MustCompile(`\b20(?:2\d|30)-\d\d-\d\dT\d\d:\d\d\b`), "2031-02-03T04:05"},
	{regexp.MustCompile(`\b7[0-9]{18}\b`), "7500000000000000001"},
	{regexp.MustCompile(`\b0/[0-9A-F]{7}\b`), "0/AAAAAAA"},
	{regexp.MustCompile(`\b0/[0-9A-F]{8}\b`), "0/AAAAAAAA"},
	{regexp.MustCompile(`("(?:location|received_location|replayed_location)": )\d{8,}`), "${1}<wal>"},
	{regexp.MustCompile(`, "logger_queue_size": \d+`), ""}, // there while lines wait to be written
	{regexp.MustCompile(`("(?:dcs_last_seen)": )\d{10}\b`), "${1}<unix>"},
	{regexp.MustCompile(`("(?:receive_|replay_|)lag": )\d+\b`), "${1}<bytes>"},
	{regexp.MustCompile(`(\[\d, )\d{8,9},`), "${1}<wal>,"},
	{regexp.MustCompile(`("LSN": )\d{8,9},`), "${1}<wal>,"},
	{regexp.MustCompile(`("server_version": )\d{6}\b`), "${1}<number>"},
	{regexp.MustCompile(`\bpgha/[^\s"<>]+`), "pgha/<version>"},
	{regexp.MustCompile(`("pgha": \{"version": ")[^"]+`), "${1}<version>"},
	// What fences the member and what its probes say depends on the machine
	// (agent/rest TestDocument*, lab health, gate and guard stories).
	{regexp.MustCompile(`, "protection": \{[^{}]*\}`), ""},
	{regexp.MustCompile(`, "health": \{("[a-z_]+": \{[^{}]*\}(, )?)*\}`), ""},
	{regexp.MustCompile(`\bPostgreSQL \d\d\.\d+`), "PostgreSQL <version>"},
	{regexp.MustCompile(`(?m)^(Lsn: )\d{8,}$`), "${1}<wal>"},
	{regexp.MustCompile(`Date: \w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d GMT`), "Date: <date>"},
}

// How many timelines there are in an outage depends on who came first before.
var timeline = regexp.MustCompile(`("(?:timeline|TL)": )\d+\b`)

// network is the lab's addresses as cases spell them.
const network = "10.66.166."

func (w *world) network() string {
	addr := w.cluster.Members[0].Addr
	return addr[:strings.LastIndexByte(addr, '.')+1]
}

// unmasked is a case's text for this run: its addresses, <dir>.
func (w *world) unmasked(text string) string {
	return strings.ReplaceAll(strings.ReplaceAll(text, network, w.network()), "<dir>", w.Dir)
}

func (w *world) masked(text string) string {
	text = strings.ReplaceAll(text, w.network(), network)
	text = strings.ReplaceAll(text, w.Dir, "<dir>")
	if w.timelines {
		text = timeline.ReplaceAllString(text, "${1}<later>")
	}
	for _, m := range masks {
		text = m.form.ReplaceAllString(text, m.as)
	}
	return sortSenders(text)
}

var senders = regexp.MustCompile(`"replication": \[(\{.*?\})\]`)

// sortSenders puts WAL senders in the order of their names: the server's own
// is the one in which they connected.
func sortSenders(text string) string {
	return senders.ReplaceAllStringFunc(text, func(list string) string {
		all := strings.Split(senders.FindStringSubmatch(list)[1], "}, {")
		for i := range all {
			all[i] = strings.Trim(all[i], "{}")
		}
		slices.SortFunc(all, func(a, b string) int { return strings.Compare(nameIn(a), nameIn(b)) })
		return `"replication": [{` + strings.Join(all, "}, {") + `}]`
	})
}

func nameIn(sender string) string {
	var s struct {
		Name string `json:"application_name"`
	}
	if json.Unmarshal([]byte("{"+sender+"}"), &s) != nil {
		return sender
	}
	return s.Name
}

// sample is a metric's value by its form.
func sample(text string) string {
	switch {
	case regexp.MustCompile(`^\d{10}\.\d{1,6}$`).MatchString(text):
		return "<unix.fraction>"
	case regexp.MustCompile(`^\d{10}$`).MatchString(text):
		return "<unix>"
	case regexp.MustCompile(`^\d{8,9}$`).MatchString(text):
		return "<wal>"
	case regexp.MustCompile(`^1[3-9]00\d\d$`).MatchString(text):
		return "<server version>"
	}
	return text
}

// table lays rows of cells out in columns.
func table(rows [][]string) string {
	var width []int
	for _, r := range rows {
		for i, cell := range r {
			if i == len(width) {
				width = append(width, 0)
			}
			width[i] = max(width[i], len(cell))
		}
	}
	var b strings.Builder
	for _, r := range rows {
		var line strings.Builder
		for i, cell := range r {
			fmt.Fprintf(&line, "%-*s  ", width[i], cell)
		}
		b.WriteString(strings.TrimRight(line.String(), " ") + "\n")
	}
	return b.String()
}
