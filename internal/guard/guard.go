// Package guard is another process: PostgreSQL's parent, which holds the
// lease deadline and kills the whole tree when it passes.
package guard
