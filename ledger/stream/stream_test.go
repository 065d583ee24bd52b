package stream_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"todoke/ledger"
	"todoke/ledger/stream"
	"todoke/testenv"
)

const batch = "131229-20151005-0042"

var items = ledger.Items{{First: 1, Last: 551}}

// refused opens a ledger that must not open and closes nothing.
func refused(t *testing.T, cfg stream.Config, want error, words ...string) {
	t.Helper()
	l, err := stream.Open(t.Context(), cfg)
	if err == nil {
		l.Close()
	}
	if !errors.Is(err, want) {
		t.Fatalf("open: error is %v, want %v", err, want)
	}
	for _, word := range words {
		if !strings.Contains(err.Error(), word) {
			t.Errorf("open: error %q does not say %q", err, word)
		}
	}
}

func claim(t testing.TB, l ledger.Log, slip string) ledger.Record {
	t.Helper()
	return testenv.Claim(t, l.ID(), batch, slip, items)
}

func appendTo(t testing.TB, l ledger.Log, r ledger.Record) ledger.Receipt {
	t.Helper()
	receipt, err := l.Append(context.Background(), r)
	if err != nil {
		t.Fatalf("append: %v", err)
	}
	return receipt
}

func closeLedger(t testing.TB, l *stream.Ledger) {
	t.Helper()
	if err := l.Close(); err != nil {
		t.Fatalf("close: %v", err)
	}
}

func TestOneProcessHasTheFolder(t *testing.T) {
	cfg := config(t, t.TempDir())
	l := open(t, cfg)
	refused(t, cfg, ledger.ErrLocked, strconv.Itoa(os.Getpid()))
	closeLedger(t, l)
	open(t, cfg)
}

func TestNoLedgerIsMadeWithoutAnOpening(t *testing.T) {
	cfg := config(t, filepath.Join(t.TempDir(), "nothing"))
	cfg.Opening.Pack = nil
	refused(t, cfg, ledger.ErrNoLedger)
	if _, err := os.Stat(cfg.Dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the folder was made: %v", err)
	}
	cfg.Opening = config(t, cfg.Dir).Opening
	closeLedger(t, open(t, cfg))
	cfg.Opening.Pack = nil // not needed any more
	open(t, cfg)
}

// TestInterruptedBeginningGoesOn stops the making of a ledger where a crash
// could, by an opening that cannot be written.
func TestInterruptedBeginningGoesOn(t *testing.T) {
	for name, spoil := range map[string]func(*stream.Config){
		"after the stream":      func(c *stream.Config) { c.Party = "nobody" },
		"after the first event": func(c *stream.Config) { c.Opening.Pack = []byte(strings.Repeat("x", ledger.MaxBody)) },
	} {
		t.Run(name, func(t *testing.T) {
			cfg := config(t, t.TempDir())
			good := cfg
			spoil(&cfg)
			refused(t, cfg, ledger.ErrRefused)
			cfg = good
			l := open(t, cfg)
			id := l.ID()
			var kinds []ledger.Kind
			for r, err := range l.Read(t.Context(), 1, 2) {
				if err != nil {
					t.Fatal(err)
				}
				e, err := ledger.Decode(r)
				if err != nil {
					t.Fatal(err)
				}
				kinds = append(kinds, e.Kind())
			}
			if fmt.Sprint(kinds) != "[ledger.opened rules.published]" {
				t.Errorf("the ledger begins with %v", kinds)
			}
			testenv.CheckLedger(t, l)
			closeLedger(t, l)
			if again := open(t, cfg); again.ID() != id || head(t, again) != 2 {
				t.Errorf("opened again: ledger %s at %d, want %s at 2", again.ID(), head(t, again), id)
			}
		})
	}
}

