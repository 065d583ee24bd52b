// Package producers is what a party embeds in its own system to speak to the
// ledger. A [Reporter] turns one report into one signed event and brings it
// into the log; an [Outbox] keeps events until the ledger has them, for days if
// need be; producers/intake turns a municipality's file into a report, and
// answers a 登録 by itself.
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
// knows, but that it will be sent when it is [ErrKeptHere]; any other means that it is not in the ledger and was not written by
// any attempt of this call.
//
// P4. Nothing that [Outbox.Keep] took is lost: when it returns nil, the record
// is on the disk, and it stays there, in the same bytes, until it is proven to
// be under the ledger's seal. What cannot be kept is refused at once and whole.
//
// P5. The entries of one aggregate are sent in order of keeping, each after the
// ledger has answered for the one before it, with a receipt or a refusal. No
// answer, however long, is neither. What the ledger lost is sent again before
// what was never sent.
//
// P6. An entry is *in the ledger* only with a receipt of this ledger for this
// event, and *refused* only with a refusal. Nothing else ends its sending.
//
// P7. No byte is handed out or sent that is not the one that was kept: opening
// reads the whole file and refuses one that has lost, changed or gained
// anything, and every later read of an entry is checked again.
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
// # The outbox
//
// An outbox belongs to one party and one ledger, and one process at a time has
// its file. An entry is
//
//	kept here      durable here; the ledger has not answered
//	in the ledger  it has a receipt
//	refused        the ledger refused it, for good; shown with code and sentence
//	sealed         proven to be under the seal, forgotten, and only counted
//
// and goes from the first to one of the next two by [Outbox.Pass] or
// [Outbox.Run], and from *in the ledger* by [Outbox.Settle]. That is a question to
// OutboxConfig.Sealed with three answers: not yet; proven, that is, an
// inclusion proof of the entry's own leaf verifies under a checkpoint that is
// consistent with the last accepted one, and the entry is forgotten; disproved,
// and the entry is kept here again and sent again in the same bytes, with the
// receipt that did not hold among its earlier ones. Without a Sealed nothing is
// ever forgotten.
//
// The file is a bbolt database of two buckets. In state stands, under outbox,
// whose it is and how much it must hold; in entries stands each entry under its
// number in the order of keeping, as eight big-endian bytes, from 1, never used
// again. All indexes are made when it is opened. A value is
//
//	SHA-256(domain ‖ key ‖ content) ‖ content
//
// with the domain todoke/outbox/state and no key, or todoke/outbox/entry and the
// entry's key. The content is msgpack in its shortest form, a time is
// nanoseconds since 1970:
//
//	state  [format = 1, party, ledger id, next number, kept here, in the ledger,
//	        refused, sealed, bytes of the records]
//	entry  [state (0, 1, 2 in the order above), time of keeping, subject,
//	        [header name, value, …] by name, body,
//	        [[incarnation, sequence, record time, duplicate], …],
//	        [refusal's code, sentence]]
//
// The receipts are in the order in which they came; of an entry in the ledger,
// the last one holds. None has a hash of the leaf to be proven: the leaf follows
// from the record, the sequence and the record time. Every change of an entry replaces the state too, in the same
// transaction, so that an entry that is gone is seen to be gone.
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
// With an outbox:
//
//   - while it is made: there is no outbox, or an empty one, as for a key;
//   - before the record is on the disk: nothing is kept, and nobody was told
//     that anything is;
//   - after that, and before it is sent: it is sent after the next start, even
//     when the caller did not live to hear of it; reporting it again with the
//     same slip finds the entry;
//   - after it is sent, and before the answer is on the disk: it is sent again,
//     and the ledger answers that it is there, at the same sequence;
//   - between answers and the disk, several at once: as if none had come;
//   - while an entry is forgotten, or taken back: it is as it was, and Sealed is
//     asked again.
//
// A write that fails leaves everything as it was and is tried again; when the
// disk says that it failed and the file holds it all the same, the outbox takes
// nothing more until it is opened again, and looks what is there.
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
//
// 2026-11-22: The outbox's file has one bucket of entries and no index. Opening
// reads every byte anyway, because bbolt checks none of its pages: an index on
// the disk would be a second thing that can be wrong, and cost a page in every
// write. It takes about a second for 100,000 entries, and 150 bytes of memory
// for each that the ledger has, 200 for each that it has not. We would change it
// for outboxes of many gigabytes.
//
// 2026-11-22: Opening checks, in this order: both heads of the file (bbolt takes
// the older one in silence when the newer is damaged, and what was kept last
// would be gone), every entry by walking and by looking it up, the sums, which
// pages a page claims, and then bbolt's own check of pages, which may only see
// what is known to be there: it runs where nobody can catch its faults. Panics and
// faults of bbolt become [ErrDamaged] in that one place. Thousands of flipped bits
// found what bbolt's check leaves out; a new version of bbolt is to be tried with
// as many.
//
// 2026-11-22: An entry is held against its SHA-256 and not against the author's
// signature: the sum finds damage a hundred times faster, the ledger checks the
// signature of whatever it is sent, and whoever can write both file and sum can
// read the party's key beside it.
//
// 2026-11-22: There is one pause for the whole outbox and not one for each
// batch: what ails an attempt is nearly always the ledger or the way to it, and
// a gateway that is days behind with a thousand batches asks once, not a
// thousand times. While there is no answer one entry at a time finds out; the
// batches take turns, so that one that the ledger cannot answer for does not hold
// up the others.
package producers
