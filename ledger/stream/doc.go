// Package stream keeps a ledger in NATS JetStream. It is, with the gate and the
// producers' client, the only place that knows the broker.
//
// # A ledger's folder
//
//	lock        held by the one process that has the store open; its pid is inside
//	endpoint    how other processes of this machine reach a server; with a secret,
//	            readable by its owner only, there while the server listens
//	ledger      the ledger id; written last when a ledger is made, so that a folder
//	            with this file and without its events has lost them
//	jetstream/  the broker's store; nobody else opens it
//	keys/       keys made on this machine (producers.LocalKey)
//	gateway/    what a municipality's gateway keeps (producers/intake)
//
// # The stream
//
// One stream, LEDGER, holds everything. Its configuration is asserted whole at
// every start, field by field; a difference is [ledger.ErrDrift] and nothing is
// served.
//
//	subjects ledger.v1.>          all events, and nothing else
//	storage file, replicas 1      the embedded ledger; a cluster has 3
//	retention limits, all -1 or 0 no limit of any kind: nothing ever expires
//	discard new                   if a limit were set, it would refuse and not delete
//	deny delete, deny purge       cannot be taken back by an update
//	allow direct                  a record is read by its sequence without a consumer
//	allow atomic                  several events of one decision land together
//	duplicate window 100 ms       the smallest there is; no Nats-Msg-Id is ever set
//	no TTL, rollup, schedules,    each of them can delete or rewrite
//	transform, mirror, sources
//	no compression                a block is as readable to an outsider as to the broker
//	metadata todoke-ledger        the ledger id
//
// The server syncs every message before it answers (SyncAlways). The broker's
// default is a timer of two minutes behind the acknowledgement
// (https://github.com/nats-io/nats-server/issues/7564). Denying deletion does not
// stop an administrator from lowering a limit or deleting the stream; a gap is
// noticed by every reader, and what can prove a loss at the end is the seal.
//
// # The committer
//
// One goroutine at a time appends. It knows the last sequence, each aggregate's
// last event, every event id, and the last record time. For each event:
//
//	admit            ledger.Admit; a refusal ends here
//	id known?        the stored event is compared: same body, the receipt again;
//	                 another body, ErrIDReused
//	decision?        ErrConflict unless the aggregate is still at its head
//	aggregate full?  ErrFull at 4,096 events
//	record time      max(clock, last record time)
//	publish          with Nats-Expected-Last-Sequence = the last sequence
//
// What the broker answers, and what follows:
//
//	stored                    the event is on the disk: receipt
//	another API error         this attempt was not written; if no attempt before it
//	                          is in doubt: ErrUnavailable (10023: no space left)
//	10071, 10164, 10201,      this attempt was not written, an earlier one may have
//	10077                     been: look
//	no answer                 nobody knows: look
//
// To look is to read what follows the last sequence that is known. Our own event
// there is success. Somebody else's is ErrFenced, for ever: there is a second
// committer, and the first conflict throws one of the two out. Nothing there
// proves nothing, since the attempt may still be on its way: the same bytes are
// sent again with the same fence, which lets at most one of them in, until the
// context ends with ErrUnknown. An event left in doubt stays so until any event
// has taken the place that it was fenced to.
//
// A crash before the broker has stored leaves nothing. A crash after it leaves an
// event without a receipt: its author sends it again and is told where it is. A
// crash while a new ledger is made leaves a stream without, or with one of, its
// two opening events; the next start adds what is missing, under the same ids.
//
// # Story ledgers
//
// A ledger that was opened for a story is written with the story's clock. It says
// so in its first event, and only a caller that opens it for that story can
// append; everybody can read it. An ordinary ledger never becomes one.
//
// # Decisions
//
// 2026-11-22: The fence is the last sequence of the whole stream, not of the
// aggregate. It costs 3 to 8 percent, works alike on one server and on three, and
// turns a second committer from a race into a stop.
//
// 2026-11-22: A ledger opened by a short command has no port and announces
// nothing; only a server does. A reader that finds a server asks it, one that
// finds none takes the lock. So no file is ever opened by two.
//
// 2026-11-22: Ids of all events are in memory, 24 bytes and a map entry each. A
// national roll-out has a few million. If that becomes too much, the ids of
// batches that are complete can be read from the stream by sequence.
package stream
