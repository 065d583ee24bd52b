package ledger_test

import (
	"bufio"
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"todoke/ledger"
	"todoke/ledger/rule"
)

var update = flag.Bool("update", false, "write what the scripts print into them; read the difference before committing it")

const batchID = "131229-20151005-0042"

// A story is a batch being talked about: the script's clock, and its state.
type story struct {
	t     *testing.T
	state ledger.State
	pack  *rule.Pack
	now   time.Time
	seq   ledger.Seq
	out   bytes.Buffer
}

// TestFold plays the scripts in testdata/fold. A script is a text: lines of
// words, and below each "judge" or "decide" line, behind "| ", what it prints.
//
//	rules PROFILE             full unless said
//	at MM-DD HH:MM[:SS]       moves the clock, 2015 JST
//	PARTY KIND key=value…     one word: items, count, root, basis, grade, speaker, document
//	judge                     prints custody, obligations, anomalies
//	decide                    prints what a watchdog would append now, and appends it
func TestFold(t *testing.T) {
	scripts, err := filepath.Glob("testdata/fold/*.txt")
	if err != nil || len(scripts) == 0 {
		t.Fatalf("no scripts: %v", err)
	}
	for _, path := range scripts {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".txt"), func(t *testing.T) {
			script, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			s := &story{t: t, pack: rule.Default()}
			s.at("10-05 09:00")
			lines := bufio.NewScanner(bytes.NewReader(script))
			for lines.Scan() {
				if !strings.HasPrefix(lines.Text(), "| ") {
					s.play(lines.Text())
				}
			}
			if *update {
				if err := os.WriteFile(path, s.out.Bytes(), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if got := s.out.String(); got != string(script) {
				t.Errorf("prints:\n%s\nwant:\n%s", got, script)
			}
		})
	}
}

func (s *story) play(line string) {
	fmt.Fprintln(&s.out, line)
	verb, rest, _ := strings.Cut(line, " ")
	switch {
	case line == "" || strings.HasPrefix(line, "#"):
	case verb == "rules":
		pack, err := rule.Profile(rest)
		if err != nil {
			s.t.Fatal(err)
		}
		s.pack = pack
	case verb == "at":
		s.at(rest)
	case verb == "judge":
		s.judge()
	case verb == "decide":
		s.decide()
	default:
		s.word(verb, rest)
	}
}

func (s *story) at(text string) {
	layout := "2006-01-02 15:04"
	if strings.Count(text, ":") == 2 {
		layout += ":05"
	}
	now, err := time.ParseInLocation(layout, "2015-"+text, ledger.JST)
	if err != nil {
		s.t.Fatal(err)
	}
	s.now = now
}

// word applies PARTY KIND key=value….
func (s *story) word(party, rest string) {
	fields := strings.Fields(rest)
	kind, err := ledger.ParseKind(fields[0])
	if err != nil {
		s.t.Fatalf("%s %s: %v", party, rest, err)
	}
	e := s.event(ledger.Party(party), kind)
	e.Content.Flow = ledger.NotificationCard.Name
	for _, f := range fields[1:] {
		key, value, _ := strings.Cut(f, "=")
		s.field(&e.Content, key, value)
	}
	if e.Content.Count == 0 {
		e.Content.Count = uint32(e.Content.Items.Count())
	}
	s.state.ApplyDecoded(&e, nil)
}

func (s *story) event(party ledger.Party, kind ledger.Kind) ledger.Event {
	s.seq++
	return ledger.Event{
		Record:  ledger.Record{Seq: s.seq, Header: ledger.Header{ledger.HeaderSent: {s.now.UTC().Format(ledger.TimeFormat)}}},
		Subject: ledger.Subject{Municipality: "131229", Aggregate: batchID, Kind: kind},
		Author:  party, Time: s.now,
	}
}

func (s *story) field(b *ledger.Body, key, value string) {
	switch key {
	case "items":
		if err := b.Items.UnmarshalText([]byte(value)); err != nil {
			s.t.Fatal(err)
		}
	case "count":
		fmt.Sscan(value, &b.Count)
	case "flow":
		b.Flow = value
	case "root":
		b.Root[0] = value[0]
	case "basis":
		for basis := ledger.BasisCount; basis <= ledger.BasisRoot; basis++ {
			if basis.String() == value {
				b.Basis = basis
			}
		}
	case "grade":
		fmt.Sscan(value, (*uint8)(&b.Grade))
	case "speaker":
		b.Speaker = ledger.Party(value)
	case "document":
		b.Document.Kind = value
	case "towns": // name:items/name:items
		for part := range strings.SplitSeq(value, "/") {
			name, items, _ := strings.Cut(part, ":")
			t := ledger.Town{Name: name}
			if err := t.Items.UnmarshalText([]byte(items)); err != nil {
				s.t.Fatal(err)
			}
			t.Count = uint32(t.Items.Count())
			b.Towns = append(b.Towns, t)
		}
	default:
		s.t.Fatalf("no field %q", key)
	}
}

func (s *story) judgement() *ledger.Judgement {
	b := s.state.Batch("131229", batchID)
	if b == nil {
		s.t.Fatal("nothing was said yet")
	}
	j := b.Judge(s.pack)
	if err := j.Check(); err != nil {
		s.t.Fatal(err)
	}
	return j
}

func (s *story) judge() {
	j := s.judgement()
	for k, held := range j.Custody() {
		if len(held) > 0 {
			s.printf("held by %s: %s", j.Holder(k, held), held)
		}
	}
	for i := range j.Obligations {
		o := &j.Obligations[i]
		flags := ""
		if o.Contradiction != nil {
			flags += " CONTRADICTED"
		}
		if o.Speaking {
			flags += " speaking"
		}
		if o.Late(s.now) {
			flags += " LATE"
		}
		s.printf("owed: %s %s of %s by %s, due %s%s", o.Hop, o.Side, o.Items, o.OwedBy, o.Due.In(ledger.JST).Format("01-02 15:04"), flags)
	}
	for k := range j.Hops {
		if h := &j.Hops[k]; len(h.InHouse) > 0 {
			s.printf("in house only: %s %s", h.Hop.Stage, h.InHouse)
		}
		if h := &j.Hops[k]; len(h.Acknowledged) > 0 {
			s.printf("acknowledged: %s %s, basis %s, grade %d", h.Hop.Stage, h.Acknowledged, h.Basis, h.Grade)
		}
	}
	for _, a := range j.Anomalies {
		s.printf("anomaly: %s at %s, event %d against %d, items %s, have %d want %d", a.Code, a.Hop, a.Said, a.Other, a.Items, a.Have, a.Want)
	}
}

func (s *story) decide() {
	decisions := s.judgement().Decide(s.now)
	for _, d := range decisions {
		b := d.Body
		s.printf("%s %s %s, %s: %d items %s, owed by %s, claimed by %s, held by %s, towns %d, evidence %v",
			d.Subject.Kind, b.Hop, b.Side, b.Cause, b.Count, b.Items, b.OwedBy, b.ClaimedBy, b.Holder, len(b.Towns), b.Evidence)
		e := s.event("watchdog", d.Subject.Kind)
		e.Content = b
		s.state.ApplyDecoded(&e, nil)
	}
	if len(decisions) == 0 {
		s.printf("nothing")
	}
	if again := s.judgement().Decide(s.now); len(again) > 0 {
		s.t.Errorf("decided again at the same moment: %v", again)
	}
}

func (s *story) printf(format string, args ...any) {
	fmt.Fprintf(&s.out, "| "+format+"\n", args...)
}
