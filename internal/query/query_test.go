package query

import (
	"testing"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"
)

func TestValue(t *testing.T) {
	for _, tc := range []struct {
		oid  uint32
		text string
		want any
	}{
		{pgtype.BoolOID, "t", true},
		{pgtype.BoolOID, "f", false},
		{pgtype.Int8OID, "-9223372036854775808", int64(-9223372036854775808)},
		{pgtype.Float8OID, "1.5", 1.5},
		{pgtype.NumericOID, "1.50", "1.50"}, // exact: no float
		{pgtype.TextOID, "1", "1"},
		{pgtype.DateOID, "2031-02-03", "2031-02-03"},
	} {
		if got := value(tc.oid, tc.text); got != tc.want {
			t.Errorf("%d %q: got %#v, want %#v", tc.oid, tc.text, got, tc.want)
		}
	}
}

// A value must never end its quotes and become a keyword of its own.
func TestQuoteSurvivesParsing(t *testing.T) {
	for _, text := range []string{`plain`, `with blank`, `it's`, `back\slash`, `' host='evil`, `\'`, ``} {
		config, err := pgconn.ParseConfig("host=h user=u password=" + quote(text))
		if err != nil {
			t.Errorf("%q: %v", text, err)
			continue
		}
		if config.Password != text && text != "" || config.Host != "h" {
			t.Errorf("%q became %q at host %q", text, config.Password, config.Host)
		}
	}
}
