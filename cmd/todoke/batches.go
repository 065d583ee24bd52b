package main

import (
	"fmt"
	"strconv"
	"strings"

	"todoke/ledger"
	"todoke/producers"
	"todoke/projections"
)

type batchesCommand struct {
	asOf
	Municipality string `help:"Only the batches of this municipality." placeholder:"CODE"`
}

// Run lists the batches. It exits with 1 when one of them is late,
// contradicted or unreadable.
func (c *batchesCommand) Run(a *app) error {
	var custody projections.Custody
	m, err := a.replay(c.asOf, &custody)
	if err != nil {
		return err
	}
	var t table
	t.add(a.say("送付ロット", "BATCH"), a.say("通", "ITEMS"), a.say("状態", "STATUS"), a.say("受渡し", "HOP"),
		a.say("未確認", "MISSING"), a.say("期限", "DUE"), a.say("保管責任", "HOLDER"), a.say("警報", "ALERTS"))
	bad := false
	for _, row := range custody.Rows(m.now) {
		if c.Municipality != "" && row.Municipality != c.Municipality {
			continue
		}
		bad = bad || isBad(row.Status)
		if a.JSON {
			if err := a.printJSON(row); err != nil {
				return err
			}
			continue
		}
		items := strconv.Itoa(row.Items)
		if row.Items == 0 { // nobody has declared it: a mistyped number looks like this
			items = a.say("未申告", "undeclared")
		}
		t.add(row.Batch, items, a.status(row.Status), row.Hop, strconv.Itoa(row.Missing),
			stampOf(row.Due)+a.provisional(row.Provisional), row.Holder, strconv.Itoa(row.OpenAlerts))
	}
	if !a.JSON {
		if err := t.print(a.out); err != nil {
			return err
		}
		if err := a.footer(&custody, m); err != nil {
			return err
		}
	}
	return badNews(bad)
}

func badNews(bad bool) error {
	if bad {
		return errBadNews
	}
	return nil
}

func isBad(s projections.Status) bool {
	return s == projections.Late || s == projections.Contradicted || s == projections.Unreadable
}

// status returns a status in the language of the screen.
func (a *app) status(s projections.Status) string {
	if a.Lang != "ja" {
		return string(s)
	}
	return map[projections.Status]string{
		projections.Complete: "確認済み", projections.Waiting: "確認待ち", projections.Late: "遅れ",
		projections.Contradicted: "不整合", projections.Unreadable: "判定不能",
		projections.NotObserved: "監視対象外", projections.NotReached: "未着手",
	}[s]
}

// side returns which word is owed, in the language of the screen.
func (a *app) side(s ledger.Side) string {
	if a.Lang != "ja" {
		return s.String()
	}
	return map[ledger.Side]string{ledger.ClaimSide: "完了報告", ledger.AcknowledgementSide: "受領確認", ledger.ConfirmationSide: "独立の確認"}[s]
}

func (a *app) provisional(p bool) string {
	if p {
		return a.say("（暦未確定）", " (calendar not official)")
	}
	return ""
}

// footer says how far the answer looked, and what it could not read.
func (a *app) footer(custody *projections.Custody, m moment) error {
	state := custody.State()
	_, err := fmt.Fprintf(a.out, a.say("\n台帳 %d 番まで、%s 現在", "\nup to event %d, as of %s"), m.seq, stamp(m.now))
	if state.Story != "" {
		fmt.Fprintf(a.out, a.say("。模擬：%s", "; a story: %s"), state.Story)
	}
	if n := len(state.Quarantine); n > 0 {
		fmt.Fprintf(a.out, a.say("。読めない記録 %d 件（replay で確認）", "; %d records could not be read (see replay)"), n)
	}
	if n := custody.BadPacks; n > 0 {
		fmt.Fprintf(a.out, a.say("。読めない監視基準 %d 件（その前の基準が有効）", "; %d rule packs could not be read (the one before stays in force)"), n)
	}
	fmt.Fprintln(a.out)
	return err
}

type batchCommand struct {
	asOf
	ID string `arg:"" help:"The batch, as 131229-20151005-0042."`
}

// Run prints one batch. It exits with 1 when it is late, contradicted or
// unreadable.
func (c *batchCommand) Run(a *app) error {
	history := projections.History{Of: func(e *ledger.Event) bool { return e.Subject.Aggregate == c.ID }}
	d, err := a.detail(c.asOf, c.ID, &history)
	if err != nil {
		return err
	}
	if a.JSON {
		err = a.printJSON(d)
	} else {
		err = a.printBatch(&d, history.Events)
	}
	if err != nil {
		return err
	}
	return badNews(isBad(d.Status))
}

// detail finds a batch in the ledger, and feeds further views on the way.
func (a *app) detail(o asOf, id string, views ...projections.View) (projections.BatchDetail, error) {
	batch, err := producers.ParseBatch(id)
	if err != nil {
		return projections.BatchDetail{}, usagef("%v", err)
	}
	var custody projections.Custody
	m, err := a.replay(o, append(views, &custody)...)
	if err != nil {
		return projections.BatchDetail{}, err
	}
	d, ok := custody.Detail(batch.Municipality, id, m.now)
	if !ok {
		return d, usagef("batch %s is not in the ledger up to event %d", id, m.seq)
	}
	return d, nil
}

