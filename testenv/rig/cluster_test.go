package rig

import (
	"fmt"
	"testing"
	"time"
)

func TestClusterZZ(t *testing.T) {
	for s := uint64(0); s < 6; s++ {
		t.Run(fmt.Sprint(s), func(t *testing.T) {
			began := time.Now()
			clusterRows()[0].Run(t, s)
			t.Log(time.Since(began))
		})
	}
}
