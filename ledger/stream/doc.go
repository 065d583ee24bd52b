// Package stream keeps a ledger in NATS JetStream. It is, with the gate and the
// producers' client, the only place that knows the broker.
//
// # A ledger's folder
//
//	lock        held by the one process that has the store open; its pid is inside
//	ledger      the id of the ledger, 32 hex digits; written last when it is made
//	endpoint    how other processes of this machine reach a server; with a secret,
//	            readable by its owner only, there while the server listens
//	jetstream/  the broker's store; nobody else opens it
//	keys/       keys made on this machine (producers.LocalKey)
//	gateway/    what a municipality's gateway keeps (producers/intake)
//
// A folder without the file ledger holds no ledger, or one that was not made to
// the end; opening it with an Opening goes on. A folder with it and without the
// stream, or with fewer events than a new ledger has, has lost them: [ledger.ErrGap].
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
// # Reading
//
// Up to 32 records are read one by one, by sequence. More come through an ordered
// consumer, which makes itself anew when it loses its place. Every sequence is
// compared with the one before it: a stream that denies deletion has no holes, so
// that a hole is damage ([ledger.ErrGap]), and a consumer passes over it without a
// word. A sequence above the head is missing too. A record has its own headers
// only; what begins with Nats- differs with the way in which it is read. Bytes
// that are no event are read like all others: what they mean is for the fold.
//
// # The committer
//
// One caller at a time appends; the others wait for their turn, each as long as
// its context lets it. The committer knows the last sequence, each aggregate's last
// event and number of events, every event id, and the last record time. It learns
// them at start by reading everything. What it counts as an event is what
// [ledger.State] counts, so that a decision made on a fold's head finds the
// committer at the same head, whatever foreign bytes lie between. For each event:
//
//	admit            ledger.Admit; a refusal ends here
//	turn             the context's error, ErrClosed, ErrFenced, ErrStory: not sent
//	doubt?           what an earlier append left in doubt is looked for first
//	id known?        the stored event is compared: same author, subject and body, the
//	                 receipt again; anything else, ErrIDReused
//	decision?        ErrConflict unless the aggregate is still at its head
//	aggregate full?  ErrFull at 4,096 events
//	record time      max(clock, last record time)
//	publish          with Nats-Expected-Stream, and with Nats-Expected-Last-Sequence =
//	                 the last sequence; no message id, no retry inside the library
//
// What the broker answers, and what follows:
//
//	stored                    the event is on the disk: receipt
//	no stream, or another     this attempt was not written; if no attempt before it is
//	API error                 in doubt: ErrUnavailable (10023: no space left)
//	10071, 10164, 10201,      this attempt was not written, an earlier one may have
//	10077                     been: look
//	no answer in 5 s          nobody knows: look
//
// To look is to read what follows the last sequence that is known. Our own event
// there is success. Somebody else's is ErrFenced, for ever: there is a second
// committer, and the first conflict throws one of the two out. Nothing there
// proves nothing, since the attempt may still be on its way: the same bytes are
// sent again with the same fence, which lets at most one of them in, until the
// context ends with ErrUnknown. An event left in doubt stays so until any event
// has taken the place that it was fenced to; then either it is that event, or it
// is certain that it was not written and never will be.
//
// # What a crash means
//
//	before the broker has stored    nothing is there; the author sends again
//	after it, before the receipt    the event is there; the author sends it again and
//	                                is told where it is
//	while a new ledger is made      a stream without, or with one of, its two opening
//	                                events: the next start adds what is missing, under
//	                                the same ids, and names the folder
//	at any time                     the kernel gives the lock back; the endpoint file
//	                                stays and nobody answers there, which
//	                                [ReadEndpoint] finds out
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
//
// 2026-11-22: The start reads bodies and not only headers. Whether a record is an
// event cannot be told without its body, and a committer that counted an
// undecodable record as its batch's last event would answer every decision about
// that batch with a conflict: an alert would never be raised. It costs about 1 µs a
// record. A snapshot of the committer would save it.
//
// 2026-11-22: Three connections inside the process: a replay that fills one does
// not delay the answers that the committer waits for on another, and the gate has
// its own.
//
// 2026-11-22: The library's ordered consumer and its own parser of positions. A
// pull loop of our own with a parser of our own was written and measured: no
// difference beyond the noise, since the broker, the connection and the header map
// take four fifths of the time.
//
// 2026-11-22: An attached reader does not reconnect. A server that starts again has
// another port and another secret, so that the endpoint is dead for ever.
package stream
