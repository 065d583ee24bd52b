package story

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"time"

	"github.com/nats-io/nkeys"
	"github.com/rs/zerolog"

	"todoke/consumers/watchdog"
	"todoke/ledger"
	"todoke/producers"
	"todoke/producers/intake"
)

// Tick is the story's smallest step: the watchdog looks this long after a due
// time, since a word at the due time itself is in time.
const Tick = time.Second

// A Clock is the story's clock. It stands still until the player moves it.
type Clock struct{ now time.Time }

// Now returns the story's time.
func (c *Clock) Now() time.Time { return c.now }

// NewClock returns a clock that stands at the beginning of the story.
func (s *Story) NewClock() *Clock { return &Clock{s.Begin} }

// Config is what a play needs.
type Config struct {
	Story *Story
	Log   ledger.Log // of a story ledger; its record times come from Clock
	Clock *Clock
	Dir   string // the gateways' folder, and the parties' keys
	Seed  uint64
	Fault Fault
	Items ledger.Items // what the partial fault does not move
	// Shrink divides the households of every town, to no less than 20, for
	// plays by the thousand. 0 and 1 leave them.
	Shrink int
	// Seen is called with every event as soon as it is durable.
	Seen func(ledger.Event) error
}

// A Play is what a player leaves behind.
type Play struct {
	Batches map[string]string // batch ids by name of the lot
	Items   int               // of all batches
}

// A player walks through a story.
type player struct {
	Config
	random   *rand.Rand
	salts    *rand.ChaCha8
	lots     map[string]*lot
	gateways map[string]*intake.Gateway
	speakers map[ledger.Party]*producers.Reporter
	dog      *watchdog.Watchdog
	steps    []Step // what is still to come, by time
	seen     ledger.Seq
	answers  []answer // what gateways are about to say
}

// A lot is a batch in the world: what each role really holds of it.
type lot struct {
	spec    *Lot
	id      string // once the gateway has taken it
	sheet   sheet
	key     [32]byte
	holds   map[ledger.Role]ledger.Items
	altered uint32 // an item whose content the registry has otherwise; 0 for none
}

// An answer is what a gateway says by itself, a minute after the notice.
type answer struct {
	at           time.Time
	municipality string
	report       producers.Report
}

// Perform plays the story to its end.
func Perform(ctx context.Context, cfg Config) (Play, error) {
	p := &player{Config: cfg, lots: make(map[string]*lot),
		gateways: make(map[string]*intake.Gateway), speakers: make(map[ledger.Party]*producers.Reporter)}
	defer p.close()
	if err := p.prepare(); err != nil {
		return Play{}, fmt.Errorf("prepare story: %w", err)
	}
	for {
		at, act, ok := p.next()
		if !ok {
			break
		}
		p.Clock.now = at
		if err := act(ctx); err != nil {
			return Play{}, fmt.Errorf("at %s: %w", at.Format("01-02 15:04"), err)
		}
		if err := p.dog.Tick(ctx); err != nil {
			return Play{}, err
		}
		if err := p.look(ctx); err != nil {
			return Play{}, err
		}
	}
	p.Clock.now = p.Story.End
	play := Play{Batches: make(map[string]string)}
	for name, l := range p.lots {
		play.Batches[name] = l.id
		play.Items += len(l.sheet.rows)
	}
	return play, p.look(ctx)
}

func (p *player) prepare() error {
	var seed [32]byte
	copy(seed[:], fmt.Sprintf("todoke story %d", p.Seed))
	p.salts = rand.NewChaCha8(seed)
	p.random = rand.New(rand.NewPCG(p.Seed, uint64(len(p.Story.Incident))))
	for i := range p.Story.Lots {
		spec := p.shrink(p.Story.Lots[i])
		s, err := makeSheet(&spec, p.random)
		if err != nil {
			return err
		}
		p.lots[spec.Name] = &lot{spec: &spec, sheet: s, holds: make(map[ledger.Role]ledger.Items)}
	}
	for _, s := range p.Story.Steps {
		delay := time.Duration(p.random.Int64N(int64(s.Delay) + 1)).Truncate(time.Second)
		if (s.Only == "" || s.Only == p.Fault) && s.Unless != p.Fault {
			s.At = s.At.Add(delay)
			p.steps = append(p.steps, s)
		}
	}
	slices.SortStableFunc(p.steps, func(a, b Step) int { return a.At.Compare(b.At) })
	key, err := p.localKey(ledger.Party(ledger.Watchdog))
	if err != nil {
		return err
	}
	p.dog, err = watchdog.New(watchdog.Config{Log: p.Log, Party: ledger.Party(ledger.Watchdog), Key: key,
		Now: p.Clock.Now, Rand: p.salts, Logger: zerolog.Nop()})
	return err
}

