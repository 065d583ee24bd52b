package stream

import (
	"errors"
	"strings"
	"testing"
	"time"

	"todoke/ledger"
)

func TestRecordTimesOfAMachine(t *testing.T) {
	first := time.Date(2015, 10, 5, 9, 0, 0, 0, time.UTC)
	for name, c := range map[string]struct {
		wall, monotonic time.Duration
		last            time.Duration // the last record time, after the first reading
		want            time.Duration
		refused         bool
	}{
		"time passes":                         {wall: time.Hour, monotonic: time.Hour, want: time.Hour},
		"the clock is corrected by a little":  {wall: 50 * time.Second, monotonic: 20 * time.Second, want: 50 * time.Second},
		"it goes back by a little":            {wall: time.Second, monotonic: 30 * time.Second, last: 20 * time.Second, want: 20 * time.Second},
		"it is set ahead":                     {wall: 2 * time.Hour, monotonic: time.Second, refused: true},
		"it is set ahead by ten years":        {wall: 10 * 365 * 24 * time.Hour, monotonic: time.Second, refused: true},
		"it is set back":                      {wall: -time.Hour, monotonic: time.Second, refused: true},
		"a month passes without a single one": {wall: 30 * 24 * time.Hour, monotonic: 30 * 24 * time.Hour, want: 30 * 24 * time.Hour},
	} {
		t.Run(name, func(t *testing.T) {
			now, elapsed := first, time.Duration(0)
			k := clock{now: func() time.Time { return now }, elapsed: func() time.Duration { return elapsed }}
			if _, err := k.begin(first, time.Time{}); err != nil {
				t.Fatal(err)
			}
			now, elapsed = first.Add(c.wall), c.monotonic
			for range 2 { // it is not believed the second time either
				at, err := k.read(first.Add(c.last))
				if c.refused != errors.Is(err, ledger.ErrClock) {
					t.Fatalf("error is %v", err)
				}
				if want := first.Add(c.want); !c.refused && !at.Equal(want) {
					t.Errorf("record time is %s, want %s", at, want)
				}
			}
			now = first.Add(c.monotonic) // it is set right
			if _, err := k.read(first); c.refused && err != nil {
				t.Errorf("after it was set right: %v", err)
			}
		})
	}
}

func TestClockAtTheStart(t *testing.T) {
	now := time.Date(2015, 10, 5, 9, 0, 0, 0, time.UTC)
	for name, c := range map[string]struct {
		last, alive time.Duration // before now
		virtual     bool
		says        string // "" when it is believed
	}{
		"an hour down":                        {last: time.Hour, alive: time.Hour},
		"a month without events, alive":       {last: 70 * 24 * time.Hour, alive: time.Minute},
		"a little behind the last event":      {last: -30 * time.Second},
		"behind the last event":               {last: -3 * time.Hour, says: "the last event was recorded at"},
		"ten years ahead":                     {last: 3650 * 24 * time.Hour, alive: 3650 * 24 * time.Hour, says: "3650 days after the last sign of life"},
		"a virtual clock jumps as it likes":   {last: 3650 * 24 * time.Hour, virtual: true},
		"a virtual clock behind, as it likes": {last: -3650 * 24 * time.Hour, virtual: true},
	} {
		t.Run(name, func(t *testing.T) {
			k := clock{now: func() time.Time { return now }}
			if !c.virtual {
				k.elapsed = func() time.Duration { return 0 }
			}
			at, err := k.begin(now.Add(-c.last), now.Add(-c.alive))
			if c.says == "" {
				if err != nil || at.Before(now.Add(-c.last)) {
					t.Errorf("record time is %s, %v", at, err)
				}
				return
			}
			if !errors.Is(err, ledger.ErrClock) || !strings.Contains(err.Error(), c.says) || !strings.Contains(err.Error(), "--accept-clock") {
				t.Errorf("error is %v, want ErrClock that says %q and --accept-clock", err, c.says)
			}
			k.accept = true
			if _, err := k.begin(now.Add(-c.last), now.Add(-c.alive)); err != nil {
				t.Errorf("with accept: %v", err)
			}
		})
	}
}
