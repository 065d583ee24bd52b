package fault

import (
	"net"
	"sync"
	"testing"
)

// A Direction is one of the two ways through a [Proxy].
type Direction int

// The directions. A connection to the proxy is made by the client.
const (
	ToServer Direction = iota
	ToClient
)

// A Proxy stands before a server and passes on what it and its clients say to
// each other, until it is told to do otherwise. Its methods are safe for use by
// several goroutines and may be called in any order, any number of times.
type Proxy struct {
	listener net.Listener
	target   string

	mu      sync.Mutex
	changed *sync.Cond
	ways    [2]way // by direction
	refuses bool
	closed  bool
	links   map[*link]struct{}
}

// A way is what befalls the bytes in one direction.
type way int

const (
	passes way = iota
	holds
	drops
)

// A link is one client's connection and the one to the server that belongs to it.
type link struct {
	client, server net.Conn
	torn           bool // it has lost bytes
}

// NewProxy returns a proxy before the server at target, host:port, on a free
// port of the loopback interface. It is closed with the test.
func NewProxy(tb testing.TB, target string) *Proxy {
	tb.Helper()
	return ListenProxy(tb, "127.0.0.1:0", target)
}

// ListenProxy is [NewProxy] on an address that the caller gives.
func ListenProxy(tb testing.TB, address, target string) *Proxy {
	tb.Helper()
	listener, err := net.Listen("tcp", address)
	if err != nil {
		tb.Fatalf("start proxy before %s: %v", target, err)
	}
	p := &Proxy{listener: listener, target: target, links: make(map[*link]struct{})}
	p.changed = sync.NewCond(&p.mu)
	go p.serve()
	tb.Cleanup(p.Close)
	return p
}

// Address returns the host:port at which clients find the server.
func (p *Proxy) Address() string { return p.listener.Addr().String() }

// Hold keeps back everything in one direction, as a network does that will come
// back: nothing is lost, and the sender notices when its buffers are full. New
// connections are made and carry nothing that way.
func (p *Proxy) Hold(d Direction) { p.set(d, holds) }

// Drop throws away everything in one direction. A connection that has lost
// something ends when its direction is held or passed again.
func (p *Proxy) Drop(d Direction) { p.set(d, drops) }

// Pass lets everything in one direction go on, what was held back first.
func (p *Proxy) Pass(d Direction) { p.set(d, passes) }

func (p *Proxy) set(d Direction, w way) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.ways[d] = w
	for l := range p.links {
		if l.torn && w != drops {
			p.end(l)
		}
	}
	p.changed.Broadcast()
}

// Cut ends every connection. What was held back on them is lost.
func (p *Proxy) Cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for l := range p.links {
		p.end(l)
	}
	p.changed.Broadcast()
}

// Refuse ends every new connection as soon as it is made; Accept takes them
// again. Those that are there go on.
func (p *Proxy) Refuse() { p.refuse(true) }

// Accept takes back [Proxy.Refuse].
func (p *Proxy) Accept() { p.refuse(false) }

func (p *Proxy) refuse(yes bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.refuses = yes
}

// Close ends every connection and gives the port back.
func (p *Proxy) Close() {
	p.listener.Close()
	p.mu.Lock()
	p.closed = true
	p.mu.Unlock()
	p.Cut()
}

func (p *Proxy) serve() {
	for {
		client, err := p.listener.Accept()
		if err != nil {
			return
		}
		go p.join(client)
	}
}

// join connects a client to the server.
func (p *Proxy) join(client net.Conn) {
	p.mu.Lock()
	refused := p.refuses || p.closed
	p.mu.Unlock()
	if refused {
		client.Close()
		return
	}
	server, err := net.Dial("tcp", p.target)
	if err != nil {
		client.Close()
		return
	}
	l := &link{client: client, server: server}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		p.end(l)
		return
	}
	p.links[l] = struct{}{}
	go p.pump(l, server, client, ToServer)
	go p.pump(l, client, server, ToClient)
}

// end closes both sides of a link. The caller holds the mutex.
func (p *Proxy) end(l *link) {
	delete(p.links, l)
	l.client.Close()
	l.server.Close()
}

// pump carries what comes in one direction of a link until the link ends.
func (p *Proxy) pump(l *link, to, from net.Conn, d Direction) {
	buf := make([]byte, 64<<10)
	for {
		n, err := from.Read(buf)
		if p.may(l, d, n) {
			_, failed := to.Write(buf[:n])
			if failed != nil {
				err = failed
			}
		}
		if err != nil {
			p.mu.Lock()
			p.end(l)
			p.mu.Unlock()
			return
		}
	}
}

// may waits while the direction is held, and reports whether n bytes go on.
func (p *Proxy) may(l *link, d Direction, n int) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, alive := p.links[l]; alive && p.ways[d] == holds; _, alive = p.links[l] {
		p.changed.Wait()
	}
	if p.ways[d] == drops {
		l.torn = l.torn || n > 0
		return false
	}
	return n > 0
}
