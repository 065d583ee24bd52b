// Package ledger is what was said about batches of identity cards and what is
// still owed. It is pure: no broker, no clock, no goroutine, no logger, no
// randomness. Everything that decides or verifies is here and runs in
// microseconds; what stores, sends and waits is in the packages around it.
//
// The three files to read first are this one, fold.go and
// consumers/watchdog/watchdog.go.
//
// # The model on one page
//
// A [Party] speaks. It may only claim its own work; only the next party's
// acknowledgement makes it true; and an acknowledgement that does not come is
// itself an event. A [Batch] is one municipality's items sent together; an item
// is one envelope, a number from 1, never a person. A [Flow] is the ordered
// changes of custody of one product; each is a [Hop] with two sides: the
// claimant says "I have done it", the acknowledger says "I have received it",
// with its own count or its own recomputed root.
//
// What is said is a [Record] of bytes, signed by its author, stored for ever at
// a sequence number by a [Log]. [Admit] refuses only what can be judged from the
// record alone. Everything that needs history is stored as said.
//
// [State.Apply] records what was said, batch by batch; it accepts every record
// and never fails. [Batch.Judge] derives from all words of a batch and the
// [Rules] in force what they amount to: who provably holds each item, which
// word is owed by whom until when ([Obligation]), and what contradicts what
// ([Anomaly]). Because the judgement is derived from all the words each time,
// the order in which parties happened to be on line does not matter: an
// acknowledgement that comes before its claim is parked, and the claimant then
// owes the claim. [Judgement.Decide] says which alerts to raise or close.
//
//	record ──Admit──▶ Log ──Apply──▶ State ──Judge──▶ Judgement ──Decide──▶ alert events ──▶ Log
//
// # How an acknowledgement weighs
//
// An acknowledgement moves custody of an item when the item was claimed (if
// claims are watched at that hop) and
//
//   - its basis is at least the required one. Basis root: the receiver recomputed
//     the root of exactly the items that the sender declared, and it is equal. A
//     root over other items cannot be checked here and counts as items. Basis
//     items: it names each. Basis count: its number is the sum of the claims up
//     to some claim, in the claimant's own order; it acknowledges those.
//   - its grade, min(declared, the maximum for role, kind and basis), is at
//     least the required one.
//   - it is independent, item by item: neither its speaker nor its author belong
//     to the organisation that claimed the item. Who holds the paper and counted it
//     (grade 3) may be of that organisation, if it says so itself. Otherwise the
//     municipality's gateway must have confirmed the item against its own manifest;
//     until then it is heard, not acknowledged: 社内確認のみ. A confirmation written
//     by either side of the hop is none.
//
// A number that is the sum of no claims and below what is claimed, or above the
// batch, a root that differs, and a dispute by the municipality are
// contradictions: the obligation does not wait for its due time, and where nothing
// was open any more, its speaker owes a correction at once. Another number above
// what is claimed is early: the claimant owes the rest.
//
// # Invariants
//
// [Judgement.Check] asserts these.
//
//	I1  Every item of a batch is with exactly one party.
//	I2  What a hop has acknowledged is with its acknowledger or further on.
//	I3  Nothing moves without an acknowledgement, nor, where claims are watched,
//	    without a claim.
//	I4  Every obligation is about some items, owed by somebody, not due before it
//	    began, and there once.
//	I5  No silent state: an item that has passed a watched moment and not the
//	    last one is in some obligation.
//
// And of a stored ledger: sequence numbers begin at 1 without a gap (I6), record
// times never decrease (I7), no event id is there twice (I8), and each start counts
// up by one and stands right behind the head that it names (I9).
//
// # Events as bytes
//
// Subject: ledger.v1.<municipality>.<aggregate>.<stage>.<fact>, each token
// [a-z0-9-]{1,48}. The municipality is six digits with a check digit, 000000 for
// what is national.
//
// Headers: Todoke-Id (32 hex digits, see [NewID]), -Kind (<stage>.<fact>/<version>),
// -Party (author), -Key (the author's public key in nkey form), -Salt (32 hex
// digits at random), -Sent (the author's clock), -Sig (unpadded base64 of the
// Ed25519 signature over the digest that [New] describes), and -Time, set by the
// committer: the record time, on which all deadlines rest. Times are UTC with
// nine decimals: [TimeFormat].
//
// Body: a msgpack map, keys of one letter in this order, absent when zero:
//
//	m municipality  a aggregate    f flow      s speaker   i items    n count
//	r root (32 B)   b basis        g grade     d document  t towns    p posting
//	q reason        h hop          e side      u due       o reopen   c cause
//	w owed by       x claimed by   y claimed at            z holder   v evidence
//	l ledger (16 B) j story        k rule pack
//	I incarnation   P previous     H head
//	S since         W who
//
// Integers are in their shortest form; times are nanoseconds since 1970 UTC.
// Items are an array of pairs: how many numbers are left out, how many follow;
// 1-551,560 is [0 551 8 1]. A document is [kind, date, digest]; a town is
// [name, count, items]. basis: 1 count, 2 items, 3 root. grade: 0 inferred,
// 1 self-asserted, 2 counterparty-asserted, 3 physical count, 4 cryptographic
// receipt. side: 1 claim, 2 acknowledgement, 3 confirmation. cause: 1 absence,
// 2 contradiction, 3 unreadable. A body has at most 512 KiB. For example, a
// registry that received 551 items and no more:
//
//	{m:"131229" a:"131229-20151005-0042" f:"notification-card/1" i:[0 551] n:551 b:2}
//
// # Decisions
//
// 2026-11-22: The fold keeps words and derives the judgement from all of them,
// instead of folding each word into sets. Sets folded one by one depend on the
// order across parties as soon as a count is involved (a count acknowledges what
// was claimed when?), and every such case would need its own parking rule. A
// batch has tens of words, so deriving again costs microseconds. If batches with
// thousands of words become common, cache the judgement per hop.
//
// 2026-11-22: A bare count is cumulative and is held against the sums of claims
// in the claimant's own order. This is the one reading that is monotone (what it
// acknowledged stays acknowledged when more is claimed) and independent of the
// order across parties.
//
// 2026-11-22: There is a third side, confirmation, beside claim and
// acknowledgement. Where both parties of a hop are one house the word that is
// owed is the municipality's, from when the acknowledgement was heard; an alert
// that named the registry would send the operator to the wrong door.
//
// 2026-11-22: import.disputed joins the list of kinds. The gateway that finds
// another content behind a 登録 than it sent must be able to say so; to let
// import.confirmed carry a deviating root would be a confirmation that is none.
//
// 2026-11-22: An item of an obligation has one open alert. A contradiction that
// comes while the absence is alerted already shows in the batch and raises no second
// one; items that join the same due time later, and that nobody was told of, do. A
// contradiction that comes after the discharge opens an obligation of its own, due at once, which
// ends when its speaker has said it right. The other anomalies (weak evidence, a
// second claimant, a claim of what is not held, a clock ahead) alert nobody by
// themselves: they leave the obligation open that they fail to discharge, and its
// due time alerts.
//
// 2026-11-22: An alert about an acknowledgement closes when its items are
// acknowledged, not when they are heard: a number from the claimant's own house
// would otherwise close the alert that only the 登録 may close.
//
// 2026-11-22: An alert is raised when its due time is over. Packs have no grace
// yet, so nothing is called overdue: past due is late. Paging after grace comes
// with the alert's life cycle.
//
// 2026-11-22: A decision has up to 64 events of one aggregate, which land one right
// behind the other or not at all; 64 keeps it within one group of the committer.
//
// 2026-11-22: Facts stop at 3,840 of an aggregate's 4,096 events. A party that
// talks without end could otherwise leave no room for the alert about it.
//
// 2026-11-22: A set of items stays ascending ranges in memory too, and set
// algebra merges them; Roaring only collects numbers that come in any order. Most
// sets are one range, for which making a bitmap costs more than the merge, and
// bitmaps built from many ranges were slower by far: the missing items of a batch
// of a million with 100,000 holes took 1.1 ms against 2.8 s, of 5,000 items 4.3 µs
// against 1.9 ms, side by side (make bench BENCH=Missing PKG=./ledger measures
// today's). Sets of single items all over a large batch would change our mind.
//
// 2026-11-22: The kinds of delivery, return, id-card/1, refusals, promises and
// the events around the hops have their names and codes and no schema yet. Such
// an event is refused on the way in, and a batch that holds one is not judged.
package ledger
