package intake

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"todoke/ledger"
)

// rowOf returns a good row of household n.
func rowOf(n int) string {
	return fmt.Sprintf("%08d,131229,125-0063,葛飾区白鳥2-%d,,世帯%04d,3,0", n, n, n)
}

// with returns a good row in which one column is replaced.
func with(n int, c column, value string) string {
	fields := strings.Split(rowOf(n), ",")
	fields[c] = value
	return strings.Join(fields, ",")
}

// file returns a municipal file with the usual header.
func file(rows ...string) string {
	return headerRow + "\n" + strings.Join(rows, "\n") + "\n"
}

// myNumber returns a number that passes the check, made at run time from
// eleven digits.
func myNumber(eleven string) string {
	var digits [12]byte
	for i := range eleven {
		digits[i] = eleven[i] - '0'
	}
	for !ledger.ValidMyNumber(digits) {
		digits[11]++
	}
	return eleven + string(rune('0'+digits[11]))
}

// fullWidth returns s with its digits in full width.
func fullWidth(s string) string {
	return strings.Map(func(r rune) rune {
		if r >= '0' && r <= '9' {
			return r - '0' + '０'
		}
		return r
	}, s)
}

func grouped(s, sep string) string { return s[:4] + sep + s[4:8] + sep + s[8:] }

// problemsOf checks a file and returns what is wrong with it, without the
// sentences.
func problemsOf(t *testing.T, text string, harmless ...string) []Problem {
	t.Helper()
	c := testConfig("")
	c.Harmless = harmless
	_, err := Check(t.Context(), c, strings.NewReader(text))
	if err == nil {
		return nil
	}
	var refusal *Refusal
	if !errors.As(err, &refusal) || !errors.Is(err, ErrRefused) {
		t.Fatalf("error %v, want a refusal", err)
	}
	for i := range refusal.Problems {
		p := &refusal.Problems[i]
		if p.Reason == "" || strings.Contains(p.Reason, "%!") {
			t.Errorf("reason %q", p.Reason)
		}
		p.Reason = ""
	}
	return refusal.Problems
}

