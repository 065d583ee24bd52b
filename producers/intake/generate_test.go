package intake

import (
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"golang.org/x/text/encoding"
	"golang.org/x/text/encoding/japanese"
)

// headerRow has the columns in the order of the format's description.
const headerRow = "送付先管理番号,市町村コード,郵便番号,住所,方書,世帯主氏名,対象人数,外字数"

// now is when the tests take place: 2015-10-05 in Japan, still the 4th in UTC.
var now = time.Date(2015, 10, 4, 20, 0, 0, 0, time.UTC)

// testConfig returns the configuration of a gateway of 葛飾区 with keys that
// are the same in every run.
func testConfig(dir string) Config {
	return Config{
		Dir: dir, Municipality: "131229", Rand: rand.NewChaCha8([32]byte{1}),
		Now: func() time.Time { return now },
	}
}

// households writes a municipal file row by row, without ever holding it.
// Names are drawn when it runs; none is anybody's.
type households struct {
	random *rand.Rand
	towns  []string
	left   int
	number int
	buf    []byte
}

// newHouseholds returns a file of n rows in UTF-8. CP932 is what an encoder
// around it makes of that.
func newHouseholds(n int, seed uint64) io.Reader {
	h := &households{random: rand.New(rand.NewPCG(seed, 0)), left: n}
	for line := range strings.Lines(katsushika) {
		if f := strings.Split(line, ","); f[0] == "131229" {
			h.towns = append(h.towns, f[2]+","+f[3])
		}
	}
	h.buf = append(h.buf, headerRow+"\r\n"...)
	return h
}

func (h *households) Read(p []byte) (int, error) {
	for len(h.buf) < len(p) && h.left > 0 {
		h.row()
	}
	if len(h.buf) == 0 {
		return 0, io.EOF
	}
	n := copy(p, h.buf)
	h.buf = h.buf[:copy(h.buf, h.buf[n:])]
	return n, nil
}

func (h *households) row() {
	surnames := [...]string{"髙橋", "山﨑", "葛西", "白鳥", "金町", "水元", "四木", "奥戸"}
	given := [...]string{"一", "二葉", "三郎", "花子", "太郎", "葵", "蓮", "ﾏﾘｱ"}
	name := surnames[h.random.IntN(len(surnames))] + "　" + given[h.random.IntN(len(given))]
	// Rows come town by town, as registers are sorted, with some strays.
	at := h.number * len(h.towns) / (h.number + h.left)
	if h.random.IntN(50) == 0 {
		at = h.random.IntN(len(h.towns))
	}
	town, code, _ := strings.Cut(h.towns[at], ",")
	building := ""
	if h.random.IntN(3) == 0 {
		building = fmt.Sprintf(`"水元荘, ""%d""号"`, h.random.IntN(400))
	}
	h.number++
	h.left--
	h.buf = fmt.Appendf(h.buf, "%08d,131229,%s-%s,東京都葛飾区%s%d番%d号,%s,%s,%d,%d\r\n", h.number,
		code[:3], code[3:], town, 1+h.random.IntN(30), 1+h.random.IntN(20), building, name,
		1+h.random.IntN(6), h.random.IntN(2))
}

// cp932 encodes text; it fails the test when CP932 does not have it.
func cp932(t testing.TB, s string) string {
	t.Helper()
	out, err := japanese.ShiftJIS.NewEncoder().String(s)
	if err != nil {
		t.Fatalf("encode as CP932: %v", err)
	}
	return out
}

// encoders are the encodings that files come in, by the name in the manifest.
func encoders() map[string]*encoding.Encoder {
	return map[string]*encoding.Encoder{UTF8: encoding.Nop.NewEncoder(), CP932: japanese.ShiftJIS.NewEncoder()}
}
