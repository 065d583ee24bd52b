package story

import (
	"fmt"
	"io"
	"strings"
	"time"

	"todoke/ledger"
)

// A Teller prints a story as it happens, in one language, one line a word.
type Teller struct {
	w     io.Writer
	say   tongue
	story *Story
	pause func() // before every line, so that a person can follow
	lots  map[string]string
	day   string
}

// NewTeller returns a teller that writes to w; lang is ja or en. Pause is
// called before every line.
func NewTeller(w io.Writer, lang string, s *Story, pause func()) *Teller {
	say := inJapanese()
	if lang != "ja" {
		say = inEnglish()
	}
	return &Teller{w: w, say: say, story: s, pause: pause, lots: make(map[string]string)}
}

// Begin prints what the story is about.
func (t *Teller) Begin(fault string, seed uint64) {
	fmt.Fprintf(t.w, "%s\n%s\n\n", t.story.Title[t.say.lang], fmt.Sprintf(t.say.begin, fault, seed))
}

// Seen prints one event.
func (t *Teller) Seen(e ledger.Event) error {
	switch e.Kind() {
	case ledger.LedgerOpened, ledger.RulesPublished:
		return nil
	}
	t.pause()
	if day := t.stamp(e.Time, t.say.day); day != t.day {
		t.day = day
		if _, err := fmt.Fprintf(t.w, "── %s %s\n", day, strings.Repeat("─", 50)); err != nil {
			return err
		}
	}
	if e.Kind() == ledger.AlertRaised || e.Kind() == ledger.AlertClosed {
		return t.alert(e)
	}
	if e.Kind() == ledger.UploadCompleted {
		t.lots[e.Subject.Aggregate] = t.label(e)
	}
	_, err := fmt.Fprintf(t.w, "%s  %-20s %-18s %s %s %s%s\n", t.stamp(e.Time, "15:04"), e.Author, e.Kind(),
		t.lots[e.Subject.Aggregate], t.say.kinds[e.Kind()], t.number(e.Content.Count), t.how(e))
	return err
}

// how says what a word rests on.
func (t *Teller) how(e ledger.Event) string {
	switch e.Content.Basis {
	case ledger.BasisCount:
		return " " + t.say.byCount
	case ledger.BasisRoot:
		return " " + t.say.byRoot
	case ledger.BasisItems:
		return " [" + shorten(e.Content.Items.String()) + "]"
	}
	return ""
}

func shorten(items string) string {
	const most = 24
	if len(items) > most {
		return items[:most] + "…"
	}
	return items
}

// label names a batch as people would: after its first town, which the story
// knows even where the municipality has no table of towns.
func (t *Teller) label(e ledger.Event) string {
	for i := range t.story.Lots {
		lot := &t.story.Lots[i]
		if lot.Municipality == e.Subject.Municipality && lot.households() == int(e.Content.Count) {
			name, _, _ := strings.Cut(lot.Towns[0].Town, "一丁目")
			return name
		}
	}
	return e.Subject.Municipality
}

// alert prints which hop, who claimed, who owes, how many items of which towns,
// who provably held them last, since when and until when.
func (t *Teller) alert(e ledger.Event) error {
	b := e.Content
	if e.Kind() == ledger.AlertClosed {
		_, err := fmt.Fprintf(t.w, "%s  %s %s\n", t.stamp(e.Time, "15:04:05"), t.say.closed, e.Subject.Aggregate)
		return err
	}
	lines := []string{
		fmt.Sprintf("%s  %s", t.stamp(e.Time, "15:04:05 MST"), fmt.Sprintf(t.say.raised[b.Cause], e.Subject.Aggregate, t.lots[e.Subject.Aggregate])),
		fmt.Sprintf(t.say.hop, b.Hop, t.state(b.Side, b.Cause)),
		fmt.Sprintf(t.say.claimed, b.ClaimedBy, t.stamp(b.ClaimedAt, t.say.moment+":05")),
		fmt.Sprintf(t.say.owed, b.OwedBy, t.stamp(b.Due, t.say.moment+":05")),
		fmt.Sprintf(t.say.missing, t.number(b.Count), shorten(b.Items.String()), t.towns(b.Towns)),
		fmt.Sprintf(t.say.holder, b.Holder),
	}
	_, err := fmt.Fprintf(t.w, "\n  ▲ %s\n\n", strings.Join(lines, "\n    "))
	return err
}