func TestFileIsRefused(t *testing.T) {
	number := myNumber("12345678901")
	at := func(line int, c column, f Fault) Problem {
		return Problem{Line: line, Column: int(c) + 1, Name: c.name(), Fault: f}
	}
	for name, c := range map[string]struct {
		text string
		want []Problem
	}{
		"empty":                                    {"", []Problem{{Fault: FaultNoRows}}},
		"nothing but blank lines":                  {"\n\r\n", []Problem{{Fault: FaultNoRows}}},
		"header alone":                             {headerRow + "\n", []Problem{{Fault: FaultNoRows}}},
		"header and END":                           {file("END,0"), []Problem{{Fault: FaultNoRows}}},
		"BOM alone":                                {"\xEF\xBB\xBF", []Problem{{Fault: FaultNoRows}}},
		"UTF-16 with BOM":                          {"\xFF\xFE\x01\x90", []Problem{{Line: 1, Fault: FaultUTF16}}},
		"UTF-16, the other end":                    {"\xFE\xFF\x90\x01", []Problem{{Line: 1, Fault: FaultUTF16}}},
		"UTF-16 without BOM":                       {"\x01\x90\x2C\x00\x02\x5E\x0A\x00", []Problem{{Line: 1, Fault: FaultUTF16}}},
		"EUC-JP":                                   {"\xC1\xF7\xC9\xD5\xC0\xE8,\xBD\xBB\xBD\xEA\n", []Problem{{Line: 1, Fault: FaultHeader}}},
		"no header":                                {rowOf(1) + "\n" + rowOf(2) + "\n", []Problem{{Line: 1, Fault: FaultHeader}}},
		"a missing column":                         {strings.Replace(file(rowOf(1)), "郵便番号,", "", 1), []Problem{{Line: 1, Fault: FaultMissing}}},
		"a column twice":                           {headerRow + ",住所\n", []Problem{{Line: 1, Column: 9, Name: "住所", Fault: FaultRepeated}}},
		"another's column twice":                   {headerRow + ",備考,備考\n", []Problem{{Line: 1, Column: 10, Fault: FaultRepeated}}},
		"too many columns":                         {headerRow + strings.Repeat(",", MaxColumns) + "\n", []Problem{{Line: 1, Fault: FaultTooWide}}},
		"a header that is no CSV":                  {"\"" + headerRow + "\n", []Problem{{Line: 1, Column: 1, Fault: FaultQuote}}},
		"a tab in the header":                      {headerRow + ",a\tb\n", []Problem{{Line: 1, Column: 9, Fault: FaultControl}}},
		"a blank line before it":                   {"\n" + file(rowOf(1)), []Problem{{Line: 1, Fault: FaultBlankLine}}},
		"CR line endings":                          {strings.ReplaceAll(file(rowOf(1)), "\n", "\r"), []Problem{{Line: 1, Column: 15, Fault: FaultControl}}},
		"a wrong END count":                        {file(rowOf(1), rowOf(2), "END,3"), []Problem{{Line: 4, Fault: FaultEndCount}}},
		"END without count":                        {file(rowOf(1), "END"), []Problem{{Line: 3, Fault: FaultEndForm}}},
		"END with a word":                          {file(rowOf(1), "END,one"), []Problem{{Line: 3, Fault: FaultEndForm}}},
		"END with a huge count":                    {file(rowOf(1), "END,99999999999999999999"), []Problem{{Line: 3, Fault: FaultEndForm}}},
		"a row behind END":                         {file(rowOf(1), "END,1", rowOf(2)), []Problem{{Line: 4, Fault: FaultPastEnd}}},
		"END twice":                                {file(rowOf(1), "END,1", "END,1"), []Problem{{Line: 4, Fault: FaultPastEnd}}},
		"a blank line in between":                  {file(rowOf(1), "", rowOf(2)), []Problem{{Line: 3, Fault: FaultBlankLine}}},
		"a truncated row":                          {headerRow + "\n" + rowOf(1) + "\n" + rowOf(2)[:20], []Problem{{Line: 3, Fault: FaultWidth}}},
		"a field too many":                         {file(rowOf(1) + ","), []Problem{{Line: 2, Fault: FaultWidth}}},
		"a quote that stays open":                  {file(rowOf(1), with(2, colBuilding, `"101`), rowOf(3)), []Problem{{Line: 3, Column: 5, Name: "方書", Fault: FaultQuote}}},
		"a quote inside a field":                   {file(with(1, colBuilding, `1"01`), rowOf(2)), []Problem{{Line: 2, Column: 5, Name: "方書", Fault: FaultQuote}}},
		"text behind a quote":                      {file(with(1, colBuilding, `"1"01`), rowOf(2)), []Problem{{Line: 2, Column: 5, Name: "方書", Fault: FaultQuote}}},
		"a CR alone at the end":                    {headerRow + "\n" + rowOf(1) + "\r", []Problem{at(2, colGaiji, FaultControl)}},
		"a CR alone in quotes":                     {file(with(1, colBuilding, "\"1\r2\"")), []Problem{at(2, colBuilding, FaultControl)}},
		"NUL":                                      {file(with(1, colHolder, "世帯\x00")), []Problem{at(2, colHolder, FaultNUL)}},
		"a tab":                                    {file(with(1, colBuilding, "1\t2")), []Problem{at(2, colBuilding, FaultControl)}},
		"a My Number as the name of a column":      {headerRow + "," + myNumber("98765432101") + "\n" + rowOf(1) + ",x\n", []Problem{{Line: 1, Column: 9, Fault: FaultMyNumber}}},
		"a name of nothing but a zero-width space": {file(with(1, colHolder, "\u200b")), []Problem{at(2, colHolder, FaultControl)}},
		"a number parted by soft hyphens":          {file(with(1, colHolder, grouped(myNumber("98765432101"), "\u00ad"))), []Problem{at(2, colHolder, FaultControl)}},
		"a mark of direction":                      {file(with(1, colHolder, "世帯\u202e0001")), []Problem{at(2, colHolder, FaultControl)}},
		"a control character of C1":                {file(with(1, colBuilding, "1\u0085")), []Problem{at(2, colBuilding, FaultControl)}},
		"DOS's end of file":                        {file(rowOf(1)) + "\x1A", []Problem{{Line: 3, Fault: FaultWidth}}},
		"CP932 in UTF-8":                           {file(with(1, colHolder, "\x90\xA2\x91\xD1")), []Problem{at(2, colHolder, FaultEncoding)}},
		"a torn UTF-8 character":                   {file(with(1, colHolder, "世\xE5\xB8")), []Problem{at(2, colHolder, FaultEncoding)}},
		"U+FFFD":                                   {file(with(1, colHolder, "世\uFFFD")), []Problem{at(2, colHolder, FaultEncoding)}},
		"a surrogate in UTF-8":                     {file(with(1, colHolder, "\xED\xA0\x80")), []Problem{at(2, colHolder, FaultEncoding)}},
		"nothing in every column": {file(",,,,,,,"), []Problem{at(2, colNumber, FaultEmpty), at(2, colCode, FaultEmpty),
			at(2, colAddress, FaultEmpty), at(2, colHolder, FaultEmpty), at(2, colPersons, FaultEmpty), at(2, colGaiji, FaultEmpty)}},
		"spaces for a name":      {file(with(1, colHolder, " \u3000")), []Problem{at(2, colHolder, FaultEmpty)}},
		"a lost leading zero":    {file(with(1, colCode, "11002")), []Problem{at(2, colCode, FaultFiveDigits)}},
		"no check digit":         {file(with(1, colCode, "１３１２２")), []Problem{at(2, colCode, FaultFiveDigits)}},
		"a wrong check digit":    {file(with(1, colCode, "131228")), []Problem{at(2, colCode, FaultCheckDigit)}},
		"another municipality":   {file(with(1, colCode, "131211")), []Problem{at(2, colCode, FaultMunicipality)}},
		"a name for a code":      {file(with(1, colCode, "葛飾区")), []Problem{at(2, colCode, FaultCode)}},
		"a code of seven digits": {file(with(1, colCode, "0131229")), []Problem{at(2, colCode, FaultCode)}},
		"a short postcode":       {file(with(1, colPostcode, "125-006")), []Problem{at(2, colPostcode, FaultPostcode)}},
		"a postcode in a word":   {file(with(1, colPostcode, "白鳥")), []Problem{at(2, colPostcode, FaultPostcode)}},
		"no persons":             {file(with(1, colPersons, "0")), []Problem{at(2, colPersons, FaultNumber)}},
		"persons below zero":     {file(with(1, colPersons, "-1")), []Problem{at(2, colPersons, FaultNumber)}},
		"persons in a word":      {file(with(1, colPersons, "三")), []Problem{at(2, colPersons, FaultNumber)}},
		"many 外字":                {file(with(1, colGaiji, "10000")), []Problem{at(2, colGaiji, FaultNumber)}},
		"a number twice":         {file(rowOf(1), rowOf(2), rowOf(1)), []Problem{at(4, colNumber, FaultDuplicate)}},
		"a number in both widths": {file(rowOf(1), with(2, colNumber, "００００ 0001"), with(3, colNumber, " ０００００００１")),
			[]Problem{at(4, colNumber, FaultDuplicate)}},
		"a My Number":                 {file(with(1, colBuilding, number)), []Problem{at(2, colBuilding, FaultMyNumber)}},
		"a My Number in full width":   {file(with(1, colHolder, "世帯"+fullWidth(number))), []Problem{at(2, colHolder, FaultMyNumber)}},
		"a My Number in groups":       {file(with(1, colAddress, "白鳥 "+grouped(number, "-"))), []Problem{at(2, colAddress, FaultMyNumber)}},
		"a My Number in wide groups":  {file(with(1, colAddress, fullWidth(grouped(number, "－")))), []Problem{at(2, colAddress, FaultMyNumber)}},
		"a My Number for a number":    {file(with(1, colNumber, number)), []Problem{at(2, colNumber, FaultMyNumber)}},
		"a My Number in quotes":       {file(with(1, colBuilding, `"a, `+number+`"`)), []Problem{at(2, colBuilding, FaultMyNumber)}},
		"several problems in a row":   {file(with(1, colCode, "131211"), with(1, colPersons, "x")), []Problem{at(2, colCode, FaultMunicipality), at(3, colNumber, FaultDuplicate), at(3, colPersons, FaultNumber)}},
		"the line of a row, not of a": {file(with(1, colBuilding, "\"a\nb\nc\""), with(2, colPersons, "0")), []Problem{at(5, colPersons, FaultNumber)}},
	} {
		t.Run(name, func(t *testing.T) {
			if got := problemsOf(t, c.text); !reflect.DeepEqual(got, c.want) {
				t.Errorf("problems\n%+v, want\n%+v", got, c.want)
			}
		})
	}
}

