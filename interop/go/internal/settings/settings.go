// Package settings lets every flag be given in the environment as well: a
// launched plugin has no command line of its own.
package settings

import (
	"flag"
	"fmt"
	"os"
	"strings"
)

// Variable is the environment's name of a flag: `min-requests` is
// INTEROP_MIN_REQUESTS.
func Variable(flagName string) string {
	return "INTEROP_" + strings.ToUpper(strings.ReplaceAll(flagName, "-", "_"))
}

// Parse reads the environment and then the command line, which wins.
func Parse(flags *flag.FlagSet, args []string) error {
	var failed error
	flags.VisitAll(func(f *flag.Flag) {
		value, found := os.LookupEnv(Variable(f.Name))
		if !found || failed != nil {
			return
		}
		if err := f.Value.Set(value); err != nil {
			failed = fmt.Errorf("%s: %w", Variable(f.Name), err)
		}
	})
	if failed != nil {
		return failed
	}
	return flags.Parse(args)
}