func (p *player) shrink(lot Lot) Lot {
	if p.Shrink > 1 {
		lot.Towns = slices.Clone(lot.Towns)
		for i := range lot.Towns {
			lot.Towns[i].N = max(20, lot.Towns[i].N/p.Shrink)
		}
	}
	return lot
}

func (p *player) localKey(party ledger.Party) (nkeys.KeyPair, error) {
	return producers.LocalKey(filepath.Join(p.Dir, "keys"), party, p.salts)
}

func (p *player) close() {
	for _, g := range p.gateways {
		g.Close()
	}
}

// next returns the earliest thing that happens: a gateway's answer, a step, or
// a due time of which the watchdog has to see the end.
func (p *player) next() (at time.Time, act func(context.Context) error, ok bool) {
	consider := func(t time.Time, f func(context.Context) error) {
		if !t.After(p.Story.End) && (!ok || t.Before(at)) {
			at, act, ok = t, f, true
		}
	}
	if len(p.answers) > 0 {
		consider(p.answers[0].at, p.reply)
	}
	if len(p.steps) > 0 {
		consider(p.steps[0].At, p.step)
	}
	if due, some := p.dog.Next(); some {
		consider(later(due.Truncate(Tick).Add(Tick), p.Clock.now), func(context.Context) error { return nil })
	}
	return at, act, ok
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// reply says what a gateway has to say about a notice.
func (p *player) reply(ctx context.Context) error {
	a := p.answers[0]
	p.answers = p.answers[1:]
	return p.report(ctx, ledger.Party("municipality:"+a.municipality), a.report)
}

// step does the work of the next line and reports it. A party that holds
// nothing has nothing to say.
func (p *player) step(ctx context.Context) error {
	s := p.steps[0]
	p.steps = p.steps[1:]
	l := p.lots[s.Lot]
	if s.Kind == ledger.UploadCompleted {
		return p.upload(ctx, l, s)
	}
	hop, claim := hopOf(s.Kind)
	role := hop.From
	if !claim {
		role = hop.To
	}
	holds := l.holds[role]
	if len(holds) == 0 {
		return nil
	}
	r := producers.Report{Kind: s.Kind, Batch: l.id}
	if claim {
		r.Items = holds
		l.holds[hop.To] = p.move(l, s.Kind, holds)
		return p.report(ctx, s.Party, r)
	}
	switch s.Basis {
	case ledger.BasisCount:
		r.Count = uint32(holds.Count())
	case ledger.BasisRoot:
		r.Items, r.Root = holds, l.root(role, holds)
	default:
		r.Items = part(holds, s.Part, s.Of)
	}
	return p.report(ctx, s.Party, r)
}

// hopOf returns the hop of a kind, and whether the kind is its claim.
func hopOf(k ledger.Kind) (hop ledger.Hop, claim bool) {
	for _, h := range ledger.NotificationCard.Hops {
		if h.Claim == k || h.Ack == k {
			return h, h.Claim == k
		}
	}
	return ledger.Hop{}, false
}

// upload is the municipality's morning: the gateway takes the file, and the
// rows go out on the dedicated line together with the batch key.
func (p *player) upload(ctx context.Context, l *lot, s Step) error {
	g, err := p.gateway(l.spec.Municipality)
	if err != nil {
		return err
	}
	taken, err := g.Take(ctx, bytes.NewReader(l.sheet.file))
	if err != nil {
		return err
	}
	l.id = taken.Batch
	if l.key, err = g.BatchKey(taken.Batch); err != nil {
		return err
	}
	l.holds[ledger.Relay] = ledger.AllItems(len(l.sheet.rows))
	return p.report(ctx, s.Party, taken.Report())
}

func (p *player) gateway(municipality string) (*intake.Gateway, error) {
	if g := p.gateways[municipality]; g != nil {
		return g, nil
	}
	g, err := intake.Open(intake.Config{Dir: filepath.Join(p.Dir, "gateway", municipality), Municipality: municipality,
		Now: p.Clock.Now, Rand: p.salts})
	if err == nil {
		p.gateways[municipality] = g
	}
	return g, err
}

// move is what really happens when somebody says that it is done: usually all
// of it arrives. The import of the faulty batch is where the fault is.
func (p *player) move(l *lot, kind ledger.Kind, items ledger.Items) ledger.Items {
	if kind != ledger.ImportCompleted || l.spec.Name != p.Story.Faulty {
		return items
	}
	switch p.Fault {
	case ImportFault:
		return nil
	case PartialFault:
		return items.Minus(p.Items)
	case ContentFault:
		l.altered = uint32(1 + p.random.IntN(len(l.sheet.rows)))
	}
	return items
}

// root recomputes the root over the rows that a role really holds.
func (l *lot) root(role ledger.Role, items ledger.Items) ledger.Root {
	var tree ledger.RootBuilder
	committer := ledger.NewCommitter(l.key)
	for n := range items.All {
		row := l.sheet.rows[n-1]
		if role == ledger.Registry && n == l.altered {
			row = append(slices.Clone(row), ' ')
		}
		tree.Add(committer.Commit(n, row))
	}
	return tree.Root()
}

// part returns the i-th of n parts of a set of items.
func part(items ledger.Items, i, n int) ledger.Items {
	total := items.Count()
	first, last := total*(i-1)/n, total*i/n
	var numbers []uint32
	k := 0
	for item := range items.All {
		if k >= first && k < last {
			numbers = append(numbers, item)
		}
		k++
	}
	return ledger.CollectItems(numbers)
}

func (p *player) report(ctx context.Context, party ledger.Party, r producers.Report) error {
	reporter := p.speakers[party]
	if reporter == nil {
		key, err := p.localKey(party)
		if err != nil {
			return err
		}
		reporter, err = producers.New(producers.Config{Log: p.Log, Party: party, Key: key, Now: p.Clock.Now, Rand: p.salts})
		if err != nil {
			return err
		}
		p.speakers[party] = reporter
	}
	_, err := reporter.Report(ctx, r)
	return err
}

// look reads what is new in the ledger, shows it, and lets the gateways hear of
// it.
func (p *player) look(ctx context.Context) error {
	head, err := p.Log.Head(ctx)
	if err != nil {
		return err
	}
	if head == p.seen {
		return nil
	}
	for r, err := range p.Log.Read(ctx, p.seen+1, head) {
		if err != nil {
			return err
		}
		p.seen = r.Seq
		e, err := ledger.Decode(r)
		if err != nil {
			return fmt.Errorf("read event %d: %w", r.Seq, err)
		}
		if p.Seen != nil {
			if err := p.Seen(e); err != nil {
				return err
			}
		}
		if err := p.hear(e); err != nil {
			return err
		}
	}
	if p.seen != head {
		return errors.Join(io.ErrUnexpectedEOF, fmt.Errorf("read ended at %d, head is %d", p.seen, head))
	}
	return nil
}

// hear lets the gateway of an event's municipality answer it.
func (p *player) hear(e ledger.Event) error {
	g := p.gateways[e.Subject.Municipality]
	if g == nil {
		return nil
	}
	report, ok, err := g.Answer(e)
	if err != nil || !ok {
		return err
	}
	p.answers = append(p.answers, answer{e.Time.Add(time.Minute), e.Subject.Municipality, report})
	slices.SortStableFunc(p.answers, func(a, b answer) int { return a.at.Compare(b.at) })
	return nil
}
