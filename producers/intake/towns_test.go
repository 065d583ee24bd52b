package intake

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"todoke/ledger"
)

func katsushikaTowns(t testing.TB) *Towns {
	t.Helper()
	towns, err := ReadTowns(strings.NewReader(katsushika), "131229")
	if err != nil {
		t.Fatal(err)
	}
	return towns
}

func TestTownOfAddress(t *testing.T) {
	towns := katsushikaTowns(t)
	for address, want := range map[string]string{
		"白鳥二丁目１番":            "白鳥二丁目",
		"白鳥２－１":              "白鳥二丁目",
		"東京都葛飾区白鳥2-1":        "白鳥二丁目",
		"葛飾区白鳥2丁目":           "白鳥二丁目",
		"葛飾区 白鳥 2-1":         "白鳥二丁目",
		"東京都　葛飾区　白鳥　２丁目　１番":  "白鳥二丁目",
		"葛\U000E0100飾区白鳥2-1": "白鳥二丁目",
		"葛\U000E0101飾区白鳥2-1": "白鳥二丁目",
		"白鳥二－１":              "白鳥二丁目",
		"白鳥2の1":              "白鳥二丁目",
		"白鳥２ー１":              "白鳥二丁目",
		"白鳥2−1":              "白鳥二丁目",
		"白鳥2":                "白鳥二丁目",
		"白鳥4-1":              "白鳥四丁目",
		"白鳥21":               "",
		"白鳥21-1":             "",
		"白鳥二十一丁目":            "",
		"白鳥12":               "",
		"白鳥5-1":              "",
		"白鳥0-1":              "",
		"白鳥":                 "",
		"白鳥2番地":              "",
		"白鳥二三":               "",
		"西白鳥2-1":             "",
		"四つ木1-1":             "四つ木一丁目",
		"四つ木五丁目":             "四つ木五丁目",
		"葛飾区東四つ木4-10-1":      "東四つ木四丁目",
		"東四つ木四丁目":            "東四つ木四丁目",
		"西亀有3-1":             "西亀有三丁目",
		"亀有3-1":              "亀有三丁目",
		"西新小岩２丁目":            "西新小岩二丁目",
		"新小岩２丁目":             "新小岩二丁目",
		"東新小岩8-1":            "東新小岩八丁目",
		"お花茶屋1-1":            "お花茶屋一丁目",
		"水元公園3-2":            "水元公園",
		"水元3-2":              "水元三丁目",
		"金町浄水場1-1":           "金町浄水場",
		"金町1-1":              "金町一丁目",
		"東金町1-1 葛飾区役所前白鳥2-1":       "東金町一丁目",
		"奥戸九丁目":                    "奥戸九丁目",
		"墨田区白鳥2-1":                 "",
		"":                         "",
		"葛飾区":                      "",
		"\U000E0100":               "",
		"白鳥99999999999999999999-1": "",
	} {
		if got := towns.find(address); got != want {
			t.Errorf("%q is in %q, want %q", address, got, want)
		}
	}
}

func TestEveryTownIsFoundInEveryForm(t *testing.T) {
	towns := katsushikaTowns(t)
	count := 0
	for line := range strings.Lines(katsushika) {
		town := strings.Split(line, ",")[2]
		if town == "town" {
			continue
		}
		count++
		base, n := splitTown(town)
		forms := []string{town, "東京都葛飾区" + town + "1番2号"}
		if n > 0 {
			forms = append(forms, fmt.Sprintf("%s%d-1-2", base, n), fullWidth(fmt.Sprintf("葛飾区%s%d－1", base, n)),
				fmt.Sprintf("%s%d丁目", base, n))
		}
		for _, address := range forms {
			if got := towns.find(address); got != town {
				t.Errorf("%q is in %q, want %q", address, got, town)
			}
		}
	}
	if count != 155 {
		t.Errorf("%d towns, want 155", count)
	}
}

func TestLeadingNumber(t *testing.T) {
	type number struct {
		n    int
		rest string
	}
	for s, want := range map[string]number{
		"二丁目":  {2, "丁目"},
		"十":    {10, ""},
		"十二番":  {12, "番"},
		"二十":   {20, ""},
		"二十四条": {24, "条"},
		"九十九":  {99, ""},
		"二三":   {2, "三"},
		"24-1": {24, "-1"},
		"２４－１": {24, "－１"},
		"02":   {2, ""},
		"100":  {0, "100"},
		"十十":   {0, "十十"},
		"町":    {0, "町"},
		"":     {0, ""},
	} {
		if n, rest := leadingNumber(s); n != want.n || rest != want.rest {
			t.Errorf("%q begins with %d, then %q; want %d and %q", s, n, rest, want.n, want.rest)
		}
	}
}

func TestTownsOfAnotherTable(t *testing.T) {
	const table = "town,lgcode,note,ward\n北一条西二丁目,011002,,中央区\n北二十四条西十丁目,011002,,北区\n南町,011002,,北区\n白鳥二丁目,131229,,葛飾区\n"
	towns, err := ReadTowns(strings.NewReader(table), "011002")
	if err != nil {
		t.Fatal(err)
	}
	for address, want := range map[string]string{
		"北海道札幌市中央区北一条西2-1": "北一条西二丁目",
		"札幌市北区北二十四条西１０丁目":  "北二十四条西十丁目",
		"北区南町12":              "南町",
		"白鳥2-1":               "",
		"北区北一条西二丁目":           "北一条西二丁目",
		"北二十四条西１丁目":           "",
		"札幌市中央区\u3000北一条西2-1": "北一条西二丁目",
	} {
		if got := towns.find(address); got != want {
			t.Errorf("%q is in %q, want %q", address, got, want)
		}
	}
}