func TestCP932FileIsRefused(t *testing.T) {
	for name, bytes := range map[string]string{
		"a first byte alone":   "\x8A",
		"外字":                   "\xF0\x40",
		"an undefined pair":    "\x8A\xFF",
		"a byte without a use": "\xA0",
		"byte 80":              "\x80",
	} {
		t.Run(name, func(t *testing.T) {
			text := cp932(t, headerRow+"\n"+rowOf(1)+"\n")
			bad := strings.Replace(text, cp932(t, "世帯0001"), bytes, 1)
			got := problemsOf(t, bad)
			if len(got) != 1 || got[0].Line != 2 || got[0].Name != "世帯主氏名" {
				t.Errorf("problems %+v", got)
			}
		})
	}
}

func TestFileIsTaken(t *testing.T) {
	number := myNumber("12345678901")
	wrong := number[:11] + string('0'+(number[11]-'0'+1)%10)
	for name, c := range map[string]struct {
		text     string
		encoding string
		harmless []string
		count    uint32
	}{
		"in UTF-8":                      {file(rowOf(1), rowOf(2)), UTF8, nil, 2},
		"in UTF-8 with BOM":             {"\xEF\xBB\xBF" + file(rowOf(1)), UTF8BOM, nil, 1},
		"with BOM and quoted header":    {"\xEF\xBB\xBF\"送付先管理番号\"" + strings.TrimPrefix(file(rowOf(1)), "送付先管理番号"), UTF8BOM, nil, 1},
		"in CP932":                      {cp932(t, file(rowOf(1), rowOf(2), "END,2")), CP932, nil, 2},
		"with CRLF":                     {strings.ReplaceAll(file(rowOf(1), rowOf(2), "END,2"), "\n", "\r\n"), UTF8, nil, 2},
		"without ending at the end":     {headerRow + "\n" + rowOf(1), UTF8, nil, 1},
		"with blank lines at the end":   {file(rowOf(1), "END,1", "", ""), UTF8, nil, 1},
		"with a full-width END count":   {file(rowOf(1), "END,１"), UTF8, nil, 1},
		"with END filled up":            {file(rowOf(1), "END,1,,,,,,"), UTF8, nil, 1},
		"with columns in another order": {"備考,外字数,対象人数,世帯主氏名,方書,住所,郵便番号,市町村コード,送付先管理番号\nx,0,1,世帯,,白鳥2-1,1250063,131229,1\n", UTF8, nil, 1},
		"with quoted fields":            {file(with(1, colBuilding, `"水元荘, ""201"""`)), UTF8, nil, 1},
		"with line endings in quotes":   {file(with(1, colBuilding, "\"水元荘\r\n201\"")), UTF8, nil, 1},
		"with digits in full width":     {file(fullWidth(rowOf(1))), UTF8, nil, 1},
		"without postcode":              {file(with(1, colPostcode, "")), UTF8, nil, 1},
		"with 髙 as Windows writes it":   {strings.Replace(cp932(t, file(with(1, colHolder, "高"))), cp932(t, "高"), "\xFB\xFC", 1), CP932, nil, 1},
		"with half-width kana":          {cp932(t, file(with(1, colHolder, "ｾﾀｲ"))), CP932, nil, 1},
		"with either shape of 葛":        {file(with(1, colAddress, "葛\U000E0100飾区白鳥2-1"), with(2, colAddress, "葛\U000E0101飾区白鳥2-1")), UTF8, nil, 2},
		"with a character beyond CP932": {file(with(1, colHolder, "𠮷")), UTF8, nil, 1},
		"with twelve digits that fail":  {file(with(1, colBuilding, wrong)), UTF8, nil, 1},
		"with thirteen digits":          {file(with(1, colBuilding, "1"+number)), UTF8, nil, 1},
		"with a harmless column":        {file(with(1, colNumber, number)), UTF8, []string{"送付先管理番号"}, 1},
		"with END as a number":          {file(with(1, colNumber, "END")), UTF8, nil, 1},
	} {
		t.Run(name, func(t *testing.T) {
			config := testConfig("")
			config.Harmless = c.harmless
			m, err := Check(t.Context(), config, strings.NewReader(c.text))
			if err != nil {
				t.Fatal(err)
			}
			if m.Count != c.count || m.Encoding != c.encoding || !reflect.DeepEqual(m.Harmless, c.harmless) {
				t.Errorf("count %d, encoding %s, harmless %v", m.Count, m.Encoding, m.Harmless)
			}
		})
	}
}

