package provider

import "strings"

// Matches reports whether a pattern covers an id: `*` is one component, `**` is
// any number of them.
func Matches(pattern, id string) bool {
	return matches(strings.Split(pattern, "/"), strings.Split(id, "/"))
}

func matches(pattern, id []string) bool {
	if len(pattern) == 0 {
		return len(id) == 0
	}
	if pattern[0] == "**" {
		for skipped := 0; skipped <= len(id); skipped++ {
			if matches(pattern[1:], id[skipped:]) {
				return true
			}
		}
		return false
	}
	if len(id) == 0 || (pattern[0] != "*" && pattern[0] != id[0]) {
		return false
	}
	return matches(pattern[1:], id[1:])
}