func TestReadTownsRefuses(t *testing.T) {
	for name, table := range map[string]string{
		"an empty table":          "",
		"a table without header":  "131229,葛飾区,白鳥二丁目\n",
		"nothing of its own":      "lgcode,ward,town\n011002,中央区,南町\n",
		"a town without a name":   "lgcode,ward,town\n131229,葛飾区,\n",
		"a name that is too long": "lgcode,ward,town\n131229,葛飾区," + strings.Repeat("町", 21) + "\n",
		"the name of a group":     "lgcode,ward,town\n131229,葛飾区,その他\n",
		"a control character":     "lgcode,ward,town\n131229,葛飾区,白\t鳥\n",
		"broken UTF-8":            "lgcode,ward,town\n131229,葛飾区,\x94\n",
		"broken CSV":              "lgcode,ward,town\n131229,葛飾区\n",
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := ReadTowns(strings.NewReader(table), "131229"); err == nil {
				t.Error("no error")
			}
		})
	}
}

func TestItemWithoutTownGoesByItsPostcode(t *testing.T) {
	g := newGroups(katsushikaTowns(t))
	number := uint32(0)
	for _, c := range []struct{ address, code, want string }{
		{"白鳥2-1", "1250063", "白鳥二丁目"},
		{"堀切菖蒲園", "124-0006", "〒124-0006"},
		{"堀切菖蒲園", "〒１２４－０００６", "〒124-0006"},
		{"堀切菖蒲園", "", unknownTown},
	} {
		for range minGroup {
			number++
			g.add(number, c.address, c.code)
		}
		if items := g.byName[c.want]; items == nil || items.Max() != number {
			t.Errorf("%q %q is not in %q", c.address, c.code, c.want)
		}
	}
	if g.unknown != minGroup {
		t.Errorf("%d items are in no town, want %d", g.unknown, minGroup)
	}
}

func TestGroupsOfFewerThanTenAreNotNamed(t *testing.T) {
	g := newGroups(katsushikaTowns(t))
	number := uint32(0)
	for address, size := range map[string]int{"白鳥1-1": minGroup, "白鳥2-1": minGroup - 1, "水元公園": 1} {
		for range size {
			number++
			g.add(number, address, "")
		}
	}
	sizes := map[string]uint32{}
	for _, town := range g.list() {
		sizes[town.Name] = town.Count
	}
	if want := map[string]uint32{"白鳥一丁目": 10, otherTowns: 10}; !maps.Equal(sizes, want) {
		t.Errorf("groups %v, want %v", sizes, want)
	}
}

// TestGroupsPartitionTheItems holds whatever order the towns come in.
func TestGroupsPartitionTheItems(t *testing.T) {
	towns := katsushikaTowns(t)
	names := []string{"白鳥1-1", "白鳥2-1", "水元公園", "どこか", "西亀有3-1"}
	codes := []string{"", "1250063", "1240001", "1240002"}
	rapid.Check(t, func(t *rapid.T) {
		g := newGroups(towns)
		rows := rapid.SliceOfN(rapid.SampledFrom(names), 1, 200).Draw(t, "towns")
		for i, address := range rows {
			g.add(uint32(i+1), address, rapid.SampledFrom(codes).Draw(t, "postcode"))
		}
		checkPartition(t, g.list(), len(rows))
	})
}

func checkPartition(t rapid.TB, list []Town, n int) {
	t.Helper()
	var all ledger.Items
	total, before := 0, uint32(0)
	for _, town := range list {
		if int(town.Count) != town.Items.Count() || (town.Count < minGroup && town.Name != otherTowns) {
			t.Fatalf("town %s counts %d for %s", town.Name, town.Count, town.Items)
		}
		if town.first() <= before {
			t.Fatalf("town %s is not in order", town.Name)
		}
		before = town.first()
		total += int(town.Count)
		all = all.Union(town.Items)
	}
	if total != n || !all.Equal(ledger.AllItems(n)) {
		t.Fatalf("the groups hold %d items, together %s; want 1-%d", total, all, n)
	}
}

func TestGroupsAreNoMoreThanAnEventHolds(t *testing.T) {
	g := newGroups(new(Towns))
	number := uint32(0)
	for code := range maxGroups + 50 {
		size := minGroup
		if code < 60 {
			size++ // the first are larger, and so are named
		}
		for range size {
			number++
			g.add(number, "", fmt.Sprintf("%07d", code))
		}
	}
	list := g.list()
	checkPartition(t, list, int(number))
	if len(list) != maxGroups {
		t.Errorf("%d groups, want %d", len(list), maxGroups)
	}
	if i := slices.IndexFunc(list, func(t Town) bool { return t.Name == "〒000-0059" }); i < 0 {
		t.Error("a larger group is not named")
	}
	if report := (Manifest{Count: number, Towns: list}).Report(); len(report.Towns) != maxGroups {
		t.Errorf("%d groups are reported", len(report.Towns))
	}
}