// state says what is wrong with a side of a hop.
func (t *Teller) state(side ledger.Side, cause ledger.Cause) string {
	if cause == ledger.Contradict {
		return t.say.contradicted
	}
	return t.say.sides[side]
}

func (t *Teller) towns(towns []ledger.Town) string {
	var parts []string
	for _, town := range towns {
		parts = append(parts, town.Name+" "+thousands(town.Count))
	}
	return strings.Join(parts, "、")
}

// End prints what the terminal said, what the ledger knew, and how long it
// took here and in reality.
func (t *Teller) End(r *Result) error {
	var b strings.Builder
	fmt.Fprintf(&b, "%s\n", strings.Repeat("─", 66))
	fmt.Fprintf(&b, t.say.total, r.Batches, thousands(uint32(r.Items)), len(r.Alerts), r.FalseAlerts, r.MissedAlerts)
	if len(r.Alerts) == 0 {
		fmt.Fprintln(&b, t.say.quiet)
	} else {
		a := r.Alerts[0]
		fmt.Fprintf(&b, t.say.terminal, t.stamp(a.ClaimedAt, t.say.moment+":05"), a.ClaimedBy)
		knew := t.say.ledger
		if a.Cause == ledger.Contradict.String() {
			knew = t.say.ledgerSaw
		}
		fmt.Fprintf(&b, knew, t.stamp(a.RaisedAt, t.say.moment+":05"), a.OwedBy, thousands(uint32(a.Missing)), t.took(r.TimeToDetect))
		real := t.story.Real[0]
		if t.say.lang != "ja" {
			real = t.story.Real[1]
		}
		fmt.Fprintf(&b, t.say.real, real)
	}
	_, err := io.WriteString(t.w, b.String())
	return err
}

func (t *Teller) took(seconds float64) string {
	d := time.Duration(seconds) * time.Second
	return fmt.Sprintf(t.say.took, int(d.Hours()), int(d.Minutes())%60, int(d.Seconds())%60)
}

func (t *Teller) number(n uint32) string { return fmt.Sprintf(t.say.items, thousands(n)) }

func (t *Teller) stamp(at time.Time, layout string) string {
	at = at.In(ledger.JST)
	weekday := [...]string{"日", "月", "火", "水", "木", "金", "土"}[at.Weekday()]
	return strings.ReplaceAll(at.Format(layout), "曜", weekday)
}

