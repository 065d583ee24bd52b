package ledger_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"todoke/ledger"
	"todoke/ledger/rule"
)

// batchSize is small, so that random sets meet.
const batchSize = 12

// speech is what one party says, in its own order.
type speech struct {
	party ledger.Party
	words []ledger.Body
	kinds []ledger.Kind
}

// drawSpeeches draws what every party of the flow says about one batch: true,
// false, early, partial, repeated, by root, by items and by number.
func drawSpeeches(t *rapid.T) []speech {
	parties := []struct {
		party ledger.Party
		kinds []ledger.Kind
	}{
		{"municipality:131229", []ledger.Kind{ledger.UploadCompleted, ledger.ImportConfirmed, ledger.ImportDisputed}},
		{"relay:2", []ledger.Kind{ledger.UploadReceived, ledger.ImportCompleted}},
		{"relay:3", []ledger.Kind{ledger.ImportCompleted}},
		{"registry:jlis", []ledger.Kind{ledger.ImportRegistered, ledger.OrderSent}},
		{"printer:npb", []ledger.Kind{ledger.OrderAccepted, ledger.PrintCompleted}},
		{"inspector:npb", []ledger.Kind{ledger.PrintCounted, ledger.MailHandedOver}},
		{"post:jp", []ledger.Kind{ledger.MailAccepted}},
	}
	var speeches []speech
	for _, p := range parties {
		s := speech{party: p.party}
		most := 5
		if p.party == "relay:3" {
			most = 1
		}
		for range rapid.IntRange(0, most).Draw(t, string(p.party)) {
			kind := rapid.SampledFrom(p.kinds).Draw(t, "kind")
			s.kinds = append(s.kinds, kind)
			s.words = append(s.words, drawWord(t, kind))
		}
		speeches = append(speeches, s)
	}
	return speeches
}

func drawWord(t *rapid.T, kind ledger.Kind) ledger.Body {
	b := ledger.Body{Flow: ledger.NotificationCard.Name, Items: drawItems(t)}
	b.Count = uint32(b.Items.Count())
	root := func() { b.Root[0] = rapid.SampledFrom([]byte{1, 1, 1, 2}).Draw(t, "root") }
	switch kind {
	case ledger.UploadCompleted:
		if rapid.IntRange(0, 3).Draw(t, "whole") > 0 {
			b.Items, b.Count = ledger.AllItems(batchSize), batchSize
		}
		root()
	case ledger.ImportCompleted, ledger.OrderSent, ledger.PrintCompleted, ledger.MailHandedOver:
	default:
		b.Basis = rapid.SampledFrom([]ledger.Basis{ledger.BasisCount, ledger.BasisItems, ledger.BasisRoot}).Draw(t, "basis")
		if b.Basis == ledger.BasisRoot {
			root()
		}
		if b.Basis == ledger.BasisCount && kind != ledger.ImportConfirmed && kind != ledger.ImportDisputed {
			b.Items = nil
		}
	}
	return b
}

func drawItems(t *rapid.T) ledger.Items {
	if rapid.Bool().Draw(t, "all") {
		return ledger.AllItems(batchSize)
	}
	numbers := rapid.SliceOfNDistinct(rapid.Uint32Range(1, batchSize+1), 1, batchSize, rapid.ID[uint32]).Draw(t, "items")
	return ledger.CollectItems(numbers)
}

// interleave draws an order of all words that keeps each party's own, and
// applies them at one moment.
func interleave(t *rapid.T, speeches []speech, check func(*ledger.Batch)) *ledger.Batch {
	var state ledger.State
	at := make([]int, len(speeches))
	now := time.Date(2015, 10, 5, 9, 0, 0, 0, ledger.JST)
	seq := ledger.Seq(0)
	for {
		var ready []int
		for i, s := range speeches {
			if at[i] < len(s.words) {
				ready = append(ready, i)
			}
		}
		if len(ready) == 0 {
			return state.Batch("131229", batchID)
		}
		i := rapid.SampledFrom(ready).Draw(t, "next")
		seq++
		e := ledger.Event{Record: ledger.Record{Seq: seq}, Author: speeches[i].party, Time: now, Content: speeches[i].words[at[i]],
			Subject: ledger.Subject{Municipality: "131229", Aggregate: batchID, Kind: speeches[i].kinds[at[i]]}}
		at[i]++
		b := state.ApplyDecoded(&e, nil)
		if check != nil {
			check(b)
		}
	}
}

// outcome writes down custody and obligations of a judgement.
func outcome(j *ledger.Judgement) string {
	var s strings.Builder
	for _, held := range j.Custody() {
		fmt.Fprintf(&s, "[%s] ", held)
	}
	for i := range j.Obligations {
		o := &j.Obligations[i]
		fmt.Fprintf(&s, "\n%s %s %s due %s contradicted %t", o.Hop, o.Side, o.Items, o.Due.In(ledger.JST), o.Contradiction != nil)
	}
	return s.String()
}

// TestEveryInterleavingGivesTheSameCustodyAndObligations: parties are off line
// for days, so the order across them means nothing.
func TestEveryInterleavingGivesTheSameCustodyAndObligations(t *testing.T) {
	packs := []*rule.Pack{}
	for _, name := range rule.Profiles() {
		p, err := rule.Profile(name)
		if err != nil {
			t.Fatal(err)
		}
		packs = append(packs, p)
	}
	rapid.Check(t, func(t *rapid.T) {
		speeches := drawSpeeches(t)
		one, two := interleave(t, speeches, nil), interleave(t, speeches, nil)
		if one == nil {
			return
		}
		for _, p := range packs {
			if a, b := outcome(one.Judge(p)), outcome(two.Judge(p)); a != b {
				t.Fatalf("%s: one order gives\n%s\nanother gives\n%s", p.Version(), a, b)
			}
		}
	})
}

// TestInvariantsHoldAfterEveryWord, whatever is said, and decisions settle: what
// was decided and applied is not decided again.
func TestInvariantsHoldAfterEveryWord(t *testing.T) {
	late := time.Date(2015, 12, 1, 9, 0, 0, 0, ledger.JST)
	rapid.Check(t, func(t *rapid.T) {
		interleave(t, drawSpeeches(t), func(b *ledger.Batch) {
			j := b.Judge(rule.Default())
			if err := j.Check(); err != nil {
				t.Fatal(err)
			}
			for _, d := range j.Decide(late) {
				if d.Head != b.Head {
					t.Fatalf("decided on head %d, batch is at %d", d.Head, b.Head)
				}
			}
		})
	})
}
