package postgres

import (
	"fmt"
	"strconv"
	"strings"
)

// DefaultWALSegmentSize is what initdb uses unless told otherwise, in bytes.
const DefaultWALSegmentSize int64 = 16 << 20

// SegmentName is the name of the WAL file that holds lsn on the timeline.
// segsize is in bytes (ControlData.WALSegmentSize); a value that is no power
// of two between 1 MB and 1 GB means the default.
func SegmentName(tl Timeline, lsn LSN, segsize int64) string {
	if segsize < 1<<20 || segsize > 1<<30 || segsize&(segsize-1) != 0 {
		segsize = DefaultWALSegmentSize
	}
	number := uint64(lsn) / uint64(segsize)
	perID := uint64(1<<32) / uint64(segsize)
	return fmt.Sprintf("%08X%08X%08X", uint32(tl), number/perID, number%perID)
}

// TimelineOfSegment reads the timeline from the name of a file in pg_wal: a
// segment, also with a suffix (.partial, .ready), or a history file. False for
// any other name.
func TimelineOfSegment(name string) (Timeline, bool) {
	base, suffix, dotted := strings.Cut(name, ".")
	if len(base) != 24 && (len(base) != 8 || !dotted || !strings.HasPrefix(suffix, "history")) {
		return 0, false
	}
	if strings.Trim(base, "0123456789ABCDEF") != "" {
		return 0, false
	}
	tl, err := strconv.ParseUint(base[:8], 16, 32)
	if err != nil || tl == 0 {
		return 0, false
	}
	return Timeline(tl), true
}