func TestDriftedConfigurationIsRefused(t *testing.T) {
	for name, drift := range map[string]func(*jetstream.StreamConfig){
		"max_msgs":         func(c *jetstream.StreamConfig) { c.MaxMsgs = 1000 },
		"max_bytes":        func(c *jetstream.StreamConfig) { c.MaxBytes = 1 << 20 },
		"max_age":          func(c *jetstream.StreamConfig) { c.MaxAge = time.Hour * 24 * 365 },
		"max_msg_size":     func(c *jetstream.StreamConfig) { c.MaxMsgSize = 1 << 20 },
		"duplicate_window": func(c *jetstream.StreamConfig) { c.Duplicates = time.Minute },
		"discard":          func(c *jetstream.StreamConfig) { c.Discard = jetstream.DiscardOld },
		"allow_direct":     func(c *jetstream.StreamConfig) { c.AllowDirect = false },
		"subjects":         func(c *jetstream.StreamConfig) { c.Subjects = append(c.Subjects, "other.>") },
		"description":      func(c *jetstream.StreamConfig) { c.Description = "mine" },
		"compression":      func(c *jetstream.StreamConfig) { c.Compression = jetstream.S2Compression },
		"metadata":         func(c *jetstream.StreamConfig) { c.Metadata["other"] = "1" },
		"allow_msg_ttl":    func(c *jetstream.StreamConfig) { c.AllowMsgTTL = true },
		"republish":        func(c *jetstream.StreamConfig) { c.RePublish = &jetstream.RePublish{Destination: "copy.>"} },
		"allow_batched":    func(c *jetstream.StreamConfig) { c.AllowBatchPublish = true },
		"max_msgs_per":     func(c *jetstream.StreamConfig) { c.MaxMsgsPerSubject = 100 },
	} {
		t.Run(name, func(t *testing.T) {
			cfg := config(t, t.TempDir())
			l := open(t, cfg)
			update(t, l, drift)
			closeLedger(t, l)
			refused(t, cfg, ledger.ErrDrift, name)
		})
	}
}

// update changes the stream as an administrator could.
func update(t *testing.T, l *stream.Ledger, change func(*jetstream.StreamConfig)) {
	t.Helper()
	js, err := jetstream.New(l.Conn())
	if err != nil {
		t.Fatal(err)
	}
	s, err := js.Stream(t.Context(), stream.Name)
	if err != nil {
		t.Fatal(err)
	}
	cfg := s.CachedInfo().Config
	change(&cfg)
	if _, err := js.UpdateStream(t.Context(), cfg); err != nil {
		t.Fatalf("update stream: %v", err)
	}
}

func TestStoreThatIsNotTheFoldersIsRefused(t *testing.T) {
	for name, c := range map[string]struct {
		change func(t *testing.T, dir, other string)
		want   error
	}{
		"another ledger's store": {func(t *testing.T, dir, other string) {
			if err := errors.Join(os.RemoveAll(filepath.Join(dir, "jetstream")),
				os.CopyFS(filepath.Join(dir, "jetstream"), os.DirFS(filepath.Join(other, "jetstream")))); err != nil {
				t.Fatal(err)
			}
		}, ledger.ErrOtherLedger},
		"no store any more": {func(t *testing.T, dir, _ string) {
			if err := os.RemoveAll(filepath.Join(dir, "jetstream")); err != nil {
				t.Fatal(err)
			}
		}, ledger.ErrGap},
	} {
		t.Run(name, func(t *testing.T) {
			mine, other := config(t, t.TempDir()), config(t, t.TempDir())
			closeLedger(t, open(t, mine))
			closeLedger(t, open(t, other))
			c.change(t, mine.Dir, other.Dir)
			refused(t, mine, c.want)
		})
	}
}

