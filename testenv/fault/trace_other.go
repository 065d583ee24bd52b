//go:build !amd64

package fault

import "syscall"

// callsKnown keeps [StartTraced] from what follows.
const callsKnown = false

func shapeOf(uint64) shape                         { return shape{} }
func number(*syscall.PtraceRegs) uint64            { return 0 }
func argument(*syscall.PtraceRegs, int) uint64     { return 0 }
func setCall(*syscall.PtraceRegs, int)             {}
func setResult(*syscall.PtraceRegs, syscall.Errno) {}
