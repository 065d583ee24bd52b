package intake

import (
	"fmt"
	"io"
	"iter"

	"todoke/ledger"
)

// RootOf computes count and root of the rows that a receiver actually holds,
// under the batch key that came with them. It reads a file as the sender's
// gateway does, header and END row included, and judges only what cutting and
// counting need. The rows are the items 1, 2, 3, …, or those of items, in
// ascending order, when items is not empty.
//
// The error is a [Refusal] when the file cannot be read or its END row counts
// other than is there, or the reader's; and any error when there are not as
// many rows as items.
func RootOf(batchKey [32]byte, r io.Reader, items ledger.Items) (count uint32, root ledger.Root, err error) {
	s, err := openSheet(r)
	if err != nil {
		return 0, ledger.Root{}, err
	}
	whole := len(items) == 0
	if whole {
		items = ledger.AllItems(ledger.MaxItem)
	}
	number, stop := iter.Pull(items.All)
	defer stop()
	committer, builder := ledger.NewCommitter(batchKey), new(ledger.RootBuilder)
	for {
		it, err := s.next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return 0, ledger.Root{}, err
		}
		n, ok := number()
		if !ok {
			return 0, ledger.Root{}, fmt.Errorf("compute root: there are more rows than the %d items", count)
		}
		builder.Add(committer.Commit(n, it.raw))
		count++
	}
	if !whole && int(count) != items.Count() {
		return 0, ledger.Root{}, fmt.Errorf("compute root: there are %d rows for %d items", count, items.Count())
	}
	return count, builder.Root(), nil
}
