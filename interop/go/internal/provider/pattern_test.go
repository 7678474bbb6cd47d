package provider

import "testing"

func TestPatternsMatchWholeComponents(t *testing.T) {
	cases := []struct {
		pattern, id string
		want        bool
	}{
		{"demo/hit", "demo/hit", true},
		{"demo/hit", "demo/hits", false},
		{"demo/*", "demo/hit", true},
		{"demo/*", "demo/many/0001", false},
		{"demo/**", "demo", true},
		{"demo/**", "demo/many/0001", true},
		{"**", "a/b/c", true},
		{"**/c", "a/b/c", true},
		{"**/b", "a/b/c", false},
		{"*", "", true},
	}
	for _, c := range cases {
		if got := Matches(c.pattern, c.id); got != c.want {
			t.Errorf("Matches(%q, %q) = %v, want %v", c.pattern, c.id, got, c.want)
		}
	}
}
