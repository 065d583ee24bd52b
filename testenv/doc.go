// Package testenv is what tests of every room stand on. It never ships.
//
//   - [Log] is a ledger in memory: honest, because it keeps the append contract
//     of [ledger.Log] to the letter, and hostile, because it uses every freedom
//     that the contract leaves: see [Fault]. It scolds callers that break the
//     contract.
//   - [RunLog] is the contract as a test suite. Every implementation passes it,
//     the one in memory too.
//   - [CheckLedger] reads a whole ledger and says what is wrong with it. It ends
//     every test that appended something.
//   - [Clock], [Key], [Sign] and the builders beside them make time, keys and
//     records that are the same in every run.
//
// # Worked example
//
//	log := testenv.NewLog(testenv.Config{T: t})
//	log.Arm(testenv.Written) // the next append is stored, and answered with ErrUnknown
//	claim := testenv.Claim(t, log.ID(), "131229-20151005-0042", "slip", items)
//	_, err := log.Append(ctx, claim)     // errors.Is(err, ledger.ErrUnknown)
//	receipt, err := log.Append(ctx, claim) // nil, receipt.Duplicate
//	testenv.CheckLedger(t, log)
//
// # Decisions
//
// 2026-11-22: Faults come in pairs that a caller cannot tell apart: not written
// and written, both answered with the same error. A caller that treats an
// unknown outcome as a failure is wrong in one of the two, one that treats it as
// a success in the other.
//
// 2026-11-22: Scolding marks the test as failed and answers with an error that
// is no outcome of the contract; it does not stop the goroutine, since callers
// append from goroutines of their own.
package testenv
