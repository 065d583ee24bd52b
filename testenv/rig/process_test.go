package rig

import (
	"os"
	"testing"
)

// TestMain lets the test binary be one of the processes that trials start.
func TestMain(m *testing.M) {
	if something, status := Child(os.Stdout); something {
		os.Exit(status)
	}
	os.Exit(m.Run())
}

func TestCrashPointsHaveNames(t *testing.T) {
	names := make(map[string]bool)
	for _, p := range points() {
		if names[p.String()] {
			t.Errorf("%s is there twice", p)
		}
		names[p.String()] = true
	}
	if len(names) < 60 {
		t.Errorf("there are %d points, want 60 or more", len(names))
	}
}
