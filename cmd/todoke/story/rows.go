package story

import (
	"fmt"
	"math/rand/v2"
	"strings"

	"golang.org/x/text/encoding/japanese"
)

// A sheet is a municipal file as it was generated: the whole file, and the raw
// bytes of each row, which are what travels on the dedicated line.
type sheet struct {
	file []byte
	rows [][]byte
}

const header = "送付先管理番号,市町村コード,郵便番号,住所,方書,世帯主氏名,対象人数,外字数"

// makeSheet generates the file of a lot: one row a household, with the
// characters that make trouble in real files. Nobody in it exists: names are
// drawn from a list of surnames and a list of given names.
func makeSheet(lot *Lot, random *rand.Rand) (sheet, error) {
	var s sheet
	first, err := encode(lot.Encoding, header)
	if err != nil {
		return sheet{}, err
	}
	s.file = append(s.file, first...)
	s.file = append(s.file, "\r\n"...)
	n := 0
	for _, t := range lot.Towns {
		for range t.N {
			n++
			row, err := encode(lot.Encoding, household(lot, t.Town, n, random))
			if err != nil {
				return sheet{}, fmt.Errorf("generate row %d of %s: %w", n, lot.Name, err)
			}
			s.rows = append(s.rows, row)
			s.file = append(s.file, row...)
			s.file = append(s.file, "\r\n"...)
		}
	}
	s.file = fmt.Appendf(s.file, "END,%d\r\n", n)
	return s, nil
}

func household(lot *Lot, town string, n int, random *rand.Rand) string {
	address := fmt.Sprintf("%s%s%d番%d号", lot.Address, town, 1+random.IntN(30), 1+random.IntN(25))
	if random.IntN(3) == 0 {
		address = fullWidth(address)
	}
	building := ""
	switch random.IntN(4) {
	case 0:
		building = fmt.Sprintf("%s%d号室", pick(random, buildings), 101+random.IntN(800))
	case 1:
		building = fmt.Sprintf(`"%s, %d棟 ""%s"""`, pick(random, buildings), 1+random.IntN(9), pick(random, buildings))
	}
	name := pick(random, surnames) + "　" + pick(random, givenNames)
	gaiji := 0
	if lot.Encoding == "utf8" && strings.Contains(name, "葛") {
		// Katsushika's own 葛 with its ideographic variation selector.
		name = strings.ReplaceAll(name, "葛", "葛\U000E0100")
		gaiji = 1
	}
	return fmt.Sprintf("%s-%06d,%s,%s,%s,%s,%s,%d,%d", lot.Municipality, n, lot.Municipality, lot.Postcode, address, building, name, 1+random.IntN(5), gaiji)
}

// pick draws one word of a list.
func pick(random *rand.Rand, list string) string {
	words := strings.Fields(list)
	return words[random.IntN(len(words))]
}

// fullWidth writes the digits as municipal systems often do.
func fullWidth(s string) string {
	return strings.Map(func(r rune) rune {
		if r >= '0' && r <= '9' {
			return r - '0' + '０'
		}
		return r
	}, s)
}

// asWindows returns the bytes of the characters that CP932 has twice and that
// the encoder writes otherwise than Windows does. Real files have these bytes,
// and only the raw bytes are the same on both ends.
func asWindows(r rune) string {
	switch r {
	case '髙':
		return "\xFB\xFC"
	case '﨑':
		return "\xFA\xB1"
	}
	return ""
}

func encode(encoding, text string) ([]byte, error) {
	if encoding == "utf8" {
		return []byte(text), nil
	}
	var out []byte
	encoder := japanese.ShiftJIS.NewEncoder()
	for _, r := range text {
		if special := asWindows(r); special != "" {
			out = append(out, special...)
			continue
		}
		c, err := encoder.Bytes([]byte(string(r)))
		if err != nil {
			return nil, fmt.Errorf("encode %U as CP932: %w", r, err)
		}
		out = append(out, c...)
	}
	return out, nil
}

// The lists that names are drawn from.
const (
	surnames   = "佐藤 鈴木 髙橋 田中 伊藤 渡邉 山本 中村 小林 加藤 吉田 山田 佐々木 山口 松本 井上 木村 林 斎藤 清水 山﨑 池田 橋本 阿部 石川 中島 前田 藤田 小川 岡田 後藤 長谷川 村上 近藤 石井 坂本 遠藤 青木 藤井 西村 福田 太田 三浦 藤原 岡本 松田 中川 中野 原田 小野 竹内 葛西 葛城"
	givenNames = "一郎 二郎 三郎 健太 大輔 翔 拓也 直樹 学 誠 隆 茂 勝 清 実 進 昇 博 修 豊 花子 幸子 和子 洋子 恵子 京子 節子 久美子 由美 明美 真由美 直美 香織 恵 陽子 さくら 葵 結衣 美咲 ｱｷﾗ"
	buildings  = "コーポ白鳥 メゾン葛飾 第２さくら荘 ハイツ青戸 サンライズ ﾚｼﾞﾃﾞﾝｽ 都営アパート パークサイド"
)
