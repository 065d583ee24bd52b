package stream

import (
	"net"
	"net/url"
	"sync"
	"testing"
)

// A proxy stands between a client and the broker, and can hold back what
// either of them says.
type proxy struct {
	listener net.Listener
	target   string

	mu      sync.Mutex
	changed *sync.Cond
	held    [2]bool // by direction
	ended   bool
	conns   []net.Conn
}

// The directions.
const (
	toBroker = iota
	toClient
)

// newProxy starts a proxy before the broker at a URL, and returns its own URL.
func newProxy(t *testing.T, broker string) (*proxy, string) {
	t.Helper()
	u, err := url.Parse(broker)
	if err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{listener: listener, target: u.Host}
	p.changed = sync.NewCond(&p.mu)
	go p.serve()
	t.Cleanup(p.close)
	u.Host = listener.Addr().String()
	return p, u.String()
}

func (p *proxy) serve() {
	for {
		client, err := p.listener.Accept()
		if err != nil {
			return
		}
		broker, err := net.Dial("tcp", p.target)
		if err != nil {
			client.Close()
			continue
		}
		p.mu.Lock()
		p.conns = append(p.conns, client, broker)
		p.mu.Unlock()
		go p.pump(broker, client, toBroker)
		go p.pump(client, broker, toClient)
	}
}

func (p *proxy) pump(to, from net.Conn, direction int) {
	defer to.Close()
	buf := make([]byte, 64<<10)
	for {
		n, err := from.Read(buf)
		p.mu.Lock()
		for p.held[direction] && !p.ended {
			p.changed.Wait()
		}
		p.mu.Unlock()
		if _, failed := to.Write(buf[:n]); failed != nil || err != nil {
			return
		}
	}
}

// hold keeps back everything in one direction; pass lets it go on.
func (p *proxy) hold(direction int) { p.set(direction, true) }
func (p *proxy) pass(direction int) { p.set(direction, false) }

func (p *proxy) set(direction int, held bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.held[direction] = held
	p.changed.Broadcast()
}

// cut ends every connection. What was held back on them is lost.
func (p *proxy) cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range p.conns {
		c.Close()
	}
	p.conns = nil
}

func (p *proxy) close() {
	p.listener.Close()
	p.cut()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.ended = true
	p.changed.Broadcast()
}