func (a *app) printBatch(d *projections.BatchDetail, history []projections.EventRow) error {
	fmt.Fprintf(a.out, "%s  %s  %d %s  %s  (%s, %s)\n\n", d.Batch, a.status(d.Status), d.Items, a.say("通", "items"), d.Root, d.Flow, d.Rules)
	var t table
	t.add(a.say("受渡し", "HOP"), a.say("言っている", "SAYS"), a.say("確かである", "IS"), a.say("根拠", "BASIS"), a.say("証拠区分", "GRADE"), a.say("状態", "STATUS"))
	for _, h := range d.Hops {
		t.add(h.Hop, fmt.Sprintf("%d %s", h.Claimed, h.ClaimedBy), fmt.Sprintf("%d %s", h.Acknowledged, h.AcknowledgedBy),
			a.basis(h.Basis), strconv.Itoa(int(h.Grade)), a.status(h.Status))
	}
	for _, stage := range ledger.FlowByName(d.Flow).Beyond {
		t.add(stage, "-", "-", "-", "-", a.status(projections.NotObserved))
	}
	if err := t.print(a.out); err != nil {
		return err
	}
	for _, h := range d.Hops {
		if h.InHouse > 0 {
			fmt.Fprintf(a.out, a.say("\n社内確認のみ  %s  %d通：求める根拠と独立の確認がまだない\n", "\nIN HOUSE ONLY  %s  %d items: heard, but not on the basis asked for, or not confirmed by anybody independent\n"), h.Hop, h.InHouse)
		}
	}
	fmt.Fprintf(a.out, "\n%s\n", a.say("保管責任（確かに持っている者）", "CUSTODY (who provably holds)"))
	for _, h := range d.Custody {
		fmt.Fprintf(a.out, "  %-18s %6d  %s\n", h.Party, h.Count, short(h.Items))
	}
	for _, h := range d.Hops {
		for _, o := range h.Owed {
			fmt.Fprintf(a.out, a.say("\n待ち  %s %s  %s が %s までに  %d通 %s  %s%s\n", "\nOWED  %s %s  by %s until %s  %d items %s  %s%s\n"),
				h.Hop, a.side(o.Side), o.By, stamp(o.Due), o.Count, short(o.Items), a.status(o.Status), a.provisional(o.Provisional))
			a.printTowns(o.Towns)
		}
	}
	for _, an := range d.Anomalies {
		a.printAnomaly(&an)
	}
	for i := range d.Alerts {
		fmt.Fprintln(a.out)
		a.printAlert(&d.Alerts[i])
	}
	fmt.Fprintf(a.out, "\n%s\n", a.say("履歴（言われたこと）", "HISTORY (what was said)"))
	for i := range history {
		if err := a.printEvent(&history[i]); err != nil {
			return err
		}
	}
	return nil
}

// printAnomaly says which word contradicts what, with both numbers where there
// are two.
func (a *app) printAnomaly(n *projections.AnomalyRow) {
	fmt.Fprintf(a.out, a.say("\n不整合  %s  %s  %s の記録 %d", "\nANOMALY  %s  %s  event %[4]d by %[3]s"), n.Code, n.Hop, n.By, n.Said)
	if n.Other != 0 {
		fmt.Fprintf(a.out, a.say("、記録 %d に対して", " against event %d"), n.Other)
	}
	if n.Want != 0 {
		fmt.Fprintf(a.out, a.say("、%d通と言うが、完了報告は %d通", ": says %d, claimed are %d"), n.Have, n.Want)
	}
	fmt.Fprintf(a.out, "  %s\n", short(n.Items))
}

func (a *app) printTowns(towns []projections.TownRow) {
	for _, t := range towns {
		fmt.Fprintf(a.out, "        %s %d  %s\n", t.Name, t.Count, short(t.Items))
	}
}

func (a *app) basis(b ledger.Basis) string {
	switch b {
	case ledger.NoBasis:
		return "-"
	case ledger.BasisCount:
		return a.say("件数（内容未照合）", "count (content not compared)")
	}
	return b.String()
}

// short cuts a long set of items for a line; --json has all of it.
func short(items ledger.Items) string {
	const most = 60
	s := items.String()
	if len(s) <= most {
		return "[" + s + "]"
	}
	cut := strings.LastIndexByte(s[:most], ',')
	return "[" + s[:max(cut, 0)] + ",…]"
}

type missingCommand struct {
	asOf
	ID string `arg:"" help:"The batch, as 131229-20151005-0042."`
}

// Run prints what waits for a word, by hop and town. It exits with 1 when some
// of it is late or contradicted.
func (c *missingCommand) Run(a *app) error {
	d, err := a.detail(c.asOf, c.ID)
	if err != nil {
		return err
	}
	some := false
	for _, h := range d.Hops {
		for _, o := range h.Owed {
			some = true
			if a.JSON {
				if err := a.printJSON(missingRow{d.Batch, h.Hop, o}); err != nil {
					return err
				}
				continue
			}
			fmt.Fprintf(a.out, a.say("%s  %s %s：%d通 %s  %s の番、期限 %s、%s%s\n", "%s  %s %s: %d items %s  owed by %s, due %s, %s%s\n"),
				d.Batch, h.Hop, a.side(o.Side), o.Count, short(o.Items), o.By, stamp(o.Due), a.status(o.Status), a.provisional(o.Provisional))
			a.printTowns(o.Towns)
		}
	}
	if !some && !a.JSON {
		fmt.Fprintf(a.out, a.say("%s  待っている受領確認はない\n", "%s  waits for nothing\n"), d.Batch)
	}
	return badNews(isBad(d.Status))
}

// A missingRow is one obligation of a batch, as missing --json prints it.
type missingRow struct {
	Batch string `json:"batch"`
	Hop   string `json:"hop"`
	projections.OwedRow
}