func TestAHarmlessColumnIsHarmlessAlone(t *testing.T) {
	number := myNumber("98765432109")
	text := strings.Replace(file(with(1, colNumber, number)+","+number), headerRow, headerRow+",備考", 1)
	want := []Problem{{Line: 2, Column: 9, Fault: FaultMyNumber}}
	if got := problemsOf(t, text, "送付先管理番号"); !reflect.DeepEqual(got, want) {
		t.Errorf("problems %+v, want %+v", got, want)
	}
	for _, never := range []string{"住所", "方書", "世帯主氏名"} {
		c := testConfig("")
		c.Harmless = []string{never}
		if _, err := Check(t.Context(), c, strings.NewReader(text)); err == nil || errors.Is(err, ErrRefused) {
			t.Errorf("%s was declared harmless: %v", never, err)
		}
	}
}

func TestRefusalIsBounded(t *testing.T) {
	rows := make([]string, 3*maxProblems)
	for i := range rows {
		rows[i] = with(i, colPersons, "0")
	}
	_, err := Check(t.Context(), testConfig(""), strings.NewReader(file(rows...)))
	var r *Refusal
	if !errors.As(err, &r) || r.Rows != len(rows) || len(r.Problems) != maxProblems || r.More != 2*maxProblems {
		t.Fatalf("refusal %v", err)
	}
}

