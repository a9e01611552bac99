package agent

import (
	"os"
	"path/filepath"

	"github.com/google/renameio/v2"

	"pgha/internal/config"
)

// writeCache keeps the accepted dynamic configuration beside the data. Its
// mode follows the directory's: what the group may read there, it may read
// here (contract: config.md 1.3).
func writeCache(dataDir string, doc config.Document) error {
	mode := os.FileMode(0o600)
	if info, err := os.Stat(dataDir); err == nil && info.Mode()&0o050 == 0o050 {
		mode = 0o640
	}
	path := filepath.Join(dataDir, cacheFile)
	return renameio.WriteFile(path, doc.Compact(), mode, renameio.WithTempDir(dataDir), renameio.IgnoreUmask())
}
