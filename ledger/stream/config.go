package stream

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"todoke/ledger"
)

// Name is the name of the one stream of a ledger.
const Name = "LEDGER"

// ledgerKey is where the stream's metadata hold the ledger id.
const ledgerKey = "todoke-ledger"

// required is the whole configuration of the stream, defaults of the server
// included, as the package comment gives the reason of each line.
func required(id ledger.LedgerID) jetstream.StreamConfig {
	return jetstream.StreamConfig{
		Name:               Name,
		Subjects:           []string{ledger.SubjectPrefix + ">"},
		Retention:          jetstream.LimitsPolicy,
		MaxConsumers:       -1,
		MaxMsgs:            -1,
		MaxBytes:           -1,
		Discard:            jetstream.DiscardNew,
		MaxAge:             0,
		MaxMsgsPerSubject:  -1,
		MaxMsgSize:         -1,
		Storage:            jetstream.FileStorage,
		Replicas:           1,
		Duplicates:         100 * time.Millisecond, // the smallest; never used
		DenyDelete:         true,
		DenyPurge:          true,
		AllowDirect:        true,
		AllowAtomicPublish: true,
		Metadata:           map[string]string{ledgerKey: id.String()},
	}
}

// drift returns an [ledger.ErrDrift] that names every field in which have is not
// the required configuration. The server's own metadata do not count.
func drift(have jetstream.StreamConfig, id ledger.LedgerID) error {
	maps.DeleteFunc(have.Metadata, func(key, _ string) bool { return strings.HasPrefix(key, "_nats.") })
	is, err := flat(have)
	if err != nil {
		return err
	}
	want, err := flat(required(id))
	if err != nil {
		return err
	}
	var differs []string
	for _, key := range slices.Sorted(maps.Keys(is)) {
		if is[key] != want[key] {
			differs = append(differs, fmt.Sprintf("%s is %s, want %s", key, is[key], want[key]))
		}
	}
	for _, key := range slices.Sorted(maps.Keys(want)) {
		if _, ok := is[key]; !ok {
			differs = append(differs, fmt.Sprintf("%s is missing, want %s", key, want[key]))
		}
	}
	if len(differs) > 0 {
		return fmt.Errorf("%w: %s", ledger.ErrDrift, strings.Join(differs, "; "))
	}
	return nil
}

// flat returns the fields of a configuration as JSON texts by name.
func flat(c jetstream.StreamConfig) (map[string]string, error) {
	text, err := json.Marshal(c)
	if err != nil {
		return nil, fmt.Errorf("compare stream configuration: %w", err)
	}
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(text, &fields); err != nil {
		return nil, fmt.Errorf("compare stream configuration: %w", err)
	}
	texts := make(map[string]string, len(fields))
	for key, value := range fields {
		texts[key] = string(value)
	}
	return texts, nil
}
