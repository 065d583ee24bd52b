package main

import (
	"fmt"
	"time"

	"todoke/ledger"
	"todoke/projections"
)

type alertsCommand struct {
	asOf
	Open bool `help:"Only those that are open."`
}

// Run lists the alerts. It exits with 1 when one is open, and when one is due that
// nobody has raised: a ledger without a watchdog is not a quiet one.
func (c *alertsCommand) Run(a *app) error {
	var custody projections.Custody
	m, err := a.replay(c.asOf, &custody)
	if err != nil {
		return err
	}
	open, shown := 0, 0
	for _, row := range custody.Alerts() {
		if row.Open {
			open++
		} else if c.Open {
			continue
		}
		if shown++; shown > 1 && !a.JSON {
			fmt.Fprintln(a.out)
		}
		if a.JSON {
			if err := a.printJSON(row); err != nil {
				return err
			}
			continue
		}
		a.printAlert(&row)
	}
	unraised := custody.Unraised(m.now)
	if unraised > 0 {
		fmt.Fprintf(a.err, a.say("todoke: 期限を過ぎた警報 %d件がまだ出ていない。todoke serve は動いているか\n",
			"todoke: %d alerts are due and nobody has raised them: does todoke serve run?\n"), unraised)
	}
	if !a.JSON {
		if shown == 0 {
			fmt.Fprintln(a.out, a.say("警報なし", "no alerts"))
		}
		if err := a.footer(&custody, m); err != nil {
			return err
		}
	}
	return badNews(open > 0 || unraised > 0)
}

// printAlert writes one alert as an operator reads it at three in the morning:
// what is missing, who has to speak, who had it last, since when.
func (a *app) printAlert(r *projections.AlertRow) {
	state := a.say("未解決", "OPEN")
	if !r.Open {
		state = fmt.Sprintf(a.say("証拠により終了 %s（%s遅れ）", "closed by evidence at %s (%s late)"), stampOf(r.ClosedAt), time.Duration(r.LateByS*float64(time.Second)).Round(time.Second))
	}
	fmt.Fprintf(a.out, a.say("警報 %s  %s  %s\n", "ALERT %s  %s  %s\n"), r.Batch, a.cause(r), state)
	fmt.Fprintf(a.out, a.say("  受渡し    %s %s\n", "  hop       %s %s\n"), r.Hop, a.side(r.Side))
	fmt.Fprintf(a.out, a.say("  完了報告  %s（%s、自己申告）\n", "  claimed   by %s (%s, about its own work)\n"), r.ClaimedBy, stampOf(r.ClaimedAt))
	fmt.Fprintf(a.out, a.say("  待つ相手  %s、期限 %s、警報 %s\n", "  owed      by %s, due %s, raised %s\n"), r.OwedBy, stamp(r.Due), stamp(r.RaisedAt))
	if r.Open {
		fmt.Fprintf(a.out, a.say("  不足      %d通 %s（発生時 %d通）\n", "  missing   %d items %s (%d when raised)\n"), r.MissingCount, short(r.Missing), r.Count)
	} else {
		fmt.Fprintf(a.out, a.say("  不足だった %d通 %s\n", "  was missing %d items %s\n"), r.Count, short(r.Items))
	}
	a.printTowns(r.Towns)
	fmt.Fprintf(a.out, a.say("  最後に確かに持っていた者  %s\n", "  last provably with  %s\n"), r.Holder)
}

func (a *app) cause(r *projections.AlertRow) string {
	switch {
	case r.Cause == ledger.Contradict:
		return a.say("知らせの内容が合わない", "a word came and contradicts")
	case r.Cause == ledger.Unreadable:
		return a.say("読めない記録がある", "holds an event that cannot be read")
	case r.Speaking:
		return a.say("話しているが、受領確認をしていない", "speaking but not acknowledging")
	}
	if r.Since == nil {
		return a.say("知らせが来なかった", "no word came")
	}
	return fmt.Sprintf(a.say("%s から沈黙", "silent since %s"), stampOf(r.Since))
}
