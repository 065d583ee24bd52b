package ledger_test

import (
	"errors"
	"maps"
	"strings"
	"testing"

	"todoke/ledger"
)

func TestAdmitTakesEveryKind(t *testing.T) {
	for kind, d := range drafts() {
		r := record(t, d)
		e, err := ledger.Admit(testLedger, r)
		if err != nil {
			t.Errorf("%s: %v", kind, err)
			continue
		}
		if e.Kind() != kind || e.Author != d.Author || e.ID().String() != r.Header.Get(ledger.HeaderID) || !e.Sent().Equal(testSent) {
			t.Errorf("%s: read as %s by %s, id %s, sent %v", kind, e.Kind(), e.Author, e.ID(), e.Sent())
		}
		want := d.Author
		if d.Body.Speaker != "" {
			want = d.Body.Speaker
		}
		if e.Speaker() != want {
			t.Errorf("%s: it is the word of %s, want %s", kind, e.Speaker(), want)
		}
	}
}

// TestAdmitContent: each refusal that is about what the body says.
func TestAdmitContent(t *testing.T) {
	for name, c := range map[string]struct {
		kind   ledger.Kind
		change func(*ledger.Body)
		want   error
	}{
		"no flow":                         {ledger.OrderSent, func(b *ledger.Body) { b.Flow = "" }, ledger.ErrMalformed},
		"a flow of another world":         {ledger.OrderSent, func(b *ledger.Body) { b.Flow = "milk/1" }, ledger.ErrMalformed},
		"no items in a claim":             {ledger.OrderSent, func(b *ledger.Body) { b.Items = nil }, ledger.ErrMalformed},
		"no count":                        {ledger.OrderAccepted, func(b *ledger.Body) { b.Count = 0 }, ledger.ErrMalformed},
		"no basis":                        {ledger.OrderAccepted, func(b *ledger.Body) { b.Basis = 0 }, ledger.ErrMalformed},
		"a count below the items":         {ledger.OrderSent, func(b *ledger.Body) { b.Count-- }, ledger.ErrMalformed},
		"a count above the items":         {ledger.OrderSent, func(b *ledger.Body) { b.Count++ }, ledger.ErrMalformed},
		"items that overlap":              {ledger.OrderSent, func(b *ledger.Body) { b.Items = ledger.Items{{First: 1, Last: 5}, {First: 3, Last: 4669}} }, ledger.ErrMalformed},
		"basis root without a root":       {ledger.UploadReceived, func(b *ledger.Body) { b.Root = ledger.Root{} }, ledger.ErrMalformed},
		"basis root without items":        {ledger.UploadReceived, func(b *ledger.Body) { b.Items = nil }, ledger.ErrMalformed},
		"basis items without items":       {ledger.PrintCounted, func(b *ledger.Body) { b.Items = nil }, ledger.ErrMalformed},
		"an upload without a root":        {ledger.UploadCompleted, func(b *ledger.Body) { b.Root = ledger.Root{} }, ledger.ErrMalformed},
		"a basis in a claim":              {ledger.OrderSent, func(b *ledger.Body) { b.Basis = ledger.BasisCount }, ledger.ErrMalformed},
		"a hop in a claim":                {ledger.OrderSent, func(b *ledger.Body) { b.Hop = "order" }, ledger.ErrMalformed},
		"an alert without evidence":       {ledger.AlertClosed, func(b *ledger.Body) { b.Evidence = nil }, ledger.ErrMalformed},
		"a dispute without a reason":      {ledger.ImportDisputed, func(b *ledger.Body) { b.Reason = "" }, ledger.ErrMalformed},
		"a document kind in capitals":     {ledger.UploadCompleted, func(b *ledger.Body) { b.Document.Kind = "FILE" }, ledger.ErrMalformed},
		"a document of 30 February":       {ledger.MailAccepted, func(b *ledger.Body) { b.Document.Date = "2015-02-30" }, ledger.ErrMalformed},
		"a document dated in words":       {ledger.MailAccepted, func(b *ledger.Body) { b.Document.Date = "平成27年" }, ledger.ErrMalformed},
		"a posting with a space":          {ledger.MailHandedOver, func(b *ledger.Body) { b.Posting = "7 8" }, ledger.ErrMalformed},
		"a town without a name":           {ledger.UploadCompleted, func(b *ledger.Body) { b.Towns[0].Name = "" }, ledger.ErrMalformed},
		"a town without a count":          {ledger.UploadCompleted, func(b *ledger.Body) { b.Towns[1].Count = 0 }, ledger.ErrMalformed},
		"a town with too many items":      {ledger.UploadCompleted, func(b *ledger.Body) { b.Towns[0].Count-- }, ledger.ErrMalformed},
		"a reason of 401 bytes":           {ledger.ImportDisputed, func(b *ledger.Body) { b.Reason = strings.Repeat("a", 401) }, ledger.ErrMalformed},
		"a line end in a reason":          {ledger.ImportDisputed, func(b *ledger.Body) { b.Reason = "a\nb" }, ledger.ErrMalformed},
		"a line separator in a reason":    {ledger.ImportDisputed, func(b *ledger.Body) { b.Reason = "a\u2028b" }, ledger.ErrMalformed},
		"NUL in a reason":                 {ledger.ImportDisputed, func(b *ledger.Body) { b.Reason = "a\x00" }, ledger.ErrMalformed},
		"an escape in a reason":           {ledger.ImportDisputed, func(b *ledger.Body) { b.Reason = "a\x1b[2J" }, ledger.ErrMalformed},
		"a C1 control in a reason":        {ledger.ImportDisputed, func(b *ledger.Body) { b.Reason = "a\u009b2J" }, ledger.ErrMalformed},
		"a reversed reason":               {ledger.ImportDisputed, func(b *ledger.Body) { b.Reason = "a\u202eb" }, ledger.ErrMalformed},
		"an isolated reason":              {ledger.ImportDisputed, func(b *ledger.Body) { b.Reason = "a\u2066b" }, ledger.ErrMalformed},
		"U+FFFD in a reason":              {ledger.ImportDisputed, func(b *ledger.Body) { b.Reason = "a\ufffd" }, ledger.ErrMalformed},
		"a reason that is not UTF-8":      {ledger.ImportDisputed, func(b *ledger.Body) { b.Reason = "\x8f\xae" }, ledger.ErrMalformed},
		"a tab in a town's name":          {ledger.UploadCompleted, func(b *ledger.Body) { b.Towns[0].Name = "白鳥\t一丁目" }, ledger.ErrMalformed},
		"a line end in a holder":          {ledger.AlertRaised, func(b *ledger.Body) { b.Holder = "relay:2\n" }, ledger.ErrMalformed},
		"a number in a reason":            {ledger.ImportDisputed, func(b *ledger.Body) { b.Reason = "番号 " + myNumber("23456789012") }, ledger.ErrPersonal},
		"a full-width number":             {ledger.ImportDisputed, func(b *ledger.Body) { b.Reason = fullWidth(myNumber("23456789012")) + "です" }, ledger.ErrPersonal},
		"a grouped number":                {ledger.ImportDisputed, func(b *ledger.Body) { b.Reason = "x" + grouped(myNumber("23456789012"), "-") }, ledger.ErrPersonal},
		"a full-width number in a town":   {ledger.UploadCompleted, func(b *ledger.Body) { b.Towns[0].Name = grouped(fullWidth(myNumber("23456789012")), "　") }, ledger.ErrPersonal},
		"a number as holder":              {ledger.AlertRaised, func(b *ledger.Body) { b.Holder = myNumber("23456789012") }, ledger.ErrPersonal},
		"a number as debtor":              {ledger.AlertRaised, func(b *ledger.Body) { b.OwedBy = myNumber("23456789012") }, ledger.ErrPersonal},
		"a number as posting":             {ledger.MailHandedOver, func(b *ledger.Body) { b.Posting = grouped(myNumber("23456789012"), " ") }, ledger.ErrMalformed},
		"a number as document kind":       {ledger.UploadCompleted, func(b *ledger.Body) { b.Document.Kind = fullWidth(myNumber("23456789012")) }, ledger.ErrMalformed},
		"a number as date":                {ledger.UploadCompleted, func(b *ledger.Body) { b.Document.Date = myNumber("23456789012") }, ledger.ErrMalformed},
		"a number as flow":                {ledger.OrderSent, func(b *ledger.Body) { b.Flow = myNumber("23456789012") }, ledger.ErrMalformed},
		"a number as speaker":             {ledger.ImportRegistered, func(b *ledger.Body) { b.Speaker = ledger.Party(myNumber("23456789012")) }, ledger.ErrMalformed},
		"a number in a rule pack":         {ledger.RulesPublished, func(b *ledger.Body) { b.Pack = []byte("# " + myNumber("23456789012") + "\n") }, ledger.ErrPersonal},
		"a grade that its role never has": {ledger.OrderAccepted, func(b *ledger.Body) { b.Grade = ledger.CryptographicReceipt }, nil}, // lowered by the fold
		"an unknown early count":          {ledger.OrderAccepted, func(b *ledger.Body) { b.Count = 9_999_999 }, nil},                   // judged by the fold
		"only a transcription's sender":   {ledger.MailAccepted, func(b *ledger.Body) { b.Document.Digest = [32]byte{} }, nil},
	} {
		t.Run(name, func(t *testing.T) {
			d := drafts()[c.kind]
			c.change(&d.Body)
			_, err := ledger.New(testLedger, d, signer(t))
			if !errors.Is(err, c.want) || c.want != nil && !errors.Is(err, ledger.ErrRefused) {
				t.Errorf("%v, want %v", err, c.want)
			}
			if err != nil && (findByRegexp(err.Error()) >= 0 || strings.ContainsAny(err.Error(), "\x00\x1b\n")) {
				t.Errorf("the error repeats what it refuses: %q", err)
			}
		})
	}
}

