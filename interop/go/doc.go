// Package interop holds programs for each role of the plugin protocol on
// HashiCorp's yamux and connect-go: plugin, access-control module, runtime,
// daemon and client, and one end of a bare session. Keyway is tested against
// them; the tests of this module run them against each other.
package interop
