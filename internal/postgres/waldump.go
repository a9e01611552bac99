package postgres

import (
	"regexp"
	"strconv"
	"strings"
)

// WALRecord is one line printed by pg_waldump.
type WALRecord struct {
	Rmgr        string
	TotalLength int // bytes, with backup blocks, without page headers inside
	LSN         LSN
	Prev        LSN
	Desc        string
}

// IsShutdownCheckpoint says whether the record is the one a clean shutdown
// leaves at the end of the WAL.
func (r WALRecord) IsShutdownCheckpoint() bool {
	if r.Rmgr != "XLOG" {
		return false
	}
	// CHECKPOINT_SHUTDOWN redo ...; shutdown (before 9.5: "checkpoint: redo ...; shutdown").
	desc := strings.ToLower(r.Desc)
	return strings.HasPrefix(desc, "checkpoint") && strings.HasSuffix(desc, "shutdown")
}

// IsSwitch says whether the record ends its WAL segment early, as the archiver
// wants it at shutdown.
func (r WALRecord) IsSwitch() bool {
	return r.Rmgr == "XLOG" && (r.Desc == "SWITCH" || r.Desc == "xlog switch")
}

var recordLine = regexp.MustCompile(
	`^rmgr: (\S+)\s+len \(rec/tot\):\s*\d+/\s*(\d+), tx:\s*\d+, lsn: ([0-9A-Fa-f]+/[0-9A-Fa-f]+), prev ([0-9A-Fa-f]+/[0-9A-Fa-f]+), (?:bkp: \d+, )?desc:\s*(.*)$`)

// ParseWALRecords reads pg_waldump's standard output. Lines of another form
// (block references, statistics) are skipped.
func ParseWALRecords(stdout string) []WALRecord {
	var records []WALRecord
	for line := range strings.Lines(stdout) {
		m := recordLine.FindStringSubmatch(strings.TrimRight(line, "\r\n"))
		if m == nil {
			continue
		}
		total, err1 := strconv.Atoi(m[2])
		lsn, err2 := ParseLSN(m[3])
		prev, err3 := ParseLSN(m[4])
		if err1 != nil || err2 != nil || err3 != nil {
			continue
		}
		desc := strings.TrimSpace(m[5])
		records = append(records, WALRecord{Rmgr: m[1], TotalLength: total, LSN: lsn, Prev: prev, Desc: desc})
	}
	return records
}

// nextRecord finds the position of the record that is not there in
// pg_waldump's complaint: "error in WAL record at 0/900028: invalid record
// length at 0/9000A0: wanted 24, got 0"; 16 and later say "expected at least
// 24, got 0"; 19 pads the low half with zeros. The other two are what a
// recycled segment's old bytes give.
var nextRecord = regexp.MustCompile(
	`(?:invalid record length at|invalid resource manager ID \d+ at|record with incorrect prev-link [0-9A-Fa-f]+/[0-9A-Fa-f]+ at) ([0-9A-Fa-f]+/[0-9A-Fa-f]+)(?:[:\s]|$)`)

// CheckpointEnd is the position right after a shutdown checkpoint, from the
// output of
//
//	pg_waldump -p DIR/pg_wal -t TL -s CHECKPOINT -n 2
//
// under LC_ALL=C: exactly one record, a shutdown checkpoint, and a complaint
// that names where the next one was looked for. False when it is anything else,
// in particular when WAL was written after the checkpoint. A record that ends
// with its page gives a complaint without position: CheckpointEndByLength knows
// that case.
func CheckpointEnd(stdout, stderr string) (LSN, bool) {
	record, ok := onlyCheckpoint(stdout)
	if !ok {
		return 0, false
	}
	m := nextRecord.FindStringSubmatch(stderr)
	if m == nil {
		return 0, false
	}
	end, err := ParseLSN(m[1])
	if err != nil || end <= record.LSN {
		return 0, false
	}
	return end, true
}

// CheckpointEndByLength computes the same position from the record's length
// and the sizes in pg_control. Use it when CheckpointEnd answers false: at the
// end of a page or segment pg_waldump complains of the missing page or file,
// and "unknown" would cost a healthy node its data directory.
func CheckpointEndByLength(stdout string, c ControlData) (LSN, bool) {
	record, ok := onlyCheckpoint(stdout)
	if !ok || record.TotalLength <= 0 {
		return 0, false
	}
	return recordEnd(record.LSN, record.TotalLength, c.WALBlockSize, c.WALSegmentSize)
}

func onlyCheckpoint(stdout string) (WALRecord, bool) {
	records := ParseWALRecords(stdout)
	if len(records) != 1 || !records[0].IsShutdownCheckpoint() {
		return WALRecord{}, false
	}
	return records[0], true
}

const (
	walAlignment       = 8
	walPageHeader      = 24 // bytes, SizeOfXLogShortPHD
	walFirstPageHeader = 40 // bytes, SizeOfXLogLongPHD: a segment's first page
)

// recordEnd walks a record of length bytes from start over page borders, as
// the server does: continuation pages begin with a header, and the end is
// aligned to 8 bytes.
func recordEnd(start LSN, length int, blockSize, segmentSize int64) (LSN, bool) {
	if blockSize <= walFirstPageHeader || segmentSize < blockSize || segmentSize%blockSize != 0 {
		return 0, false
	}
	block, segment := LSN(blockSize), LSN(segmentSize)
	rest := LSN(length+walAlignment-1) / walAlignment * walAlignment
	at := start
	for {
		free := block - at%block
		if rest <= free {
			return at + rest, true
		}
		rest -= free
		at += free
		if at%segment == 0 {
			at += walFirstPageHeader
		} else {
			at += walPageHeader
		}
	}
}

// RecordBefore is the position of the record before a shutdown checkpoint,
// from pg_waldump's output at the checkpoint's position. False when the output
// does not begin with the shutdown checkpoint at that position.
func RecordBefore(checkpoint LSN, stdout string) (LSN, bool) {
	records := ParseWALRecords(stdout)
	if len(records) == 0 || records[0].LSN != checkpoint || !records[0].IsShutdownCheckpoint() {
		return 0, false
	}
	return records[0].Prev, records[0].Prev != 0
}

// ShutdownOptime is the last position a former primary publishes when it
// releases the leader key (contract: ha-behaviour.md 14, "Early release"): the
// record before the shutdown checkpoint when that is a WAL switch, since a
// standby fed from the archive never sees what follows it; else the checkpoint.
// atCheckpoint and atBefore are pg_waldump's outputs (-n 1) at the checkpoint
// and at RecordBefore; anything unreadable in them means the checkpoint.
func ShutdownOptime(checkpoint LSN, atCheckpoint, atBefore string) LSN {
	before, ok := RecordBefore(checkpoint, atCheckpoint)
	if !ok {
		return checkpoint
	}
	records := ParseWALRecords(atBefore)
	if len(records) == 0 || records[0].LSN != before || !records[0].IsSwitch() {
		return checkpoint
	}
	return before
}
