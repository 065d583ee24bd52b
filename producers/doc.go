// Package producers is what a party embeds in its own system to speak to the
// ledger. A [Reporter] turns one report into one signed event and brings it
// into the log; producers/intake turns a municipality's file into such a
// report, and answers a 登録 by itself.
//
// # From a report to an event
//
// A [Report] says what the party did or received: a kind, a batch, and the
// items or their number. The reporter fills in what follows from that and
// nothing else:
//
//   - Flow: notification-card/1.
//   - Items of a claim, and of an acknowledgement with a root: 1-Count, when
//     only Count is given. Count: the number of Items, when only those are.
//   - Basis of an acknowledgement: root when there is a root, else items when
//     there are items, else count.
//   - Slip: a random key, made once for the call.
//
// It then draws a salt, takes its clock's time, signs with the party's key and
// appends. What the ledger may refuse from the event alone is refused before
// anything is sent; see [ledger.Admit].
//
// # Invariants
//
// P1. One call of [Reporter.Report] is one event id. Every attempt of that
// call sends the same bytes: same id, salt, time and signature.
//
// P2. Two calls with the same party, batch, kind and non-empty Slip have the
// same event id. The second gives the first one's receipt with Duplicate set,
// or [ledger.ErrIDReused] when it says something else.
//
// P3. A nil error means that the event is durable at the receipt's sequence.
// An error that is [ledger.ErrUnknown], or the context's, means that nobody
// knows; any other means that it is not in the ledger and was not written by
// any attempt of this call.
//
// # Worked example
//
// registry:jlis reports the 登録 of 5,228 items whose content it recomputed:
//
//	Report{Kind: ledger.ImportRegistered, Batch: "131229-20151005-0042", Count: 5228, Root: root}
//
// becomes, in the aggregate 131229.131229-20151005-0042, import.registered
// with the items 1-5228, count 5228, the root and the basis root.
//
// # What a crash means
//
// A crash before the log has answered leaves an outcome that nobody knows. A
// report with a Slip that its system keeps (a slip number, a file digest) is
// simply made again: P2. A report without one must not be made again before
// somebody has looked, since the ledger takes it for a second event.
// [LocalKey] leaves either no key file or a whole one; at worst a second name
// of it that nothing reads.
//
// # Decisions
//
// 2026-11-22: The seam between a report and the log is [Appender], one method
// and an id. [ledger.Log] and the client satisfy it, and so can anything that
// keeps an event until the ledger has it. The reporter therefore knows nothing
// of connections, and its retries are bounded by the caller's context alone.
//
// 2026-11-22: Waits between attempts have full jitter: uniformly random up to a
// bound that doubles from 0.1 s to 5 s. A thousand gateways that lost the same
// ledger do not come back in step, and five seconds are short beside the 10 s
// that a cluster may need for a new leader.
//
// 2026-11-22: A seed is put in place with link(2) and not rename(2): a link
// fails when the name is taken, so that two programs that start for the first
// time together end up with the same key. We would change it for a file system
// without hard links.
package producers
