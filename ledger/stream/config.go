package stream

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"todoke/ledger"
)

// Name is the name of the one stream of a ledger.
const Name = "LEDGER"

// Where the stream's metadata hold the ledger id and the number of this format.
// A change that an older program must not write to gets the next number.
const (
	ledgerKey = "todoke-ledger"
	formatKey = "todoke-format"
	format    = 1
)

// required is the whole configuration of the stream, defaults of the server
// included, as the package comment gives the reason of each line.
func required(id ledger.LedgerID, replicas int) jetstream.StreamConfig {
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
		Replicas:           replicas,
		Duplicates:         100 * time.Millisecond, // the smallest; never used
		DenyDelete:         true,
		DenyPurge:          true,
		AllowDirect:        true,
		AllowAtomicPublish: true,
		Metadata:           map[string]string{ledgerKey: id.String(), formatKey: strconv.Itoa(format)},
	}
}

// drift asks the broker for the configuration of the stream and returns an
// [ledger.ErrDrift] that names every field in which it is not the required one,
// fields included that this program does not know.
func drift(ctx context.Context, nc *nats.Conn, must jetstream.StreamConfig) error {
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	reply, err := nc.RequestWithContext(ctx, "$JS.API.STREAM.INFO."+Name, nil)
	if err != nil {
		return fmt.Errorf("ask for the stream configuration: %w: %w", ledger.ErrUnavailable, err)
	}
	var answer struct {
		Config json.RawMessage
		Error  *jetstream.APIError
	}
	if err := json.Unmarshal(reply.Data, &answer); err != nil {
		return fmt.Errorf("read the stream configuration: %w", err)
	}
	if e := answer.Error; e != nil && e.ErrorCode == jetstream.JSErrCodeStreamNotFound {
		return fmt.Errorf("the stream is gone: %w", ledger.ErrDrift)
	} else if e != nil {
		return fmt.Errorf("ask for the stream configuration: %w: %w", ledger.ErrUnavailable, e)
	}
	text, err := json.Marshal(must)
	if err != nil {
		return fmt.Errorf("write the required configuration: %w", err)
	}
	have, err := settings(answer.Config)
	if err != nil {
		return err
	}
	want, err := settings(text)
	if err != nil {
		return err
	}
	if differs := compare(have, want); len(differs) > 0 {
		return fmt.Errorf("%w: %s", ledger.ErrDrift, strings.Join(differs, "; "))
	}
	return nil
}

// settings returns what a configuration in JSON sets, by name. What is zero is
// not set, and what the broker notes in the metadata is its own.
func settings(text []byte) (map[string]any, error) {
	var fields map[string]any
	if err := json.Unmarshal(text, &fields); err != nil {
		return nil, fmt.Errorf("read the stream configuration: %w", err)
	}
	if metadata, ok := fields["metadata"].(map[string]any); ok {
		maps.DeleteFunc(metadata, func(key string, _ any) bool { return strings.HasPrefix(key, "_nats.") })
	}
	maps.DeleteFunc(fields, func(_ string, value any) bool {
		v := reflect.ValueOf(value)
		return value == nil || v.IsZero() || (v.Kind() == reflect.Map || v.Kind() == reflect.Slice) && v.Len() == 0
	})
	return fields, nil
}

// compare names every field in which two configurations differ.
func compare(have, want map[string]any) (differs []string) {
	names := maps.Clone(have)
	maps.Copy(names, want)
	for _, name := range slices.Sorted(maps.Keys(names)) {
		if !reflect.DeepEqual(have[name], want[name]) {
			differs = append(differs, fmt.Sprintf("%s is %v, want %v", name, have[name], want[name]))
		}
	}
	return differs
}
