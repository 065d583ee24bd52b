// Package intake is a municipality's gateway: it makes a batch of a municipal
// file, remembers what was sent, and answers a 登録 from that memory by itself.
//
// # Municipal file
//
// CSV (RFC 4180), one row an envelope, behind a header that has these columns
// in any order:
//
//	送付先管理番号  tells rows of a file apart; not empty, not twice
//	市町村コード    six digits with check digit: the gateway's own municipality
//	郵便番号        seven digits, or empty
//	住所            not empty
//	方書            may be empty
//	世帯主氏名      not empty
//	対象人数        1 to 9999
//	外字数          0 to 9999; zero is written, since nothing is not zero
//
// Other columns are allowed and committed to like all the rest. Two columns of
// one name are not. A last row END,<count> is optional and must be right; it
// is no item, and only blank lines may follow it. The encoding is UTF-8, with
// or without BOM, or CP932; the BOM or the header decides. Rows end with LF or
// CRLF, the last one with the end of the file too; quoted fields may hold line
// endings.
//
// A file is taken whole or refused whole. It is refused for one row that is
// not as above, that has another number of fields than the header, a byte that
// its encoding does not define, U+FFFD, or a control character; for a blank
// line between rows, a row longer than [MaxRow], more than [MaxColumns]
// columns, and for having no row. And it is refused for twelve digits that
// pass the check of a My Number, in half or full width, together or in groups,
// unless the column is declared harmless. The report names every bad line, with
// column and reason, and repeats nothing that stands in the file.
//
// Digits in codes, numbers and postcodes may be in full width. They are folded
// to compare them, never to keep them.
//
// # Commitments
//
// The n-th row is item n. Its commitment is HMAC-SHA-256 under the batch key
// over todoke/item/v1, n as four big-endian bytes, and the raw bytes of the
// row: from its first byte to the one before its line ending, in the encoding
// of the file, quotes and all. So a file has the same commitments with LF and
// with CRLF, unless a line ending inside quotes was changed too, and other
// ones in UTF-8 and CP932. The root is that of RFC 6962 over the commitments;
// see [ledger.Commit] and [ledger.RootBuilder]. [RootOf] is the same for who
// receives the rows and the batch key.
//
// The file's digest is HMAC-SHA-256 under the gateway's file key over
// todoke/file/v1 and every byte of the file. It tells files apart without
// saying anything about them, and is the document key of upload.completed.
//
// # Towns
//
// An item belongs to the town with the longest name that its 住所 begins with,
// behind prefecture and ward if they are there. Names are compared without
// variation selectors, and their 丁目 as numbers: 白鳥二丁目１番, 白鳥２－１,
// 東京都葛飾区白鳥2-1 and 葛飾区白鳥2丁目 are 白鳥二丁目; 白鳥21 is not. Else
// it belongs to its postcode, as 〒125-0063, else to 町名不明. Groups of fewer
// than ten items are merged into その他.
//
// # Folder
//
//	lock                    flock: one process at a time
//	file.key                32 bytes
//	batches/.new-*          a file that is being read
//	batches/131229-20151005-0042/
//	        batch.key       32 bytes
//	        commitments     32 bytes an item, in order
//	        manifest.json   a Manifest
//
// Files are readable by their owner alone. The name of the municipal file is
// not kept: people put names into names. The gateway's outbox may lie beside
// them, as outbox.db; this package does not open it.
//
// # Watched folder
//
// A [Watcher] looks at a folder again and again, and takes each file once:
//
//	a.csv                       taken when it is complete
//	a.csv.done                  a marker of whoever put it there: it is
//	done/a.csv                  taken; its event is in the outbox
//	done/a.csv.report.json      a FileReport
//	refused/a.csv               refused whole
//	refused/a.csv.report.json   why
//	{done,refused}/.new-report  a report that is being written
//
// A file is named *.csv, in any case, and does not begin with a dot. It is
// complete when it is marked, or when two looks that are at least the interval
// apart saw the same inode, size and time of change. What is half written is
// better called something else until it is whole, since a sender that pauses for
// longer than the interval looks like one that is ready. Only a regular file is
// opened; a symbolic link is never followed. A file that is written to while it is
// read gives no batch. A name that is taken in done or refused gets a number,
// a-2.csv.
//
// For each file, in this order: the batch ([Gateway.Take]), the event in the
// outbox, the report, the marker goes, the file moves. What fails is told of once
// and tried again after a pause that doubles from the interval to a minute.
//
// # Worked example
//
// The batch key 00…00 and the file of two rows
//
//	送付先管理番号,市町村コード,郵便番号,住所,方書,世帯主氏名,対象人数,外字数
//	00000001,131229,125-0063,葛飾区白鳥2-1,,世帯0001,3,0
//	00000002,131229,125-0063,葛飾区白鳥2-2,"水元荘, 201",世帯0002,1,0
//	END,2
//
// in UTF-8 give this root, which TestWorkedExample computes:
//
//	f7e6559c7e054af9304a6d61ac61eed17f5ed872374602a059f45fe9010a9588
//
// # Invariants
//
// G1. What is under batches/ with the name of a batch is whole: it appears by
// one rename, after everything in it is on the disk.
//
// G2. One file, byte for byte, is one batch.
//
// G3. The towns of a manifest partition 1-Count.
//
// G4. The body of upload.completed is a function of the manifest, and an
// answer one of the 登録 and the manifest. Saying either again is the same
// event.
//
// G5. No error and no report holds anything that stands in a file. What the
// ledger learns is [Manifest.Report]; the batch key leaves by
// [Gateway.BatchKey] alone.
//
// G6. A file is in done only when its event is in the outbox, and there or in
// refused only beside its report. It is never overwritten.
//
// # What a crash means
//
// While a file is read: a folder batches/.new-*, which the next [Open]
// removes; the file is taken anew. After the rename: the batch is there, and
// the file is known when it comes again, with the same batch and so the same
// event. A rename that did not reach the disk is as if it had not been; one
// that a failing disk left open is made durable or found missing by the next
// Open, before anything is said about it. While answering: the 登録 is
// answered by the next [Gateway.Run], which sees in the ledger what is
// answered already. A rename whose durability the disk denied is settled in the
// same way before the next file of a running gateway.
//
// While a folder is watched, what the next start finds and does:
//
//	behind a look                     the file; it is looked at anew
//	while the file is read            .new-* at the gateway; Open removes it
//	behind the batch's rename         batch and file: the file is known, its event is kept
//	behind the outbox's commit        the event too: the same id is found there, and sent
//	while the report is written       .new-report; NewWatcher removes it
//	behind the report's rename        the report too: it stands, and its name is taken again
//	behind the marker's removal       a file without marker: it has stood still since long ago
//	behind the file's move            nothing; should the power fail before the move is on
//	                                  the disk, the file is back, and all of the above holds
//
// In each case that is the same batch, the same event, and one file in done. A
// refused file has neither batch nor event and takes the rest of the way.
//
// # Decisions
//
// 2026-11-22: encoding/csv cuts the rows, on bytes, below the decoder. Its
// silent habits are undone beside it: it passes over blank lines, drops a CR
// at the end of the file, and turns CRLF in quotes into LF, of which the
// commitment must know nothing. An own parser would be faster and one more
// thing to trust.
//
// 2026-11-22: A receiver gets count and root from RootOf and not from a reader
// of its own: sender and receiver must cut rows alike to the byte. RootOf
// judges less than Take, since it is not the receiver's to refuse a row that
// the municipality stands for.
//
// 2026-11-22: An empty 郵便番号 is allowed, a wrong one is not. The town is
// found by address first, and an address without postcode still has one.
//
// 2026-11-22: What was answered is read from the ledger at the start of Run
// and kept nowhere. A cursor in the folder would be a second memory that a
// restored or rolled-back ledger contradicts. We would keep one when reading
// a ledger from its beginning takes longer than a start may.
//
// 2026-11-22: A 登録 that is a bare number below what was sent is neither
// confirmed nor disputed. It is right when the import was claimed in parts and
// wrong otherwise, and only the ledger's judgement knows the claims. A false
// contradiction would stand in the ledger for ever. A number above what was
// sent is disputed: it is right in no order of events.
//
// 2026-11-22: A 登録 without a root is confirmed without one, on the basis that
// it has itself. Whoever must recompute the root is not told it.
//
// 2026-11-22: A folder is polled and not watched by inotify: shares of other
// machines, on which files mostly come, tell nothing, and a look at a thousand
// names costs less than a millisecond. We would change it for folders of very
// many files.
//
// 2026-11-22: The marker is removed before the file moves. The other way round, a
// crash between the two would leave a marker that calls the next file of that name
// complete while it is still being written.
//
// 2026-11-22: A file is moved by a rename behind a look whether the name is free,
// under the folder's lock: a link and an unlink would need no look, and many
// shares have no links.
//
// 2026-11-22: The report holds no receipt. It is final when the file moves, which
// may be days before the ledger answers; the receipt is in the outbox.
package intake