func TestRefusalAsJSON(t *testing.T) {
	_, err := Check(t.Context(), testConfig(""), strings.NewReader(file(rowOf(1), with(1, colCode, "13122"), "")))
	got, jsonErr := json.Marshal(err)
	want := `{"rows":2,"problems":[` +
		`{"line":3,"column":1,"name":"送付先管理番号","fault":"duplicate","reason":"the same 送付先管理番号 stands in line 2"},` +
		`{"line":3,"column":2,"name":"市町村コード","fault":"five-digits","reason":"it has five digits: a spreadsheet dropped the leading zero, or the check digit is missing"}]}`
	if jsonErr != nil || string(got) != want {
		t.Errorf("JSON\n%s, want\n%s", got, want)
	}
	const text = "file refused: 2 problems in 2 rows, first line 3, column 1 (送付先管理番号): the same 送付先管理番号 stands in line 2"
	if err.Error() != text {
		t.Errorf("error %q, want %q", err, text)
	}
}

func TestABatchHasNoMoreItemsThanItMay(t *testing.T) {
	s, err := openSheet(strings.NewReader(file(rowOf(1), rowOf(2))))
	if err != nil {
		t.Fatal(err)
	}
	s.refusal.Rows = ledger.MaxItem - 1
	if _, err := s.next(); err != nil {
		t.Fatalf("the last item: %v", err)
	}
	if _, err := s.next(); !errors.Is(err, ErrRefused) || s.refusal.Problems[0].Fault != FaultTooMany {
		t.Errorf("one more: %v", err)
	}
}

// TestRefusalRepeatsNothing breaks every field of a row in every way there is
// and looks for what stands in the file in what is said about it.
func TestRefusalRepeatsNothing(t *testing.T) {
	secrets := []string{"管理X", "１３ZZ", "〒12", "秘密町", "秘密荘", "秘密世帯", "九人", "外字Q"}
	texts := []string{
		file(strings.Join(secrets, ","), strings.Join(secrets, ",")),
		strings.Join(secrets, ",") + "\n",                     // taken for a header
		headerRow + "," + strings.Join(secrets, ",") + "\n\n", // columns of others
		headerRow + ",秘密町,秘密町\n",
		file(strings.Join(secrets, ",") + `,"`),
		file("END,秘密町"),
		file(with(1, colHolder, "秘密世帯\x01")),
		file(with(1, colHolder, "秘密世帯"+myNumber("11122233344"))),
	}
	for _, text := range texts {
		for _, s := range []string{text, strings.ReplaceAll(text, "\n", "\r\n"), "\xEF\xBB\xBF" + text} {
			_, err := Check(t.Context(), testConfig(""), strings.NewReader(s))
			if err == nil {
				t.Fatalf("taken: %q", s)
			}
			said, _ := json.Marshal(err)
			for _, secret := range append(secrets, "111222333") {
				if strings.Contains(err.Error()+string(said), secret) {
					t.Errorf("%q stands in %v", secret, err)
				}
			}
		}
	}
}