// TestMissingEventsAreNoticed lets a limit delete what denial of deletion does
// not protect, and takes the limit away again.
func TestMissingEventsAreNoticed(t *testing.T) {
	for name, limit := range map[string]func(*jetstream.StreamConfig){
		"in the middle":    func(c *jetstream.StreamConfig) { c.MaxMsgsPerSubject = 1 },
		"at the beginning": func(c *jetstream.StreamConfig) { c.MaxMsgs, c.Discard = 10, jetstream.DiscardOld },
	} {
		t.Run(name, func(t *testing.T) {
			cfg := config(t, t.TempDir())
			l := open(t, cfg)
			for i := range 50 {
				appendTo(t, l, claim(t, l, strconv.Itoa(i)))
			}
			update(t, l, limit)
			update(t, l, func(c *jetstream.StreamConfig) {
				c.MaxMsgs, c.MaxMsgsPerSubject, c.Discard = -1, -1, jetstream.DiscardNew
			})
			for _, first := range []ledger.Seq{1, 30} {
				var last error
				for r, err := range l.Read(t.Context(), first, 51) {
					if last = err; err == nil && r.Seq > 2 {
						t.Errorf("read from %d: event %d came after a gap", first, r.Seq)
					}
				}
				if !errors.Is(last, ledger.ErrGap) {
					t.Errorf("read from %d: error is %v, want a gap", first, last)
				}
			}
			closeLedger(t, l)
			refused(t, cfg, ledger.ErrGap)
		})
	}
}

func TestStoryRules(t *testing.T) {
	const story = "katsushika-2015"
	player := config(t, t.TempDir())
	player.Story, player.Opening.Story = story, story
	l := open(t, player)
	if l.Story() != story {
		t.Fatalf("story is %q", l.Story())
	}
	appendTo(t, l, claim(t, l, "played"))
	closeLedger(t, l)

	for _, role := range []string{"", "another-story"} {
		t.Run("opened as "+strconv.Quote(role), func(t *testing.T) {
			reader := player
			reader.Story = role
			l := open(t, reader)
			if l.Story() != story {
				t.Errorf("story is %q", l.Story())
			}
			_, err := l.Append(t.Context(), claim(t, l, "meddled"))
			if !errors.Is(err, ledger.ErrStory) {
				t.Errorf("append: error is %v, want ErrStory", err)
			}
			_, err = l.Decide(t.Context(), 0, testenv.Alert(t, l.ID(), batch, "alert", items))
			if !errors.Is(err, ledger.ErrStory) {
				t.Errorf("decide: error is %v, want ErrStory", err)
			}
			testenv.CheckLedger(t, l)
			closeLedger(t, l)
		})
	}
	if l := open(t, player); head(t, l) != 3 {
		t.Errorf("head is %d, want 3", head(t, l))
	}
	ordinary := config(t, t.TempDir())
	closeLedger(t, open(t, ordinary))
	ordinary.Story = story
	refused(t, ordinary, ledger.ErrOtherLedger, "ordinary")
}

func TestEndpointFile(t *testing.T) {
	cfg := config(t, t.TempDir())
	path := filepath.Join(cfg.Dir, "endpoint")
	if _, err := stream.ReadEndpoint(cfg.Dir); !errors.Is(err, ledger.ErrUnavailable) {
		t.Errorf("before the start: error is %v, want ErrUnavailable", err)
	}
	l := open(t, cfg)
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("endpoint file: %v, %v", info, err)
	}
	e, err := stream.ReadEndpoint(cfg.Dir)
	if err != nil || e != l.Endpoint() || e.PID != os.Getpid() || e.Ledger != l.ID().String() {
		t.Errorf("endpoint is %+v, %v", e, err)
	}
	if strings.Contains(e.Address(), "@") || !strings.HasPrefix(e.Address(), "nats://127.0.0.1:") {
		t.Errorf("address is %s", e.Address())
	}
	if nc, err := nats.Connect(e.Address()); err == nil {
		nc.Close()
		t.Error("the broker lets in who does not know the token")
	}
	stale, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	closeLedger(t, l)
	if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("after close: %v", err)
	}
	for name, text := range map[string][]byte{"of a killed server": stale, "half written": stale[:10], "empty": nil} {
		if err := os.WriteFile(path, text, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := stream.ReadEndpoint(cfg.Dir); !errors.Is(err, ledger.ErrUnavailable) {
			t.Errorf("%s: error is %v, want ErrUnavailable", name, err)
		}
	}
	// Who was connected to the first server finds the second at the same place.
	l = open(t, cfg)
	if l.Endpoint() != e {
		t.Errorf("the second server has the endpoint %+v, the first had %+v", l.Endpoint(), e)
	}
	closeLedger(t, l)
	other, err := net.Listen("tcp", strings.TrimPrefix(e.Address(), "nats://"))
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	if l := open(t, cfg); l.Endpoint().Address() == e.Address() {
		t.Error("the third server has a port that another program has taken")
	}
}

