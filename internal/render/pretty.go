package render

import (
	"fmt"
	"strconv"
	"strings"
	"unicode"

	"github.com/olekukonko/tablewriter"
	"github.com/olekukonko/tablewriter/renderer"
	"github.com/olekukonko/tablewriter/tw"
)

// pretty draws the ASCII table (contract: ctl.md section 3, "Table drawing").
func pretty(t Table, format Format) (string, error) {
	heading, align, rows := visible(t, format)
	if len(heading) == 0 {
		return "", nil
	}
	between := tw.Off // a border after every row as soon as one has several lines
	if strings.Contains(strings.Join(flatten(rows), ""), "\n") {
		between = tw.On
	}
	body := rows
	if len(rows) == 0 { // tablewriter draws no heading border without a row
		body = [][]string{make([]string, len(heading))}
	}
	var b strings.Builder
	columns := tw.CellAlignment{PerColumn: align}
	table := tablewriter.NewTable(&b,
		tablewriter.WithRenderer(renderer.NewBlueprint(tw.Rendition{
			Symbols:  tw.NewSymbols(tw.StyleASCII),
			Settings: tw.Settings{Separators: tw.Separators{BetweenRows: between}},
		})),
		tablewriter.WithHeaderAutoFormat(tw.Off), // else upper case
		tablewriter.WithHeaderAlignmentConfig(columns), tablewriter.WithRowAlignmentConfig(columns),
		tablewriter.WithHeaderAutoWrap(tw.WrapNone), tablewriter.WithRowAutoWrap(tw.WrapNone),
		tablewriter.WithTrimSpace(tw.Off))
	table.Header(heading)
	if err := table.Bulk(body); err != nil {
		return "", fmt.Errorf("draw table: %w", err)
	}
	if err := table.Render(); err != nil {
		return "", fmt.Errorf("draw table: %w", err)
	}
	lines := strings.Split(b.String(), "\n")
	if len(rows) == 0 {
		lines = append(lines[:3], lines[4:]...)
	}
	lines[0] = overlay(lines[0], Printable(t.Title))
	return strings.Join(lines, "\n"), nil
}

// Printable escapes control characters but line breaks and tabs: names and
// texts out of the DCS or a database are shown to a person's terminal.
func Printable(text string) string {
	odd := func(r rune) bool { return unicode.IsControl(r) && r != '\n' && r != '\t' }
	if strings.IndexFunc(text, odd) < 0 {
		return text
	}
	var b strings.Builder
	for _, r := range text {
		if odd(r) {
			b.WriteString(strings.Trim(strconv.QuoteRune(r), "'"))
		} else {
			b.WriteRune(r)
		}
	}
	return b.String()
}

// overlay writes the title over the border, right after its first corner.
func overlay(border, title string) string {
	if title == "" {
		return border
	}
	text := []rune(" " + title + " ")
	if limit := len(border) - 2; len(text) > limit {
		text = text[:limit]
	}
	return border[:1] + string(text) + border[1+len(text):]
}

func visible(t Table, format Format) (heading []string, align []tw.Align, rows [][]string) {
	for _, c := range t.Columns {
		if c.MachineOnly {
			continue
		}
		heading = append(heading, c.Title)
		side := tw.AlignLeft
		if c.Right {
			side = tw.AlignRight
		}
		align = append(align, side)
	}
	for _, row := range t.Rows {
		var cells []string
		for i, v := range row {
			if !t.Columns[i].MachineOnly {
				cells = append(cells, Printable(cellText(v, format, t.NullText)))
			}
		}
		rows = append(rows, cells)
	}
	return heading, align, rows
}

func flatten(rows [][]string) []string {
	var all []string
	for _, row := range rows {
		all = append(all, row...)
	}
	return all
}
