package contract

import (
	"bufio"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// row is one line of an index: a row of a contract's page.
type row struct {
	id    string // "rest 4.2/4": page, section, row
	words string
	// mark says why no case shows the row; empty: a case must.
	mark string
	at   string // file:line
}

var (
	// Why a row has no case: not built, or shown by a test elsewhere.
	laterMark     = regexp.MustCompile(`^later: .+`)
	elsewhereMark = regexp.MustCompile(`^elsewhere: (\S+) (Test\w+)`)
	factMark      = regexp.MustCompile(`^fact: .+`) // nothing of pgha's to test
	indexLine     = regexp.MustCompile(`^(\S+/\S+)\s+([^=]\S.*?)(?:\s+=> (.+))?$`)
)

func readIndex(t *testing.T) []row {
	t.Helper()
	files, err := filepath.Glob("testdata/*.index")
	if err != nil || len(files) == 0 {
		t.Fatalf("no index: %v", err)
	}
	var rows []row
	for _, file := range files {
		page := strings.TrimSuffix(filepath.Base(file), ".index")
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for n, line := range strings.Split(string(text), "\n") {
			if line == "" || strings.HasPrefix(line, "#") {
				continue
			}
			at := fmt.Sprintf("%s:%d", file, n+1)
			part := indexLine.FindStringSubmatch(line)
			if part == nil {
				t.Fatalf("%s: want `SECTION/ROW words [=> later: ... | elsewhere: PACKAGE TestName | fact: ...]`, have %q", at, line)
			}
			rows = append(rows, row{id: page + " " + part[1], words: part[2], mark: part[3], at: at})
		}
	}
	return rows
}

// claim is a case that says which rows it shows.
type claim struct{ at, id string }

var directive = regexp.MustCompile(`^(\w+)\b.*\brows=(?:\(([^)]*)\)|(\S+))`)

// readClaims collects rows=(...) of all cases. A bare id belongs to the page
// that the case's directive is about; another page is named in front
// (ctl:5.3/2).
func readClaims(t *testing.T) []claim {
	t.Helper()
	files, err := filepath.Glob("testdata/*/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no cases: %v", err)
	}
	var claims []claim
	for _, file := range files {
		f, err := os.Open(file)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		n := 0
		for s := bufio.NewScanner(f); s.Scan(); {
			n++
			part := directive.FindStringSubmatch(s.Text())
			if part == nil {
				continue
			}
			page := "rest"
			if part[1] == "ctl" || part[1] == "metrics" {
				page = part[1]
			}
			for _, id := range strings.FieldsFunc(part[2]+part[3], func(r rune) bool { return r == ',' || r == ' ' }) {
				if other, rest, named := strings.Cut(id, ":"); named {
					claims = append(claims, claim{fmt.Sprintf("%s:%d", file, n), other + " " + rest})
				} else {
					claims = append(claims, claim{fmt.Sprintf("%s:%d", file, n), page + " " + id})
				}
			}
		}
	}
	return claims
}

// Every row of the contract has a case or says why not, and every case names
// rows that are there. Needs no lab: it runs with the unit tests.
func TestIndex(t *testing.T) {
	rows, claims := readIndex(t), readClaims(t)
	known := map[string]*row{}
	for i := range rows {
		r := &rows[i]
		if known[r.id] != nil {
			t.Errorf("%s: %s is listed twice", r.at, r.id)
		}
		known[r.id] = r
	}
	shown := map[string][]string{}
	for _, c := range claims {
		if known[c.id] == nil {
			t.Errorf("%s: names the row %q, which no index lists", c.at, c.id)
		}
		shown[c.id] = append(shown[c.id], c.at)
	}
	for _, r := range rows {
		part := elsewhereMark.FindStringSubmatch(r.mark)
		switch {
		case part != nil:
			if !testExists(part[1], part[2]) {
				t.Errorf("%s: no %s in the tests of %s", r.at, part[2], part[1])
			}
		case r.mark == "" && len(shown[r.id]) == 0:
			t.Errorf("%s: no case shows the row %s (%s)", r.at, r.id, r.words)
		case r.mark != "" && !laterMark.MatchString(r.mark) && !factMark.MatchString(r.mark):
			t.Errorf("%s: want later:, elsewhere: or fact:, have %q", r.at, r.mark)
		case laterMark.MatchString(r.mark) && len(shown[r.id]) > 0:
			t.Errorf("%s: marked %q, but shown at %v", r.at, r.mark, shown[r.id])
		}
	}
	count := func(mark *regexp.Regexp) int {
		n := 0
		for _, r := range rows {
			if mark.MatchString(r.mark) {
				n++
			}
		}
		return n
	}
	t.Logf("%d rows: %d shown here, %d elsewhere, %d later, %d facts", len(rows), len(shown), count(elsewhereMark), count(laterMark), count(factMark))
}

func testExists(pkg, name string) bool {
	files, _ := filepath.Glob(filepath.Join("../../..", pkg, "*_test.go"))
	return slices.ContainsFunc(files, func(file string) bool {
		text, err := os.ReadFile(file)
		return err == nil && strings.Contains(string(text), "\nfunc "+name+"(")
	})
}
