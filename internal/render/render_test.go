package render

import (
	"strings"
	"testing"

	"pgha/internal/config"
)

func shop() Table {
	return Table{
		Title: "Cluster: shop (7500000000000000001)", OmitEmpty: true,
		Columns: []Column{{Key: "Cluster", MachineOnly: true}, {Title: "Member"}, {Title: "TL", Right: true}, {Title: "Lag", Key: "Replay Lag", Right: true}, {Title: "Tags"}},
		Rows: [][]any{
			{"shop", "db1", 3, nil, nil},
			{"shop", "db2", 3, int64(6), map[string]any{"dc": "North", "clonefrom": true}},
		},
	}
}

func TestWrite(t *testing.T) {
	empty := shop()
	empty.Rows = nil
	noTags := shop()
	noTags.Rows[1][4] = nil
	for _, tc := range []struct {
		name   string
		table  Table
		format Format
		want   string
	}{
		{"pretty, a row of several lines", shop(), Pretty, `
+ Cluster: shop (7500000000000000001) +
| Member | TL | Lag | Tags            |
+--------+----+-----+-----------------+
| db1    |  3 |     |                 |
+--------+----+-----+-----------------+
| db2    |  3 |   6 | clonefrom: true |
|        |    |     | dc: North       |
+--------+----+-----+-----------------+
`},
		{"json", shop(), JSON, `
[{"Cluster": "shop", "Member": "db1", "TL": 3}, {"Cluster": "shop", "Member": "db2", "TL": 3, "Replay Lag": 6, "Tags": {"clonefrom": true, "dc": "North"}}]
`},
		{"json, empty", empty, JSON, "\n[]\n"},
		{"yaml, empty", empty, YAML, "\n[]\n\n"},
		{"tsv, empty", empty, TSV, "\nCluster\tMember\tTL\tReplay Lag\tTags\n"},
		{"tsv", shop(), TSV, "\nCluster\tMember\tTL\tReplay Lag\tTags\nshop\tdb1\t3\t\t\nshop\tdb2\t3\t6\t{clonefrom: true, dc: North}\n"},
		{"yaml", shop(), YAML, `
- Cluster: shop
  Member: db1
  TL: 3
- Cluster: shop
  Member: db2
  Replay Lag: 6
  TL: 3
  Tags:
    clonefrom: true
    dc: North

`},
		{"topology writes tags on one line", shop(), Topology, `
+ Cluster: shop (7500000000000000001) -------------+
| Member | TL | Lag | Tags                         |
+--------+----+-----+------------------------------+
| db1    |  3 |     |                              |
| db2    |  3 |   6 | {clonefrom: true, dc: North} |
+--------+----+-----+------------------------------+
`},
		{"pretty, empty", empty, Pretty, `
+ Cluster: shop (7500000000+
| Member | TL | Lag | Tags |
+--------+----+-----+------+
+--------+----+-----+------+
`},
		{"pretty, title is cut", noTags, Pretty, `
+ Cluster: shop (7500000000+
| Member | TL | Lag | Tags |
+--------+----+-----+------+
| db1    |  3 |     |      |
| db2    |  3 |   6 |      |
+--------+----+-----+------+
`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var b strings.Builder
			if err := Write(&b, tc.format, tc.table); err != nil {
				t.Fatal(err)
			}
			if got := "\n" + b.String(); got != tc.want {
				t.Errorf("got:%s\nwant:%s", got, tc.want)
			}
		})
	}
}

// What stands in a cell reaches no terminal as a command to it.
func TestControlCharactersAreShown(t *testing.T) {
	table := Table{Title: "a\x1b]0;x\a", Columns: []Column{{Title: "Member"}}, Rows: [][]any{{"\x1b[2Jred\r\u009b"}}}
	var b strings.Builder
	if err := Write(&b, Pretty, table); err != nil {
		t.Fatal(err)
	}
	if strings.ContainsAny(b.String(), "\x1b\r\a\u009b") || !strings.Contains(b.String(), `\x1b[2Jred\r\u009b`) {
		t.Errorf("got %q", b.String())
	}
}

// What is printed as YAML (show-config, edit-config) is read back as the same
// document, by the parser that reads people's edits.
func FuzzYAMLRoundTrip(f *testing.F) {
	for _, s := range []string{`{"a":"on","b":"15","c":"1:30","d":"0777","e":"~","f":" x ","g":"a: b","h":"# c","i":"\u0085\u2028\ufeff","j":""}`,
		`{"":[],"x":{},"y":[[],{}],"z":[{"a":[1,2.5,null,true]}],"long":"` + strings.Repeat("word ", 100) + `"}`, `{"a":"line\nline\n","b":"\ttab","c":"'\"","d":"-","e":"?","f":"*a","g":1e300}`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		doc, err := config.ParseDocument(raw)
		if err != nil {
			return
		}
		text := EncodeYAML(doc.Map())
		again, err := config.DocumentFromYAML([]byte(text), "f")
		if err != nil || !again.Equal(doc) {
			t.Fatalf("%s\nprinted\n%s\nread %s, %v", doc.Compact(), text, again.Compact(), err)
		}
	})
}
