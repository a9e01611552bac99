package config

import (
	"strings"
	"testing"
)

// TestGateSetting: three words, a boolean stands for one of them, and the
// agent refuses anything else: a gate that is not there because of a typing
// error would be missed on the day it is needed.
func TestGateSetting(t *testing.T) {
	for written, want := range map[string]string{
		"{}": "auto", "{gate: auto}": "auto", "{gate: true}": "on", "{gate: no}": "off", "{gate: 'On'}": "on",
		"{gate: required}": `pgha.gate: "required" is neither auto, on nor off`, "{gate: 1}": `pgha.gate: "1" is neither auto, on nor off`,
	} {
		l, err := loadText(t, "pgha: "+written+"\n")
		if err != nil {
			t.Fatal(err)
		}
		got := l.Pgha.Gate
		if len(l.agentErrors) > 0 {
			got = l.agentErrors[0].Error()
		}
		if got != want && !(strings.Contains(want, " ") && strings.Contains(got, want)) {
			t.Errorf("%s: %s, want %s", written, got, want)
		}
	}
}
