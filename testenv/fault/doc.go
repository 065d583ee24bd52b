// Package fault makes real things fail on purpose: connections, processes,
// system calls and disks. Nothing in it is simulated, so that what passes here
// has passed on the kernel that it will run on.
//
//   - [Proxy] stands between two programs and holds back, loses or cuts what
//     they say to each other, in one direction or in both.
//   - [Process] is a program that can be killed and paused at any moment. [Self]
//     makes the test binary itself that program.
//   - [Traced] is a process whose system calls on the files under one folder
//     are counted. The n-th of them fails, or the program is killed just before
//     it: each write, sync and rename of a run is a crash point by its number.
//   - [Disk] is a small file system of its own that can be filled up and freed.
//
// Everything ends with the test that started it. What a program said is printed
// when the test has failed.
//
// # What needs more than a user has
//
// A [Disk] has to be mounted by root; a [Traced] process may be forbidden where
// containers are kept on a short leash. A test that cannot have them is skipped
// and says why. With TODOKE_SYSTEM=1 in the environment it fails instead:
// nothing is left out in silence where it was meant to run.
//
// # Worked example
//
//	server := fault.Start(t, fault.Self(t, "TODOKE_TEST_CHILD="+dir))
//	address := server.Line()              // it is ready: it has printed this
//	proxy := fault.NewProxy(t, address)   // clients connect to proxy.Address()
//	proxy.Hold(fault.ToClient)            // the broker stores, and nobody hears of it
//	server.Kill9()
//
// All crash points of a run, after it has been counted once:
//
//	run := func(plan fault.Tampering) []fault.Call {
//		p := fault.StartTraced(t, fault.Self(t, "TODOKE_TEST_CHILD="+dir), plan)
//		_ = p.Wait()
//		return p.Calls()
//	}
//	for n := range run(fault.Tampering{Under: dir}) {
//		run(fault.Tampering{Under: dir, Nth: n + 1}) // then look at what is there
//	}
//
// # Decisions
//
// 2026-11-22: What is dropped on a connection breaks the connection when it goes
// on again: TCP never loses a piece out of the middle, and a program that met
// such a stream would fail in a way that no network makes it fail.
//
// 2026-11-22: A tracer of our own (ptrace) and not strace -e inject. strace counts
// the calls of each thread by themselves, and ten syncs of a Go program were seen
// on ten threads, so that its "third sync" may be any or none; it also selects
// single files and no folders. Ours counts the whole program in the order in which
// its calls begin, and needs nothing installed. It costs a broker that syncs every
// message less than a factor of five. If something is needed that it does not do
// (delays, other processors than amd64), strace is the way.
package fault
