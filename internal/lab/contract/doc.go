// Package contract holds the contract of REST, ctl and metrics as data and
// walks it against a live cluster: testdata/*.index lists every row of the
// contract's pages, testdata/*/*.txt the cases, each with the rows it shows.
// It holds tests only. See testdata/README.md for how a case is written.
package contract
