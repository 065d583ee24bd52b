package intake

import "time"

// A sighting is a file of a watched folder as one look sees it.
type sighting struct {
	name   string
	stamp  stamp
	marked bool // NAME.done stands beside it: whoever put it there says that it is complete
}

// A stamp changes when a file is written to, or another is put in its place. It
// is zero for what is no regular file.
type stamp struct {
	regular  bool
	inode    uint64
	size     int64
	modified int64 // nanoseconds since 1970
}

// watched is what a watcher remembers of a file from one look to the next.
type watched struct {
	stamp stamp
	since time.Time // the first look that saw this stamp

	// Of a file that could not be taken.
	said  string        // why; see reason
	pause time.Duration // before it is tried again
	again time.Time     // not before this
}

// decide returns which files of a listing are to be taken now, in its order, and
// what to remember until the next look. A file is complete when it is marked, or
// has had the same stamp for an interval. What changed since it could not be
// taken is a new file, and so is everything after a clock was set back.
func decide(before map[string]watched, listing []sighting, now time.Time, interval time.Duration) (ready []sighting, after map[string]watched) {
	after = make(map[string]watched, len(listing))
	for _, s := range listing {
		w, known := before[s.name]
		if !known || w.stamp != s.stamp || now.Before(w.since) {
			w = watched{stamp: s.stamp, since: now}
		}
		after[s.name] = w
		complete := s.marked || now.Sub(w.since) >= interval
		if complete && !now.Before(w.again) {
			ready = append(ready, s)
		}
	}
	return ready, after
}
