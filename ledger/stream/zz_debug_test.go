package stream

import (
	"context"
	"testing"
	"time"
	"fmt"
	"todoke/testenv/cluster"
	"github.com/nats-io/nats.go/jetstream"
)

func TestDebugLease(t *testing.T) {
	c := cluster.Start(t, cluster.Config{})
	nc, _ := connectOutside(c.URL())
	defer nc.Close()
	l, err := newLease(context.Background(), nc, 3, false)
	if err != nil { t.Fatal(err) }
	for range 3 {
	began := time.Now()
	for {
		ok, h, err := l.take(context.Background())
		fmt.Println(time.Since(began), ok, h, err, l.revision)
		if ok { break }
		time.Sleep(time.Second)
	}
	err = l.kv.Delete(context.Background(), leaseKey, jetstream.LastRevision(l.revision))
	fmt.Println("delete", err)
	e, err := l.kv.Get(context.Background(), leaseKey)
	fmt.Println(e, err)
	}
}
