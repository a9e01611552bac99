// Package chaos is for tests only: it hurts a cluster in random ways for as
// long as it is told to (`make chaos TIME=30m`), with clients that keep a log
// of what was acknowledged to them, and compares afterwards.
//
// What happens when, in a round (round.go): clients start (clients.go), faults
// begin and end as the plan says (plan.go, catalogue.go), everything is
// repaired and the cluster must become whole by itself (scene.go), the clients'
// logs are compared with the new primary's table (checker.go), and the round
// becomes a line of the report (report.go).
//
// A plan is made of a seed and the catalogue: the same SEED, FAULTS, HARSH and
// LOAD give the same rounds until a fault is added, and ROUND repeats one of
// them. What the machine does in between differs from run to run.
//
// To add a fault, add it to the catalogue; nothing else has to know of it.
package chaos