func TestLedgerWithoutListenerIsNotAnnounced(t *testing.T) {
	cfg := config(t, t.TempDir())
	cfg.Listen = false
	l := open(t, cfg)
	appendTo(t, l, claim(t, l, "slip"))
	if _, err := stream.ReadEndpoint(cfg.Dir); !errors.Is(err, ledger.ErrUnavailable) {
		t.Errorf("error is %v, want ErrUnavailable", err)
	}
	if (l.Endpoint() != stream.Endpoint{}) {
		t.Errorf("endpoint is %+v", l.Endpoint())
	}
}

func TestAttachedReader(t *testing.T) {
	l := open(t, config(t, t.TempDir()))
	for i := range 50 {
		appendTo(t, l, claim(t, l, strconv.Itoa(i)))
	}
	attach := func() *stream.Reader {
		r, err := stream.Attach(t.Context(), l.Endpoint())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { r.Close() })
		return r
	}
	a, b := attach(), attach()
	testenv.CheckLedger(t, a)
	if a.ID() != l.ID() || a.Story() != "" || head(t, l) != 52 {
		t.Errorf("ledger %s, story %q, head %d", a.ID(), a.Story(), head(t, l))
	}
	ended := make(chan error, 2)
	begun := make(chan struct{}, 2)
	for _, r := range []*stream.Reader{a, b} {
		go func() {
			var last error
			for record, err := range r.Follow(context.WithoutCancel(t.Context()), 50) {
				if last = err; record.Seq == 53 {
					begun <- struct{}{}
				}
			}
			ended <- last
		}()
	}
	appendTo(t, l, claim(t, l, "live"))
	<-begun
	<-begun
	a.Close()
	if err := <-ended; !errors.Is(err, ledger.ErrClosed) {
		t.Errorf("after its own close: error is %v, want ErrClosed", err)
	}
	closeLedger(t, l)
	if err := <-ended; !errors.Is(err, ledger.ErrUnavailable) {
		t.Errorf("after the server's end: error is %v, want ErrUnavailable", err)
	}
	if _, err := b.Head(t.Context()); !errors.Is(err, ledger.ErrUnavailable) {
		t.Errorf("head after the server's end: error is %v, want ErrUnavailable", err)
	}
}

// TestFollowerSurvivesItsConsumer takes the broker's consumer away from under a
// follower, and looks that none is left when the follower has gone.
func TestFollowerSurvivesItsConsumer(t *testing.T) {
	l := open(t, config(t, t.TempDir()))
	js, err := jetstream.New(l.Conn())
	if err != nil {
		t.Fatal(err)
	}
	consumers := func() (names []string) {
		s, err := js.Stream(t.Context(), stream.Name)
		if err != nil {
			t.Fatal(err)
		}
		for name := range s.ConsumerNames(t.Context()).Name() {
			names = append(names, name)
		}
		return names
	}
	next := ledger.Seq(1)
	for r, err := range l.Follow(t.Context(), 1) {
		if err != nil || r.Seq != next {
			t.Fatalf("event %d comes where %d belongs: %v", r.Seq, next, err)
		}
		switch next++; r.Seq {
		case 2, 3: // it waits for more now
			for _, name := range consumers() {
				if err := js.DeleteConsumer(t.Context(), stream.Name, name); err != nil {
					t.Fatal(err)
				}
			}
			appendTo(t, l, claim(t, l, strconv.Itoa(int(r.Seq))))
			continue
		case 4:
		default:
			continue
		}
		break
	}
	soon, cancel := context.WithTimeout(t.Context(), 10*time.Second) // idle ones stay for longer
	defer cancel()
	for left := consumers(); len(left) > 0; left = consumers() {
		if soon.Err() != nil {
			t.Fatalf("consumers are left: %v", left)
		}
	}
}

