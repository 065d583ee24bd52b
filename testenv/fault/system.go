package fault

import (
	"os"
	"testing"
)

// systemVariable is set where every tool is there and no test may be skipped.
const systemVariable = "TODOKE_SYSTEM"

// skip ends a test that cannot run here.
func skip(tb testing.TB, format string, args ...any) {
	tb.Helper()
	if os.Getenv(systemVariable) != "" {
		tb.Fatalf(format, args...)
	}
	tb.Skipf(format, args...)
}
