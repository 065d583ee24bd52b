// Package rule holds the rules (監視基準) of a ledger: which words are owed, until
// when, and what an acknowledgement needs. Rules are data, in versions; this
// package reads them, and [Pack] implements [ledger.Rules].
//
// # The text of a pack
//
// A pack is YAML of at most 64 KiB: maps and values, no lists, anchors, aliases,
// tags, merges or blocks. A field that is unknown or written twice is a mistake.
// Mistakes name line and field:
//
//	line 33: hops.mail.claim.within: "2 weeks" is not a time such as 24h, 90m, 1 office day, 2 post days
//
// These are the fields:
//
//	version: default/1                # a name and a number; it names one text for ever
//	profile: full                     # the kind of installation
//	flow: notification-card/1         # a flow of package ledger
//	organisations:                    # role or party: the house that it belongs to
//	  relay: jlis
//	  registry: jlis
//	  printer: npb
//	  inspector: npb
//	  post: jp
//	  relay:2: kansai                 # goes before what is said of the role
//	hops:                             # in the order of the flow; what is absent is not observed
//	  import:
//	    claim: {within: 24h}
//	    acknowledgement: {within: 24h, basis: root, grade: 2}
//	    confirmation: {within: 24h}
//	calendar:
//	  office_closes: "17:15"          # Japanese time, 00:01 to 24:00
//	  post_closes: "24:00"
//	  official_until: 2026-12-31      # these two are both there, or neither
//	  holidays:
//	    2015-01-01: 元日              # ascending, whole years, none left out
//
// Every role of the flow has a house, except the municipality: each of those is
// a house of its own, and no line can change that. Within is a clock time
// (24h, 90m, 3s), a number of office days or a number of post days, above zero
// and at most 400 days. Basis is count, items or root; grade is 2, 3 or 4.
//
// # Calendars
//
// All are reckoned in Japanese time, UTC+9 without daylight saving.
//
//   - Clock: the span after the start, to the nanosecond.
//   - Office: the closing hour of the n-th office day after the day of the start.
//     Office days are Monday to Friday without holidays and without 12-29 to
//     01-03. The day of the start never counts, however early it began.
//   - Post: the closing hour of the n-th day after the day of the start. Every day
//     counts.
//
// An office deadline on a day after official_until is provisional (暦未確定): it
// rests on projected holidays, and beyond the table on weekends and year ends
// alone. Clock and post deadlines need no table and are never provisional.
//
// As an example, the printer says on Friday 2015-10-09 at 15:00 that a batch is
// printed. The count is due within 1 office day. Saturday and Sunday do not
// count and Monday is 体育の日, so it is due on Tuesday 2015-10-13 at 17:15.
//
// # Invariants
//
//   - R1: The published text alone fixes every deadline: [Pack.Text] has the table
//     in it, and [History] takes no pack that has none.
//   - R2: [Parse] of [Pack.Text] gives an equal pack, for ever; a released text is
//     a golden file.
//   - R3: Whatever is owed can be discharged by evidence. Where claimant and
//     acknowledger can be of one organisation, the pack asks for grade 3 or
//     observes the confirmation. The upload claim is observed always, and the
//     last hop's acknowledgement: a batch begins with the one and ends with the
//     other.
//   - R4: A deadline is after its start, and a later start never has an earlier
//     deadline.
//   - R5: The work for a deadline is bounded by the span and the size of the table,
//     whatever the year.
//
// # Which pack is in force
//
// A pack takes effect by an event rules.published that holds its text. [History]
// answers which one was in force at a sequence; a batch keeps the one in force at
// its first event, so that a new pack never moves a deadline that runs. Before
// the first such event it is [Default], which comes with the program and not with
// the ledger: who opens a ledger publishes its pack at once.
//
// Nothing here is stored and nothing has a clock: after a crash the same events
// give the same packs, and the same packs the same deadlines.
//
// # Holidays
//
// The built-in table, holidays.csv, has 290 days. Those of 2015 to 2026 are the
// Cabinet Office's list by way of the npm package japanese-public-holidays 3.2.38
// (MIT); 2027 to 2030 are projections of the npm package @holiday-jp/holiday_jp
// 2.5.1 (MIT): the Cabinet Office declares a year in the February before it.
// [ParseHolidays] reads its file when it does, and [Pack.WithHolidays] makes the
// next version of a pack from it.
//
// # Decisions
//
// 2026-11-22: The table is in the published text, 9 KiB of it, rather than a
// reference to the program's. A deadline that changes when the program is
// updated could not be proved afterwards. A table in an event of its own would
// change our mind if packs were published daily.
//
// 2026-11-22: The day of the start does not count (民法 article 140), not even when
// the word comes at 09:00. It gives the one who owes it up to a day more than a
// count of hours would, and is how offices reckon.
//
// 2026-11-22: Post days are all days, until midnight. That registered mail is taken
// in and goes out on weekends and holidays too is an assumption (domain research,
// domain.md 3f, from memory); a statement of Japan Post would change it.
//
// 2026-11-22: A text with neither table nor official_until gets both from the
// program; one of them alone is a mistake. An operator could otherwise declare
// projected holidays official without having seen them.
//
// 2026-11-22: Every year of a table begins with 元日 and reaches November. A
// download that was cut short would make office days of the holidays it lost, and
// so raise alerts too early. A year without either would need a change here.
//
// 2026-11-22: A claim may be observed without its acknowledgement, except at the
// last hop. One ward alone sees its own upload and then the 登録; between the two
// it sees nothing, and what is owed after its claim is the 登録.
//
// 2026-11-22: The text is read from the YAML tree by hand. Decoding into structs
// would be shorter, but knows neither the line of a wrong value nor the order of
// hops. Only the first mistake is reported; the second is often its consequence.
package rule
