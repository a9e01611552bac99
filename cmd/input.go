package cmd

import (
	"io"
	"os"
)

// readInput reads a file, or standard input for "-".
func readInput(stdin io.Reader, file string) ([]byte, error) {
	if file == "-" {
		return io.ReadAll(stdin)
	}
	return os.ReadFile(file)
}

func inputName(file string) string {
	if file == "-" {
		return "(standard input)"
	}
	return file
}
