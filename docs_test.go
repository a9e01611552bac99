package main

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// Documents speak of files and tests by name. These find the names that are
// no longer there.
var (
	quoted   = regexp.MustCompile("`([^`\n]+)`")
	fileName = regexp.MustCompile(`^[A-Za-z0-9_*-][A-Za-z0-9_./*-]*\.(go|txt|sh|md|tsv|yml|proto|service)$`)
	pkgName  = regexp.MustCompile(`^(agent|cmd|ctl|demo|internal)(/[a-z0-9]+)*/?$`)
	testName = regexp.MustCompile(`\b(Test|Fuzz|Benchmark)[A-Z][A-Za-z0-9]*\*?`)
	goTest   = regexp.MustCompile(`(?m)^func ((?:Test|Fuzz|Benchmark)[A-Z]\w*)\(`)
)

// elsewhere are files that documents name and that are not of this tree: an
// operator's, or made at run time.
var elsewhere = []string{"patroni.yml", "patroni.service", "patroni/api.py"}

// TestDocumentsNameWhatExists reads every document of the tree.
func TestDocumentsNameWhatExists(t *testing.T) {
	var files, documents, tests []string
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if name := d.Name(); name != "." && strings.HasPrefix(name, ".") || path == "bin" {
				return filepath.SkipDir
			}
			return nil
		}
		files = append(files, path)
		switch {
		case strings.HasSuffix(path, ".md") && !strings.Contains(path, "testdata"):
			documents = append(documents, path)
		case strings.HasSuffix(path, "_test.go"):
			text, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			for _, m := range goTest.FindAllSubmatch(text, -1) {
				tests = append(tests, string(m[1]))
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, doc := range documents {
		text, err := os.ReadFile(doc)
		if err != nil {
			t.Fatal(err)
		}
		for n, line := range strings.Split(string(text), "\n") {
			for _, m := range quoted.FindAllStringSubmatch(line, -1) {
				word := m[1]
				if (fileName.MatchString(word) && !slices.Contains(elsewhere, word) || pkgName.MatchString(word)) && !exists(files, word) {
					t.Errorf("%s:%d: there is no file or folder %s", doc, n+1, word)
				}
			}
			for _, name := range testName.FindAllString(line, -1) {
				if !slices.ContainsFunc(tests, func(have string) bool { return named(have, name) }) {
					t.Errorf("%s:%d: there is no test %s", doc, n+1, name)
				}
			}
		}
	}
}

// named says whether a test has that name, or one that begins with it: -run
// takes a beginning, and documents speak of families of tests.
func named(have, name string) bool { return strings.HasPrefix(have, strings.TrimSuffix(name, "*")) }

// exists finds a file by its path or by the end of it, as documents shorten
// paths to what the column is about; a folder by its path.
func exists(files []string, word string) bool {
	word = strings.TrimSuffix(word, "/")
	depth := strings.Count(word, "/")
	return slices.ContainsFunc(files, func(path string) bool {
		parts := strings.Split(path, "/")
		end := strings.Join(parts[max(0, len(parts)-1-depth):], "/")
		if ok, err := filepath.Match(word, end); err == nil && ok {
			return true
		}
		return strings.HasPrefix(path, word+"/")
	})
}
