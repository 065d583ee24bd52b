package stream_test
import ("time";"testing")
var t0 = time.Now()
func lap(t *testing.T, s string) { t.Logf("%s %.2f", s, time.Since(t0).Seconds()); t0=time.Now() }
