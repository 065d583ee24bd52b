package stream

import (
	"fmt"
	"time"

	"todoke/ledger"
)

const (
	// maxJump is how far the clock may be set at once, and how far it may be
	// behind the last record time.
	maxJump = time.Minute
	// maxSilence is for how long a ledger may have been down before its start
	// wants to be told that the clock is right.
	maxSilence = 60 * 24 * time.Hour
)

// A clock gives record times. One that is watched is a machine's: when it was set,
// it is not believed, since a record time can never be taken back. Virtual clocks
// jump as they like. It is owned by one goroutine.
type clock struct {
	now func() time.Time
	// elapsed is the time since some moment, whatever the clock is set to; nil
	// leaves it unwatched.
	elapsed  func() time.Duration
	accept   bool          // believe the clock at the start, whatever it says
	believed time.Time     // the last reading that was
	at       time.Duration // and when that was
}

// begin returns the record time of a start. It returns an [ledger.ErrClock] when
// the clock is behind what is recorded, or so far ahead of the last sign of life
// that it was probably set wrong.
func (c *clock) begin(last, alive time.Time) (time.Time, error) {
	now := c.believe(c.now())
	if alive.Before(last) {
		alive = last
	}
	if c.elapsed != nil && !c.accept {
		switch {
		case last.Sub(now) > maxJump:
			return now, fmt.Errorf("it says %s, but the last event was recorded at %s; set the clock right, or start with --accept-clock if that event's time is wrong: %w",
				now.UTC().Format(time.DateTime), last.UTC().Format(time.DateTime), ledger.ErrClock)
		case !alive.IsZero() && now.Sub(alive) > maxSilence:
			return now, fmt.Errorf("it says %s, %d days after the last sign of life; set the clock right, or start with --accept-clock if it is: %w",
				now.UTC().Format(time.DateTime), now.Sub(alive)/(24*time.Hour), ledger.ErrClock)
		}
	}
	return notBefore(now, last), nil
}

// read returns the next record time, never before last. It returns an
// [ledger.ErrClock] for as long as the clock is further than maxJump from where
// it must be by the time that has passed.
func (c *clock) read(last time.Time) (time.Time, error) {
	now := c.now()
	if c.elapsed != nil && !c.believed.IsZero() {
		jump := now.Round(0).Sub(c.believed.Round(0)) - (c.elapsed() - c.at) // without the clock's own monotonic reading
		if jump.Abs() > maxJump {
			return now, fmt.Errorf("it jumped by %s, to %s; set it right and the ledger goes on, or start again if it is right now: %w",
				jump.Round(time.Second), now.UTC().Format(time.DateTime), ledger.ErrClock)
		}
	}
	return notBefore(c.believe(now), last), nil
}

func (c *clock) believe(now time.Time) time.Time {
	c.believed = now
	if c.elapsed != nil {
		c.at = c.elapsed()
	}
	return now
}

func notBefore(t, last time.Time) time.Time {
	if t.Before(last) {
		return last.UTC()
	}
	return t.UTC()
}
