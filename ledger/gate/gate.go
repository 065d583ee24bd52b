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
// # What a crash means
//
// A gate that dies before it has answered leaves an event that is stored or not.
// Its author hears nothing, which is [ledger.ErrUnknown], and sends the same
// event again: to the next gate, which finds it by its id. A gate keeps nothing.
//
// # Decisions
//
// 2026-11-22: Up to 256 requests are handled at once, so that signatures are
// verified on all processors while the committer writes, and so that it finds
// several events to write at once. More wait in
// the broker's connection, where their authors' own timeouts end them. Requests of
// one author that must stay in order are sent one after the other's answer.
//
// 2026-11-22: Facts only. A decision needs the head that it was decided on, and
// who decides runs beside the committer.
package gate

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/micro"

	"todoke/ledger"
)

// Prefix begins the subject of every request.
const Prefix = "intake."

// Whoami is the subject of the question which ledger this is.
const Whoami = "todoke.whoami"

const (
	// concurrent is how many requests are handled at once.
	concurrent = 256
	// answerTimeout ends a request that the log does not answer. It is shorter
	// than the time for which a client waits.
	answerTimeout = 4 * time.Second
)

// Serve answers requests on nc with log until ctx is done, and returns nil then.
// It returns an error when the service cannot be started, and
// [ledger.ErrUnavailable] when nc ends. When it returns, no request is under way.
func Serve(ctx context.Context, nc *nats.Conn, log ledger.Log) error {
	ctx, cancel := context.WithCancel(ctx)
	ended := make(chan struct{})
	service, err := micro.AddService(nc, micro.Config{
		Name: "todoke-gate", Version: "1.0.0", Description: "takes events of parties into the ledger",
		DoneHandler: func(micro.Service) { close(ended) },
	})
	if err != nil {
		cancel()
		return fmt.Errorf("start gate: %w", err)
	}
	g := &gate{life: ctx, nc: nc, log: log, slots: make(chan struct{}, concurrent)}
	defer g.finish()
	defer cancel()
	defer service.Stop()
	for name, e := range map[string]struct {
		subject string
		handle  func(context.Context, micro.Request)
	}{"intake": {Prefix + ">", g.take}, "whoami": {Whoami, g.whoami}} {
		if err := service.AddEndpoint(name, micro.ContextHandler(ctx, e.handle), micro.WithEndpointSubject(e.subject)); err != nil {
			return fmt.Errorf("start gate: %w", err)
		}
	}
	select {
	case <-ctx.Done():
		return nil
	case <-ended:
		return fmt.Errorf("serve gate: connection ended: %w", ledger.ErrUnavailable)
	}
}

// A gate handles requests. Each takes a slot first.
type gate struct {
	life  context.Context // of the service
	nc    *nats.Conn
	log   ledger.Log
	slots chan struct{}
}

// finish waits for the requests that are under way. The context is done, so that
// none begins any more.
func (g *gate) finish() {
	for range cap(g.slots) {
		g.slots <- struct{}{}
	}
}

// take handles one request beside others, as soon as it has a slot.
func (g *gate) take(ctx context.Context, r micro.Request) {
	select {
	case g.slots <- struct{}{}:
	case <-ctx.Done():
		g.answer(r, ledger.Receipt{}, fmt.Errorf("gate is closing: %w", ledger.ErrUnavailable))
		return
	}
	go func() {
		defer func() { <-g.slots }()
		ctx, cancel := context.WithTimeout(ctx, answerTimeout)
		defer cancel()
		receipt, err := g.append(ctx, r)
		g.answer(r, receipt, err)
	}()
}

func (g *gate) whoami(_ context.Context, r micro.Request) {
	_ = r.Respond([]byte(g.log.ID().String()))
}

// append brings the event of a request into the ledger.
func (g *gate) append(ctx context.Context, r micro.Request) (ledger.Receipt, error) {
	party, rest, _ := strings.Cut(strings.TrimPrefix(r.Subject(), Prefix), ".")
	header := make(ledger.Header)
	for name, values := range r.Headers() {
		if !strings.HasPrefix(name, "Nats-") {
			header[name] = values
		}
	}
	if author := header.Get(ledger.HeaderParty); author != party {
		return ledger.Receipt{}, fmt.Errorf("sent by %.96q as %.96q: %w", party, author, ledger.ErrScope)
	}
	return g.log.Append(ctx, ledger.Record{Subject: ledger.SubjectPrefix + rest, Header: header, Body: r.Data()})
}

// answer answers a request. An answer that cannot be sent is an unknown outcome
// to the author, who asks again. It goes out on the connection and not through
// the request, which the service reads for its statistics as soon as the handler
// has returned.
func (g *gate) answer(r micro.Request, receipt ledger.Receipt, err error) {
	m := &nats.Msg{Subject: r.Reply()}
	if err == nil {
		m.Data, err = json.Marshal(receipt)
	}
	if errors.Is(err, ledger.ErrFenced) {
		// Another gate answers as soon as the other committer has one.
		err = fmt.Errorf("%v: %w", err, ledger.ErrUnavailable)
	}
	if err != nil {
		m.Header = nats.Header{micro.ErrorCodeHeader: {ledger.Code(err)}, micro.ErrorHeader: {oneLine(err)}}
	}
	// On a cluster the connection may just be moving to another server.
	for end := time.Now().Add(answerTimeout); g.nc.PublishMsg(m) != nil && time.Now().Before(end); {
		select {
		case <-g.life.Done():
			return
		case <-time.After(answerTimeout / 80):
		}
	}
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
