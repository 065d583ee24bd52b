package stream

import "todoke/ledger"

var _ ledger.Log = (*Ledger)(nil)
