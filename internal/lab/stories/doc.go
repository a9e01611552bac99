// Package stories tells what operators live through, one file a story, with
// real etcd, PostgreSQL and agents. It holds tests only: `make short` runs
// those marked short, `make lab` all.
package stories
