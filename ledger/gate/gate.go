// Package gate is the front door of a ledger: a NATS micro service that takes
// events from parties, forwards them to the committer, and answers with a
// receipt or a typed refusal. Parties hold no JetStream rights; this is the only
// way in for another process.
//
// # The protocol
//
// A request goes to intake.<party>.<rest of the event's subject>, as
// intake.municipality:131229.131229.131229-20151005-0042.upload.completed, with
// the event's own headers and body. The answer is a [ledger.Receipt] in
// JSON, or, as NATS services do it, the headers Nats-Service-Error-Code (a code
// of [ledger.Code]) and Nats-Service-Error (one sentence). No answer means that
// nobody knows: the same event may be sent again.
//
// A request to the subject [Whoami] is answered with the ledger's id, 32 hex
// digits. An author needs it to sign.
//
// # What it checks
//
// The party in the subject must be the author in the headers; everything else is
// [ledger.Admit] and the committer. The gate does not know yet whose key is
// whose: until keys are enrolled it believes the name in the headers, as long as
// the signature verifies under the key that the event itself names. The broker
// listens on the loopback interface only and asks for the token that stands in a
// file that its owner alone can read.
//
// # Decisions
//
// 2026-11-22: Requests are handled one after the other. The committer takes one
// event at a time anyway; what waits, waits in the broker's connection, where
// its author's own timeout ends it.
package gate

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/micro"

	"todoke/ledger"
)

// Prefix begins the subject of every request.
const Prefix = "intake."

// Whoami is the subject of the question which ledger this is.
const Whoami = "todoke.whoami"

// Serve answers requests on nc with log until ctx is done, and returns nil then.
// It returns an error when the service cannot be started or nc ends.
func Serve(ctx context.Context, nc *nats.Conn, log ledger.Log) error {
	service, err := micro.AddService(nc, micro.Config{Name: "todoke-gate", Version: "1.0.0",
		Description: "takes events of parties into the ledger"})
	if err != nil {
		return fmt.Errorf("start gate: %w", err)
	}
	defer service.Stop()
	take := micro.HandlerFunc(func(r micro.Request) { answer(ctx, log, r) })
	if err := service.AddEndpoint("intake", take, micro.WithEndpointSubject(Prefix+">")); err != nil {
		return fmt.Errorf("start gate: %w", err)
	}
	whoami := micro.HandlerFunc(func(r micro.Request) { _ = r.Respond([]byte(log.ID().String())) })
	if err := service.AddEndpoint("whoami", whoami, micro.WithEndpointSubject(Whoami)); err != nil {
		return fmt.Errorf("start gate: %w", err)
	}
	<-ctx.Done()
	return nil
}

// answer handles one request. An answer that cannot be sent is an unknown
// outcome to the author, who asks again.
func answer(ctx context.Context, log ledger.Log, r micro.Request) {
	receipt, err := take(ctx, log, r)
	if err != nil {
		_ = r.Error(ledger.Code(err), oneLine(err), nil)
		return
	}
	body, err := json.Marshal(receipt)
	if err != nil {
		_ = r.Error(ledger.Code(err), oneLine(err), nil)
		return
	}
	_ = r.Respond(body)
}

// take brings the event of a request into the ledger.
func take(ctx context.Context, log ledger.Log, r micro.Request) (ledger.Receipt, error) {
	party, rest, ok := strings.Cut(strings.TrimPrefix(r.Subject(), Prefix), ".")
	if !ok {
		return ledger.Receipt{}, fmt.Errorf("subject %q: %w", r.Subject(), ledger.ErrMalformed)
	}
	header := make(ledger.Header)
	for name, values := range r.Headers() {
		if !strings.HasPrefix(name, "Nats-") {
			header[name] = values
		}
	}
	if author := header.Get(ledger.HeaderParty); author != party {
		return ledger.Receipt{}, fmt.Errorf("sent by %q as %q: %w", party, author, ledger.ErrScope)
	}
	receipt, err := log.Append(ctx, ledger.Record{Subject: ledger.SubjectPrefix + rest, Header: header, Body: r.Data()})
	if errors.Is(err, context.Canceled) {
		err = fmt.Errorf("%w: %w", ledger.ErrUnknown, err)
	}
	return receipt, err
}

// oneLine returns the error's sentence as it can stand in a header.
func oneLine(err error) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' {
			return ' '
		}
		return r
	}, err.Error())
}
