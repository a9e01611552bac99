package dcs

import "strings"

// membersDir is the directory of member keys below the base.
const membersDir = "members/"

// keyOptimeLeader is the progress report of leaders before Patroni 2.1: read
// while KeyStatus is absent, never written.
const keyOptimeLeader Key = "optime/leader"

// Base returns the key every key of the scope starts with, without a slash at
// the end: "/service/demo". Repeated slashes collapse (contract:
// dcs-layout.md section 1).
func Base(namespace, scope string) string {
	parts := strings.FieldsFunc(namespace+"/"+scope, func(r rune) bool { return r == '/' })
	return "/" + strings.Join(parts, "/")
}

// Prefix returns what all keys of the scope, and no key of another one, start
// with: the base and a slash.
func Prefix(namespace, scope string) string { return Base(namespace, scope) + "/" }

// MemberKey is the key of a member, below the scope.
func MemberKey(name string) Key { return Key(membersDir + name) }

// memberName returns the name in a member key; ok is false for any other key
// (members/a/b is none).
func memberName(k Key) (name string, ok bool) {
	name, ok = strings.CutPrefix(string(k), membersDir)
	return name, ok && name != "" && !strings.Contains(name, "/")
}
