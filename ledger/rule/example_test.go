package rule_test

import (
	"fmt"
	"time"

	"todoke/ledger"
	"todoke/ledger/rule"
)

func ExamplePack_Deadline() {
	japan := time.FixedZone("JST", 9*60*60)
	printed := time.Date(2015, time.October, 9, 15, 0, 0, 0, japan) // a Friday; Monday is 体育の日
	due, _ := rule.Default().Deadline("print", ledger.AcknowledgementSide, printed)
	fmt.Println(due.Due.In(japan).Format("Monday 2006-01-02 15:04"))
	// Output: Tuesday 2015-10-13 17:15
}
