package fault

import "syscall"

// callsKnown says that a program can be traced on this processor.
const callsKnown = true

// renameat2 is a call that the syscall package is too old for.
const renameat2 = 316

// shapeOf returns the shape of a call by its number.
func shapeOf(n uint64) shape {
	switch n {
	case syscall.SYS_OPEN:
		return shape{"open", 0, path}
	case syscall.SYS_OPENAT:
		return shape{"open", 1, pathAt}
	case syscall.SYS_WRITE, syscall.SYS_PWRITE64, syscall.SYS_WRITEV, syscall.SYS_PWRITEV:
		return shape{"write", 0, descriptor}
	case syscall.SYS_FSYNC, syscall.SYS_FDATASYNC:
		return shape{"sync", 0, descriptor}
	case syscall.SYS_FTRUNCATE, syscall.SYS_FALLOCATE:
		return shape{"truncate", 0, descriptor}
	case syscall.SYS_RENAME:
		return shape{"rename", 0, path}
	case syscall.SYS_RENAMEAT, renameat2:
		return shape{"rename", 1, pathAt}
	case syscall.SYS_UNLINK, syscall.SYS_RMDIR:
		return shape{"remove", 0, path}
	case syscall.SYS_UNLINKAT:
		return shape{"remove", 1, pathAt}
	case syscall.SYS_MKDIR:
		return shape{"mkdir", 0, path}
	case syscall.SYS_MKDIRAT:
		return shape{"mkdir", 1, pathAt}
	case syscall.SYS_LINK:
		return shape{"link", 0, path}
	case syscall.SYS_LINKAT:
		return shape{"link", 1, pathAt}
	}
	return shape{}
}

func number(regs *syscall.PtraceRegs) uint64 { return regs.Orig_rax }

func argument(regs *syscall.PtraceRegs, i int) uint64 {
	return [...]uint64{regs.Rdi, regs.Rsi, regs.Rdx, regs.R10, regs.R8, regs.R9}[i]
}

// setCall puts another call in place of the one that begins; -1 is none.
func setCall(regs *syscall.PtraceRegs, n int) { regs.Orig_rax = uint64(n) }

// setResult is what the call that ends returns.
func setResult(regs *syscall.PtraceRegs, err syscall.Errno) { regs.Rax = -uint64(err) }
