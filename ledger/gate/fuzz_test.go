package gate

import (
	"strings"
	"testing"

	"github.com/nats-io/nats.go/micro"

	"todoke/ledger"
	"todoke/testenv"
)

// asked is a request that came from nowhere.
type asked struct {
	micro.Request
	subject string
	headers micro.Headers
	data    []byte
}

func (a asked) Subject() string        { return a.subject }
func (a asked) Headers() micro.Headers { return a.headers }
func (a asked) Data() []byte           { return a.data }

// FuzzRequest sends what anybody could send. It is refused or stored, and what is
// stored is an event that could have been admitted.
func FuzzRequest(f *testing.F) {
	good := testenv.Claim(f, ledger.LedgerID{}, "131229-20151005-0042", "slip", ledger.Items{{First: 1, Last: 551}})
	var lines []string
	for name, values := range good.Header {
		lines = append(lines, name+"="+values[0])
	}
	headers := strings.Join(lines, "\n")
	f.Add("intake.municipality:131229"+good.Subject[len("ledger.v1"):], headers, good.Body)
	f.Add("intake.municipality:131229", headers, good.Body)
	f.Add("intake..", "", []byte{})
	f.Add("intake.watchdog.000000.a.b.c", "Todoke-Party=watchdog\nNats-Rollup=all", []byte{0x80})
	f.Fuzz(func(t *testing.T, subject, headers string, data []byte) {
		h := micro.Headers{}
		for line := range strings.SplitSeq(headers, "\n") {
			name, value, _ := strings.Cut(line, "=")
			h[name] = append(h[name], value)
		}
		log := testenv.NewLog(testenv.Config{T: t})
		g := &gate{log: log}
		receipt, err := g.append(t.Context(), asked{subject: subject, headers: h, data: data})
		if err != nil && ledger.Code(err) == "unknown" {
			t.Errorf("error %v says nothing certain", err)
		}
		if (err == nil) != (receipt.Seq == 1) {
			t.Errorf("receipt %+v with %v", receipt, err)
		}
		if strings.ContainsAny(oneLine(errorOf(err)), "\r\n") {
			t.Errorf("error %q is more than a line", err)
		}
		testenv.CheckLedger(t, log)
	})
}

func errorOf(err error) error {
	if err == nil {
		return ledger.ErrRefused
	}
	return err
}
