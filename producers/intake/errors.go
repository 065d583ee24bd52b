package intake

import "errors"

// These errors can occur when a file is taken or a batch is asked for.
var (
	// ErrRefused is what every [Refusal] is: the file has a fault, and
	// nothing was kept of it.
	ErrRefused = errors.New("file refused")

	// ErrNoBatch is returned when the gateway has no batch of that name.
	ErrNoBatch = errors.New("no such batch at this gateway")

	// ErrDamaged is returned when what the gateway keeps contradicts itself.
	// It then answers nothing: a damaged memory must not accuse anybody.
	ErrDamaged = errors.New("the gateway's folder is damaged")

	// ErrTooManyBatches is returned when a day has used up its batch numbers.
	ErrTooManyBatches = errors.New("no batch number is left for today")
)

// errRowTooLong ends the reading of a file; it becomes a [Problem].
var errRowTooLong = errors.New("row is too long")
