package stream_test

import (
	"context"
	"crypto/rand"
	"testing"
	"time"

	"todoke/ledger"
	"todoke/ledger/rule"
	"todoke/ledger/stream"
	"todoke/testenv"
)

// config returns what tests open an ordinary ledger with.
func config(t testing.TB, dir string) stream.Config {
	return stream.Config{
		Dir: dir, Now: testenv.NewClock().Now, Rand: rand.Reader, Listen: true,
		Party: "operator:local", Key: testenv.Key(t, "operator:local"), Opening: stream.Opening{Pack: rule.Default().Text()},
	}
}

// open opens a ledger that the test closes.
func open(t testing.TB, cfg stream.Config) *stream.Ledger {
	t.Helper()
	l, err := stream.Open(context.Background(), cfg)
	if err != nil {
		t.Fatalf("open: %v", err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

func TestLog(t *testing.T) {
	testenv.RunLog(t, func(t *testing.T, now func() time.Time) testenv.Opened {
		cfg := config(t, t.TempDir())
		cfg.Now = now
		l := open(t, cfg)
		return testenv.Opened{Log: l, Close: l.Close, Reopen: func(t *testing.T) ledger.Log {
			if err := l.Close(); err != nil {
				t.Fatalf("close: %v", err)
			}
			return open(t, cfg)
		}}
	})
}