// TestAdmitScope: who may say what, and write down whose word.
func TestAdmitScope(t *testing.T) {
	for name, c := range map[string]struct {
		kind            ledger.Kind
		author, speaker ledger.Party
		want            error
	}{
		"the claimant acknowledges itself":        {ledger.OrderAccepted, "registry:jlis", "", ledger.ErrScope},
		"the acknowledger claims":                 {ledger.OrderSent, "printer:npb", "", ledger.ErrScope},
		"another municipality uploads":            {ledger.UploadCompleted, "municipality:011002", "", ledger.ErrScope},
		"an auditor speaks":                       {ledger.OrderSent, "auditor:1", "", ledger.ErrScope},
		"a party raises an alert":                 {ledger.AlertRaised, "relay:2", "", ledger.ErrScope},
		"the operator raises an alert":            {ledger.AlertRaised, "operator:demo", "", ledger.ErrScope},
		"the watchdog publishes rules":            {ledger.RulesPublished, "watchdog", "", ledger.ErrScope},
		"the claimant writes down the answer":     {ledger.MailAccepted, "inspector:npb", "post:jp", ledger.ErrScope},
		"the claimant's colleague writes it down": {ledger.MailAccepted, "inspector:other", "post:jp", ledger.ErrScope},
		"another municipality writes it down":     {ledger.ImportRegistered, "municipality:011002", "registry:jlis", ledger.ErrScope},
		"the wrong speaker is written down":       {ledger.ImportRegistered, "municipality:131229", "relay:2", ledger.ErrScope},
		"the speaker is no party":                 {ledger.ImportRegistered, "municipality:131229", "the phone", ledger.ErrMalformed},
		"the speaker repeats the author":          {ledger.ImportRegistered, "registry:jlis", "registry:jlis", ledger.ErrMalformed},
		"the ward writes down a notice":           {ledger.ImportRegistered, "municipality:131229", "registry:jlis", nil},
		"the operator writes down a receipt":      {ledger.MailAccepted, "operator:demo", "post:jp", nil},
		"a watchdog with a name":                  {ledger.AlertRaised, "watchdog:2", "", nil},
	} {
		t.Run(name, func(t *testing.T) {
			d := drafts()[c.kind]
			d.Author, d.Body.Speaker = c.author, c.speaker
			if _, err := ledger.New(testLedger, d, signer(t)); !errors.Is(err, c.want) || c.want != nil && !errors.Is(err, ledger.ErrRefused) {
				t.Errorf("%v, want %v", err, c.want)
			}
		})
	}
	t.Run("a transcription without a document", func(t *testing.T) {
		d := drafts()[ledger.ImportRegistered]
		d.Body.Document = ledger.Document{}
		if _, err := ledger.New(testLedger, d, signer(t)); !errors.Is(err, ledger.ErrMalformed) {
			t.Errorf("%v, want ErrMalformed", err)
		}
	})
}

