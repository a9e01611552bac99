package instance

import (
	"errors"
	"fmt"

	"pgha/internal/config"
)

// splitCommand splits a configured command line the way a shell reads words.
// Nothing is expanded.
func splitCommand(line string) ([]string, error) {
	words, err := config.SplitCommand(line)
	if err != nil {
		return nil, fmt.Errorf("command line %q: %w", line, err)
	}
	if len(words) == 0 {
		return nil, errors.New("empty command line")
	}
	return words, nil
}
