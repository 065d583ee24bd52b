// Package stream keeps a ledger in NATS JetStream. It is, with the gate and the
// producers' client, the only place that knows the broker.
//
// # Where a ledger is
//
// [Open] runs a broker of its own on a folder; [Join] uses the servers of a cluster
// that somebody else runs, and keeps a folder beside it. Everything else is the same:
// one stream, one committer.
//
//	lock        held by the one process that has the folder; its pid is inside, and
//	            its time is when that process was last seen alive
//	ledger      the id of the ledger, 32 hex digits; written last when it is made
//	making      there while a ledger is made: what it then has of a store is thrown
//	            away by the next start, since nobody has a receipt from it
//	endpoint    how other processes of this machine reach a server; with a secret,
//	            readable by its owner only, there while the server listens
//	address     port and secret of a server on this folder, the same for the next one,
//	            so that who was connected finds it again; readable by its owner only
//	jetstream/  the embedded broker's store; nobody else opens it
//	moved       where [Move] has taken the ledger; it is no longer here
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
// every start, field by field, and every second after it; a difference is
// [ledger.ErrDrift], and nothing is appended any more.
//
//	subjects ledger.v1.>          all events, and nothing else
//	storage file, replicas        1 for the embedded ledger, 3 or 5 on a cluster
//	retention limits, all -1 or 0 no limit of any kind: nothing ever expires
//	discard new                   if a limit were set, it would refuse and not delete
//	deny delete, deny purge       cannot be taken back by an update
//	allow direct                  a record is read by its sequence without a consumer
//	allow atomic                  several events land together
//	duplicate window 100 ms       the smallest there is; no Nats-Msg-Id is ever set
//	no TTL, rollup, schedules,    each of them can delete or rewrite
//	transform, mirror, sources
//	no compression                a block is as readable to an outsider as to the broker
//	metadata todoke-ledger        the ledger id
//	metadata todoke-format        1; a higher one is [ledger.ErrNewer]
//	metadata todoke-copy          on a copy that Move has not completed; nobody reads it
//
// Every server syncs before it answers (SyncAlways). The broker's default is a
// timer of two minutes behind the acknowledgement
// (https://github.com/nats-io/nats-server/issues/7564), and on a cluster the setting
// is the servers' own: they are asked, over the system account, at the start and
// every ten seconds ([CheckPeers]). Denying deletion does not stop an administrator
// from lowering a limit or deleting the stream; a gap is noticed by every reader, and
// what can prove a loss at the end is the seal.
//
// # Reading
//
// Up to 32 records are read one by one, by sequence. More come through an ordered
// consumer, which makes itself anew when it loses its place, and on a cluster by
// direct gets of a thousand each. There any server that has a copy answers, and what
// one that lags behind does not have, the leader is asked for. Every sequence is
// compared with the one before it: a stream that denies deletion has no holes, so
// that a hole is damage ([ledger.ErrGap]), and a consumer passes over it without a
// word. A sequence above the head is missing too. A record has its own headers
// only; what begins with Nats- differs with the way in which it is read. Bytes
// that are no event are read like all others: what they mean is for the fold.
//
// # The committer
//
// One goroutine takes the requests of all callers and alone writes. It knows where
// every aggregate's events are, every event id, the last sequence and the last
// record time; it learns them at start by reading everything. What it counts as an
// event is what [ledger.State] counts, so that a decision made on a fold's head
// finds the committer at the same head, whatever foreign bytes lie between.
//
//	admit            ledger.Admit, by the caller's own goroutine; a refusal ends here
//	gather           all requests that wait; when the last group had several, up to a
//	                 millisecond for as many
//	start            ledger.started, once, before anything else of this incarnation
//	id known?        the caller compares the stored event: same author, subject and
//	                 body, the receipt again; anything else, ErrIDReused, and
//	                 access.recorded
//	decision?        ErrConflict unless the aggregate is still at its head: nothing is
//	                 sent for it, and the others of the group lose nothing
//	aggregate full?  ErrFull at 4,096 events
//	form a group     at most 1,000 events and 4 MiB; what depends on the group waits for
//	                 the next: a decision about an aggregate that it adds to, a second
//	                 attempt of one of its events
//	record time      one for the group: max(clock, last record time)
//	write            a group that is large enough as one atomic batch, a smaller one event
//	                 by event; the events of one decision always as one batch. With
//	                 Nats-Expected-Last-Sequence = the last sequence; no message id, no
//	                 retry inside the library
//
// What the broker answers, and what follows:
//
//	stored                    the events are on the disk: receipts
//	no stream, or another     this attempt was not written; if no attempt before it is in
//	API error                 doubt: ErrUnavailable (10023: ErrStorageFull)
//	10071, 10164, 10201       this attempt was not written, an earlier one may have been
//	10077, or no answer in    nobody knows
//	5 s
//
// When nobody knows, the committer looks at what follows the last sequence. Our own
// events with our own record time are success. Anything else is ErrFenced, for ever:
// there is a second committer, and the first conflict throws one of the two out.
// Nothing there proves nothing, since the attempt may still be on its way: the same
// bytes are sent again with the same fence, in a batch of another name, which lets
// at most one of them in, until there is an outcome. Nothing else is sent before.
// A caller that goes meanwhile is told ErrUnknown; one whose request was not taken
// yet, ErrUnavailable.
//
// # The disk
//
// An atomic batch is atomic against crashes and conflicts, but not against a full
// disk: the embedded broker, at 2.15.2, copies it event by event, stops where a write
// fails, gives no answer and takes nothing more until its store is opened anew. After
// a failed sync it even shows events that are not on the disk. So
//
//   - before every write the disk is asked for twice its bytes and 1 MiB: without
//     them, ErrStorageFull, and nothing is in doubt. With room again it goes on;
//   - when somebody else takes that room first, the committer opens the store anew as
//     soon as there is some, which completes the batch, and sends what is still
//     missing right behind;
//   - after any other error of the disk it never writes again. What was in doubt then
//     is found, or not, by the next start.
//
// # Incarnations
//
// Each start that appends first writes ledger.started into an aggregate of its own,
// ledger-<incarnation>: which incarnation it is, the head that it found, and since
// when nobody was there. The opening of a new ledger is the start of incarnation 1.
// Writing it takes the stream: a committer of before finds it behind its own fence.
// What that one writes until then is read and counts. A receipt names its
// incarnation, since a ledger that lost what was behind its last seal gives the same
// sequences to other events.
//
// # The lease
//
// On a cluster a key of the bucket TODOKE says which process commits. Its holder
// renews it every second; a standby, which reads along, takes it when it is given up
// or was not renewed for ten seconds. It only decides who tries. That two processes
// believe to have it costs one of them its life as a committer, and no event.
//
// # The clock
//
// A record time cannot be taken back, and deadlines run by it. A machine whose wall
// clock moved by more than a minute against its monotonic clock since the last event
// is not believed ([ledger.ErrClock]) until it is right again, and a start wants to
// be told (AcceptClock) that the clock is right when it is behind the last event or
// 60 days after the last sign of life. A clock that is behind by less gives the last
// record time again. The monotonic clock stands still while a machine sleeps or a
// virtual one is paused: after that the ledger has to be started again.
//
// # What a crash means
//
//	before the broker has stored    nothing is there; the author sends again
//	while it copies a batch         it completes the batch at its next start
//	after it, before the receipt    the event is there; the author sends it again and
//	                                is told where it is
//	while a new ledger is made      the next start makes it anew; on a cluster it adds
//	                                the opening events that are missing, under the same
//	                                ids
//	while it has the lease          a standby waits ten seconds
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
// 2026-11-22: Ids of all events are in memory, 24 bytes and a map entry each, and
// where each aggregate's events are, 8 bytes each. A national roll-out has a few
// million. If that becomes too much, those of batches that are complete can be read
// from the stream.
//
// 2026-11-22: Groups are written as atomic batches from 18 events on, where they
// began to be faster than single publishes here (16 to 28, by the load of the
// machine), and on a cluster from 2 on. Singles are not pipelined: that gained 15 to
// 30 percent, and when a foreign event takes the place of one in the pipeline, those
// behind it are accepted.
//
// 2026-11-22: Nats-Expected-Stream is not sent: it is stored with every event, 30
// bytes, and the answer names the stream anyhow.
//
// 2026-11-22: No consumer for bounded reads on a cluster: in about one of twenty its
// first answer was lost, and the reader waited for two heartbeats. Following goes
// through one; it waits anyhow.
//
// 2026-11-22: An attempt to use an id again is recorded once for each author,
// municipality and hour, so that nobody can fill an aggregate by repeating it.
//
// 2026-11-22: Each incarnation has an aggregate of its own and none is rotated by
// date: short commands start a ledger as often as they append to it.
//
// 2026-11-22: The start reads bodies and not only headers. Whether a record is an
// event cannot be told without its body, and a committer that counted an
// undecodable record as its batch's last event would answer every decision about
// that batch with a conflict: an alert would never be raised. It costs about 1 µs a
// record. A snapshot of the committer would save it.
//
// 2026-11-22: Three connections for a ledger: a replay that fills one does
// not delay the answers that the committer waits for on another, and the gate has
// its own.
//
// 2026-11-22: The library's ordered consumer and its own parser of positions. A
// pull loop of our own with a parser of our own was written and measured: no
// difference beyond the noise, since the broker, the connection and the header map
// take four fifths of the time.
//
// 2026-11-22: An attached reader does not reconnect: a command that reads is short.
// A producer does, and finds the next server at the same address with the same
// secret, unless another program has taken the port.
//
// 2026-11-22: A move ends the ledger in the folder before it completes the copy on
// the cluster. The other order has a moment in which both take events, and a crash in
// it would leave two ledgers of one id; this one has a moment in which neither does,
// and the same command again ends it. The copy goes through the client, in batches
// behind the fence, and not through a mirror: a mirror would want a connection between
// the brokers, and its end could not be compared before it takes events.
package stream