// TestAdmitEnvelope: each refusal that is about subject and headers, of records
// whose signature is right.
func TestAdmitEnvelope(t *testing.T) {
	good := record(t, drafts()[ledger.OrderSent])
	set := func(name, value string) func(*ledger.Record) {
		return func(r *ledger.Record) { r.Header[name] = []string{value} }
	}
	subject := func(s string) func(*ledger.Record) { return func(r *ledger.Record) { r.Subject = s } }
	for name, c := range map[string]struct {
		change func(*ledger.Record)
		want   error
	}{
		"no subject":                     {subject(""), ledger.ErrMalformed},
		"a subject with a wildcard":      {subject("ledger.v1.131229.*.order.sent"), ledger.ErrMalformed},
		"a wrong check digit":            {subject("ledger.v1.131228." + batchID + ".order.sent"), ledger.ErrMalformed},
		"another municipality's subject": {subject("ledger.v1.011002." + batchID + ".order.sent"), ledger.ErrMismatch},
		"another batch's subject":        {subject("ledger.v1.131229.131229-20151005-0043.order.sent"), ledger.ErrMismatch},
		"another kind's subject":         {subject("ledger.v1.131229." + batchID + ".order.accepted"), ledger.ErrMismatch},
		"an unknown kind's subject":      {subject("ledger.v1.131229." + batchID + ".order.lost"), ledger.ErrUnknownKind},
		"a personal number as batch":     {subject("ledger.v1.131229." + myNumber("23456789012") + ".order.sent"), ledger.ErrPersonal},
		"a personal number as party":     {set(ledger.HeaderParty, "registry:"+myNumber("23456789012")), ledger.ErrPersonal},
		"an unknown kind":                {set(ledger.HeaderKind, "order.lost/1"), ledger.ErrUnknownKind},
		"a version of the future":        {set(ledger.HeaderKind, "order.sent/2"), ledger.ErrUnknownKind},
		"version 01":                     {set(ledger.HeaderKind, "order.sent/01"), ledger.ErrUnknownKind},
		"no version":                     {set(ledger.HeaderKind, "order.sent"), ledger.ErrUnknownKind},
		"no party":                       {set(ledger.HeaderParty, ""), ledger.ErrMalformed},
		"a party without an id":          {set(ledger.HeaderParty, "registry"), ledger.ErrMalformed},
		"a party of an unknown role":     {set(ledger.HeaderParty, "king:1"), ledger.ErrMalformed},
		"an id in capitals":              {set(ledger.HeaderID, strings.ToUpper(good.Header.Get(ledger.HeaderID))), ledger.ErrMalformed},
		"a short id":                     {set(ledger.HeaderID, "01"), ledger.ErrMalformed},
		"a short salt":                   {set(ledger.HeaderSalt, "01"), ledger.ErrMalformed},
		"a time of seconds":              {set(ledger.HeaderSent, "2015-10-05T01:30:00Z"), ledger.ErrMalformed},
		"a time with a comma":            {set(ledger.HeaderSent, "2015-10-05T01:30:00,123456789Z"), ledger.ErrMalformed},
		"a time in Japan":                {set(ledger.HeaderSent, "2015-10-05T01:30:00.000000000+09:00"), ledger.ErrMalformed},
		"a time that is none":            {set(ledger.HeaderSent, "2015-13-05T01:30:00.000000000Z"), ledger.ErrMalformed},
		"a key that is none":             {set(ledger.HeaderKey, "UABC"), ledger.ErrMalformed},
		"a key with a line end":          {set(ledger.HeaderKey, good.Header.Get(ledger.HeaderKey)+"\n"), ledger.ErrMalformed},
		"no key":                         {func(r *ledger.Record) { delete(r.Header, ledger.HeaderKey) }, ledger.ErrMalformed},
		"no id":                          {func(r *ledger.Record) { delete(r.Header, ledger.HeaderID) }, ledger.ErrMalformed},
		"no salt":                        {func(r *ledger.Record) { delete(r.Header, ledger.HeaderSalt) }, ledger.ErrMalformed},
		"a record time":                  {set(ledger.HeaderTime, "2015-10-05T01:30:00.000000000Z"), ledger.ErrMalformed},
		"a header of the broker":         {set("Nats-Rollup", "all"), ledger.ErrMalformed},
		"a header of nobody":             {set("X-Note", "hello"), ledger.ErrMalformed},
		"a header in small letters":      {set("todoke-id", "1"), ledger.ErrMalformed},
		"a header twice":                 {func(r *ledger.Record) { r.Header[ledger.HeaderSent] = append(r.Header[ledger.HeaderSent], "x") }, ledger.ErrMalformed},
		"a header without a value":       {func(r *ledger.Record) { r.Header["X-Note"] = nil }, ledger.ErrMalformed},
		"a huge header":                  {set(ledger.HeaderParty, "registry:"+strings.Repeat("a", 5000)), ledger.ErrMalformed},
		"a huge body":                    {func(r *ledger.Record) { r.Body = make([]byte, ledger.MaxBody+1) }, ledger.ErrTooLarge},
	} {
		t.Run(name, func(t *testing.T) {
			r := good
			r.Header = maps.Clone(good.Header)
			c.change(&r)
			refused(t, sign(t, r), c.want)
		})
	}
	t.Run("a rule pack under another municipality", func(t *testing.T) {
		r := record(t, drafts()[ledger.RulesPublished])
		r.Subject = "ledger.v1.131229.rules.rules.published"
		refused(t, sign(t, r), ledger.ErrMismatch)
	})
	t.Run("a batch of another municipality", func(t *testing.T) {
		d := drafts()[ledger.OrderSent]
		d.Subject.Municipality = "011002"
		if _, err := ledger.New(testLedger, d, signer(t)); !errors.Is(err, ledger.ErrMismatch) {
			t.Errorf("%v, want ErrMismatch", err)
		}
	})
	t.Run("no signature", func(t *testing.T) {
		r := good
		r.Header = maps.Clone(good.Header)
		delete(r.Header, ledger.HeaderSig)
		refused(t, r, ledger.ErrSignature)
	})
}