// thousands writes 5228 as 5,228.
func thousands(n uint32) string {
	s := fmt.Sprint(n)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// A tongue is what a teller says in one language.
type tongue struct {
	lang, begin, day, moment                    string
	items, byCount, byRoot                      string
	hop, claimed, owed, missing, holder, closed string
	total, quiet, terminal, ledger, real, took  string
	contradicted, ledgerSaw                     string
	raised                                      map[ledger.Cause]string
	sides                                       map[ledger.Side]string
	kinds                                       map[ledger.Kind]string
}

func inJapanese() tongue {
	return tongue{
		lang: "ja", begin: "模擬：仮想の時計、本物の台帳。障害＝%s、seed＝%d",
		day: "2006年1月2日（曜）", moment: "1月2日（曜）15:04",
		items: "%s通", byCount: "件数のみ・内容未照合", byRoot: "内容を再計算",
		hop: "受渡し   %s：%s", claimed: "完了報告 %s が %s に「完了」と自己申告", owed: "待つ相手 %s、期限 %s",
		missing: "不足     %s [%s]  %s", holder: "最後に確かに持っていた者 %s", closed: "警報終了（証拠により）",
		total:    "送付ロット %d、%s通。警報 %d、誤報 %d、見逃し %d\n",
		quiet:    "警報なし。すべての受領確認が期限内に届いた。",
		terminal: "  端末は言った   %s  %s「完了」\n",
		ledger:   "  台帳は知った   %s  %s の受領確認がない：%s通。完了報告から %s\n",
		real:     "  現実の2015年   %s\n", took: "%d時間%d分%d秒",
		contradicted: "知らせは来たが、内容が違う",
		ledgerSaw:    "  台帳は知った   %s  %s の知らせは、送った %s通と内容が違う。完了報告から %s\n",
		raised: map[ledger.Cause]string{
			ledger.Absence:    "警報  %s（%s）  来るはずの知らせが来ない",
			ledger.Contradict: "警報  %s（%s）  知らせは来たが、内容が合わない",
			ledger.Unreadable: "警報  %s（%s）  読めない記録がある",
		},
		sides: map[ledger.Side]string{ledger.ClaimSide: "完了報告がない", ledger.AcknowledgementSide: "受領確認がない", ledger.ConfirmationSide: "社内確認のみで、独立の確認がない"},
		kinds: map[ledger.Kind]string{
			ledger.UploadCompleted: "送信した", ledger.UploadReceived: "受信を確認",
			ledger.ImportCompleted: "終了", ledger.ImportRegistered: "登録",
			ledger.ImportConfirmed: "自治体が控えと照合、一致", ledger.ImportDisputed: "自治体が控えと照合、不一致",
			ledger.OrderSent: "印刷を発注", ledger.OrderAccepted: "受注を確認",
			ledger.PrintCompleted: "印刷した", ledger.PrintCounted: "検収した",
			ledger.MailHandedOver: "差出", ledger.MailAccepted: "引受",
		},
	}
}

func inEnglish() tongue {
	return tongue{
		lang: "en", begin: "A story: virtual clock, real ledger. fault=%s, seed=%d",
		day: "Mon 2 Jan 2006", moment: "Mon 2 Jan 15:04",
		items: "%s items", byCount: "(count only, content not compared)", byRoot: "(content recomputed)",
		hop: "hop      %s: %s", claimed: "claimed  by %s at %s, about its own work", owed: "owed by  %s, due %s",
		missing: "missing  %s [%s]  %s", holder: "last provably with %s", closed: "alert closed by evidence",
		total:    "%d batches, %s items. Alerts %d, false %d, missed %d\n",
		quiet:    "No alert. Every acknowledgement came in time.",
		terminal: "  The terminal said   %s  %s: completed\n",
		ledger:   "  The ledger knew     %s  no acknowledgement by %s for %s items, %s after the claim\n",
		real:     "  In reality          %s\n", took: "%d h %d min %d s",
		contradicted: "a word came, with other content",
		ledgerSaw:    "  The ledger knew     %s  %s says other content than the %s items that were sent, %s after the claim\n",
		raised: map[ledger.Cause]string{
			ledger.Absence:    "ALERT  %s (%s)  the word that was due did not come",
			ledger.Contradict: "ALERT  %s (%s)  a word came and contradicts what was sent",
			ledger.Unreadable: "ALERT  %s (%s)  holds an event that cannot be read",
		},
		sides: map[ledger.Side]string{ledger.ClaimSide: "no claim", ledger.AcknowledgementSide: "no acknowledgement", ledger.ConfirmationSide: "confirmed by the claimant's own house only"},
		kinds: map[ledger.Kind]string{
			ledger.UploadCompleted: "sent", ledger.UploadReceived: "received",
			ledger.ImportCompleted: "終了 (completed)", ledger.ImportRegistered: "登録 (registered)",
			ledger.ImportConfirmed: "checked against the manifest: equal", ledger.ImportDisputed: "checked against the manifest: DIFFERENT",
			ledger.OrderSent: "ordered", ledger.OrderAccepted: "order accepted",
			ledger.PrintCompleted: "printed", ledger.PrintCounted: "counted",
			ledger.MailHandedOver: "差出 (handed over)", ledger.MailAccepted: "引受 (accepted)",
		},
	}
}