func TestAttachRefusesAnotherLedger(t *testing.T) {
	l := open(t, config(t, t.TempDir()))
	e := l.Endpoint()
	e.Ledger = ledger.LedgerID{1}.String()
	if _, err := stream.Attach(t.Context(), e); !errors.Is(err, ledger.ErrOtherLedger) {
		t.Errorf("error is %v, want ErrOtherLedger", err)
	}
	e.URL = "nats://127.0.0.1:1"
	if _, err := stream.Attach(t.Context(), e); !errors.Is(err, ledger.ErrUnavailable) {
		t.Errorf("error is %v, want ErrUnavailable", err)
	}
}

// TestForeignBytesAreReadAndCountForNothing publishes past the committer. What
// is no event is delivered as it is, and neither stops a start nor moves the
// head on which decisions are made.
func TestForeignBytesAreReadAndCountForNothing(t *testing.T) {
	cfg := config(t, t.TempDir())
	l := open(t, cfg)
	good := claim(t, l, "slip")
	for _, m := range []*nats.Msg{
		{Subject: "ledger.v1.junk", Data: []byte("junk")},
		{Subject: good.Subject, Data: []byte{0xc1}},
		{Subject: good.Subject, Data: good.Body, Header: nats.Header{"X": {"1", "2"}, ledger.HeaderID: {"no id"}}},
		{Subject: good.Subject, Data: nil, Header: nats.Header(good.Header)},
	} {
		if _, err := l.Conn().RequestMsg(m, time.Minute); err != nil {
			t.Fatal(err)
		}
	}
	closeLedger(t, l)

	l = open(t, cfg)
	state := new(ledger.State)
	for r, err := range l.Read(t.Context(), 1, 6) {
		if err != nil {
			t.Fatal(err)
		}
		state.Apply(r)
	}
	if state.Head != 6 || len(state.Quarantine) != 4 {
		t.Fatalf("the fold ends at %d with %d in quarantine, want 6 and 4", state.Head, len(state.Quarantine))
	}
	decision := testenv.Alert(t, l.ID(), batch, "alert", items)
	receipt, err := l.Decide(t.Context(), 0, decision) // the fold knows no batch
	if err != nil || receipt.Seq != 8 {                // behind the start
		t.Errorf("decide: %+v, %v", receipt, err)
	}
	if receipt := appendTo(t, l, good); receipt.Seq != 9 || receipt.Duplicate {
		t.Errorf("the event whose id stood on foreign bytes: %+v", receipt)
	}
}

// TestEventOfALaterVersionMovesTheHead: the fold counts it, so the committer
// must, or a decision on the fold's head would conflict for ever.
func TestEventOfALaterVersionMovesTheHead(t *testing.T) {
	cfg := config(t, t.TempDir())
	l := open(t, cfg)
	later := claim(t, l, "slip")
	m := &nats.Msg{Subject: "ledger.v1.131229." + batch + ".upload.reconsidered", Header: nats.Header(later.Header), Data: []byte{0x80}}
	m.Header[ledger.HeaderKind] = []string{"upload.reconsidered/1"}
	m.Header[ledger.HeaderTime] = []string{testenv.Start.Format(ledger.TimeFormat)}
	if _, err := l.Conn().RequestMsg(m, time.Minute); err != nil {
		t.Fatal(err)
	}
	closeLedger(t, l)
	l = open(t, cfg)
	state := new(ledger.State)
	for r := range l.Read(t.Context(), 1, 3) {
		state.Apply(r)
	}
	if b := state.Batch("131229", batch); b == nil || b.Head != 3 {
		t.Fatalf("the fold has %+v", b)
	}
	if _, err := l.Decide(t.Context(), 3, testenv.Alert(t, l.ID(), batch, "alert", items)); err != nil {
		t.Errorf("decide on the fold's head: %v", err)
	}
}

func TestEndpointIsAnObject(t *testing.T) {
	text, err := json.Marshal(stream.Endpoint{URL: "nats://secret@127.0.0.1:4222", PID: 7, Ledger: "00"})
	if err != nil || string(text) != `{"url":"nats://secret@127.0.0.1:4222","pid":7,"ledger":"00"}` {
		t.Errorf("endpoint is %s, %v", text, err)
	}
}
