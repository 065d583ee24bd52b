package stream

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/rs/zerolog"

	"todoke/ledger"
)

// Names in a ledger's folder. The broker calls its store jetstream by itself.
const (
	lockName     = "lock"
	nameName     = "ledger"
	endpointName = "endpoint"
	addressName  = "address"
	makingName   = "making"
	storeName    = "jetstream"
)

// lockFolder takes the folder for this process, and makes it when it is not
// there. The kernel gives the lock back when the process ends, however it ends.
//
// The time of the file is the last sign of life of whoever had the folder before;
// alive is zero when nobody had.
func lockFolder(dir string) (lock *os.File, alive time.Time, err error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, alive, fmt.Errorf("make data folder: %w", err)
	}
	f, err := os.OpenFile(filepath.Join(dir, lockName), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, alive, fmt.Errorf("open lock: %w", err)
	}
	if alive, err = takeLock(f); err != nil {
		f.Close()
		return nil, alive, err
	}
	return f, alive, nil
}

// takeLock locks the file and writes our pid into it.
func takeLock(f *os.File) (alive time.Time, err error) {
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); errors.Is(err, syscall.EWOULDBLOCK) {
		holder, _ := io.ReadAll(io.LimitReader(f, 32))
		return alive, fmt.Errorf("%w (pid %s)", ledger.ErrLocked, strings.TrimSpace(string(holder)))
	} else if err != nil {
		return alive, fmt.Errorf("lock data folder: %w", err)
	}
	info, err := f.Stat()
	if err != nil {
		return alive, fmt.Errorf("read lock: %w", err)
	}
	if info.Size() > 0 {
		alive = info.ModTime()
	}
	if err := f.Truncate(0); err != nil {
		return alive, fmt.Errorf("write lock: %w", err)
	}
	// On a full disk the pid is missing, and the lock holds all the same.
	if _, err := f.WriteAt([]byte(strconv.Itoa(os.Getpid())+"\n"), 0); err != nil && !errors.Is(err, syscall.ENOSPC) {
		return alive, fmt.Errorf("write lock: %w", err)
	}
	return alive, nil
}

// startTimeout bounds the wait for a broker that has opened its store.
const startTimeout = 10 * time.Second

// loopback is the only interface on which an embedded broker listens.
const loopback = "127.0.0.1"

// startServer starts the embedded broker on a folder, with every acknowledged
// message on the disk. Port 0 is none at all. Opening the store
// reads all of it after a crash, at the speed of the disk.
func startServer(dir, token string, port int, said *brokerLog) (*server.Server, error) {
	s, err := server.NewServer(&server.Options{
		ServerName: "todoke", Host: loopback, Port: port, DontListen: port == 0,
		JetStream: true, StoreDir: dir, SyncAlways: true, JetStreamMaxStore: boundless,
		Authorization: token, NoSigs: true, MaxPayload: 2 * ledger.MaxBody,
	})
	if err != nil {
		return nil, fmt.Errorf("configure broker: %w", err)
	}
	s.SetLoggerV2(said, false, false, false)
	s.Start()
	switch c := s.JetStreamConfig(); {
	case c == nil || !s.ReadyForConnections(startTimeout):
		err = fmt.Errorf("start broker: %w: %s", ledger.ErrUnavailable, said.fatal())
	case !c.SyncAlways:
		err = fmt.Errorf("start broker: it does not sync every message: %w", ledger.ErrDrift)
	default:
		return s, nil
	}
	s.Shutdown()
	s.WaitForShutdown()
	return nil, err
}

// brokerLog passes the broker's warnings and errors on; its notices are noise
// to an operator of a ledger. What it dies of is kept for the caller, and why it
// could not write.
type brokerLog struct {
	to    zerolog.Logger
	last  atomic.Value // string
	wrote atomic.Value // syscall.Errno, the last of an error
}

func (l *brokerLog) Noticef(format string, v ...any) { l.to.Debug().Msgf(format, v...) }
func (l *brokerLog) Warnf(format string, v ...any) {
	l.to.Warn().Str("from", "broker").Msgf(format, v...)
}
func (l *brokerLog) Errorf(format string, v ...any) {
	for _, value := range v {
		var number syscall.Errno
		if err, ok := value.(error); ok && errors.As(err, &number) {
			l.wrote.Store(number)
		}
	}
	l.to.Error().Str("from", "broker").Msgf(format, v...)
}
func (l *brokerLog) Fatalf(format string, v ...any) { l.last.Store(fmt.Sprintf(format, v...)) }
func (l *brokerLog) Debugf(string, ...any)          {}
func (l *brokerLog) Tracef(string, ...any)          {}

func (l *brokerLog) fatal() string {
	if text, ok := l.last.Load().(string); ok {
		return text
	}
	return "it is not ready after " + startTimeout.String()
}

// wasFull reports whether the last error of the disk was that it is full.
func (l *brokerLog) wasFull() bool {
	number, _ := l.wrote.Load().(syscall.Errno)
	return number == syscall.ENOSPC || number == syscall.EDQUOT
}

// connectInside connects to the broker of this process, without a socket.
func connectInside(s *server.Server, token string) (*nats.Conn, error) {
	nc, err := nats.Connect("", nats.InProcessServer(s), nats.Token(token), nats.MaxReconnects(-1), nats.Name("todoke"), nats.ErrorHandler(quiet))
	if err != nil {
		return nil, fmt.Errorf("connect to embedded broker: %w", err)
	}
	return nc, nil
}

// quiet keeps the library from writing to standard error. What goes wrong on a
// connection comes back as the error of whoever uses it.
func quiet(*nats.Conn, *nats.Subscription, error) {}

// An Endpoint says how other processes of this machine reach a running ledger.
// It holds a secret; the file is readable by its owner only.
type Endpoint struct {
	URL    string `json:"url"` // with the token
	PID    int    `json:"pid"`
	Ledger string `json:"ledger"` // 32 hex digits
}

// Address returns the URL without the token.
func (e Endpoint) Address() string {
	u, err := url.Parse(e.URL)
	if err != nil {
		return ""
	}
	u.User = nil
	return u.String()
}

// ReadEndpoint returns the endpoint of the server that runs on a folder. The
// error is an [ledger.ErrUnavailable] when none does, and an [ledger.ErrMoved] when
// none ever will again; a file that a killed server left behind counts as none.
func ReadEndpoint(dir string) (Endpoint, error) {
	var e Endpoint
	if err := notMoved(dir); err != nil {
		return e, err
	}
	text, err := os.ReadFile(filepath.Join(dir, endpointName))
	if errors.Is(err, fs.ErrNotExist) {
		return e, fmt.Errorf("no server runs on %s: %w", dir, ledger.ErrUnavailable)
	}
	if err != nil {
		return e, fmt.Errorf("read endpoint: %w: %w", ledger.ErrUnavailable, err)
	}
	if err := json.Unmarshal(text, &e); err != nil {
		return e, fmt.Errorf("read endpoint: %w: %w", ledger.ErrUnavailable, err)
	}
	u, err := url.Parse(e.URL)
	if err != nil {
		return e, fmt.Errorf("read endpoint: %w", ledger.ErrUnavailable)
	}
	conn, err := net.DialTimeout("tcp", u.Host, time.Second)
	if err != nil {
		return e, fmt.Errorf("no server answers at %s: %w", e.Address(), ledger.ErrUnavailable)
	}
	return e, conn.Close()
}

// announce writes the endpoint file: whole or not at all.
func announce(dir string, e Endpoint) error {
	text, err := json.Marshal(e)
	if err != nil {
		return fmt.Errorf("write endpoint: %w", err)
	}
	return writeWhole(dir, endpointName, text)
}

// readName returns the id of the ledger that the folder is named after, "" when
// none was made here yet or not to the end.
func readName(dir string) (string, error) {
	text, err := os.ReadFile(filepath.Join(dir, nameName))
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("read which ledger this is: %w", err)
	}
	return strings.TrimSpace(string(text)), nil
}

// writeName names the folder after its ledger. From here on, a store without
// its events is a loss and not a beginning.
func writeName(dir string, id ledger.LedgerID) error {
	if named, err := readName(dir); err != nil || named != "" {
		return err
	}
	return writeWhole(dir, nameName, []byte(id.String()))
}

// beginMaking says in the folder that a ledger is being made there. What an attempt
// that was interrupted left of the store is thrown away, since nobody ever had a
// receipt from it and the broker may not be able to read it again. A store that
// was found without that word is left as it is.
func beginMaking(dir string) error {
	store := filepath.Join(dir, storeName)
	_, err := os.Stat(filepath.Join(dir, makingName))
	if err == nil {
		if err := os.RemoveAll(store); err != nil {
			return fmt.Errorf("remove an unfinished store: %w", err)
		}
		return nil
	}
	if _, err := os.Stat(store); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return writeWhole(dir, makingName, []byte("nothing here was acknowledged yet"))
}

// endMaking takes the word back. The folder has its name by then, which counts
// more.
func endMaking(dir string) error {
	if err := os.Remove(filepath.Join(dir, makingName)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("finish the folder: %w", err)
	}
	return nil
}

// writeWhole puts a file of one line in place, on the disk and whole, or not at
// all.
func writeWhole(dir, name string, line []byte) error {
	path := filepath.Join(dir, name)
	f, err := os.OpenFile(path+".new", os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	_, err = f.Write(append(line, '\n'))
	if err := errors.Join(err, f.Sync(), f.Close()); errors.Is(err, syscall.ENOSPC) {
		_ = os.Remove(path + ".new")
		return fmt.Errorf("write %s: %w", path, ledger.ErrStorageFull)
	} else if err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	d, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	return errors.Join(d.Sync(), d.Close())
}

// endpointOf returns the endpoint of a listening broker.
func endpointOf(s *server.Server, token string, id ledger.LedgerID) Endpoint {
	u := url.URL{Scheme: "nats", User: url.User(token), Host: s.Addr().String()}
	return Endpoint{URL: u.String(), PID: os.Getpid(), Ledger: id.String()}
}

// A seat is where a ledger's servers listen, one after the other: whoever was
// connected to one finds the next one there.
type seat struct {
	Port  int    `json:"port"`
	Token string `json:"token"`
}

// lastSeat returns the seat of the folder, or makes one. A port that another
// program has taken meanwhile is given up for a new one.
func lastSeat(dir string, random io.Reader) (a seat, err error) {
	text, err := os.ReadFile(filepath.Join(dir, addressName))
	if err == nil {
		err = json.Unmarshal(text, &a)
	}
	if err != nil || a.Token == "" {
		if a.Token, err = newToken(random); err != nil {
			return a, err
		}
	}
	probe, err := net.Listen("tcp", net.JoinHostPort(loopback, strconv.Itoa(a.Port)))
	if err != nil {
		a.Port = server.RANDOM_PORT
		return a, nil
	}
	a.Port = probe.Addr().(*net.TCPAddr).Port
	return a, probe.Close()
}

// keepSeat writes down where the server listens.
func keepSeat(dir, token string, s *server.Server) error {
	text, err := json.Marshal(seat{s.Addr().(*net.TCPAddr).Port, token})
	if err != nil {
		return fmt.Errorf("write address: %w", err)
	}
	if have, err := os.ReadFile(filepath.Join(dir, addressName)); err == nil && string(have) == string(text)+"\n" {
		return nil
	}
	return writeWhole(dir, addressName, text)
}

// withdraw takes the endpoint file away. One that is left says an address where
// nobody answers.
func withdraw(dir string) { _ = os.Remove(filepath.Join(dir, endpointName)) }

// newToken draws the secret of one run.
func newToken(random io.Reader) (string, error) {
	var b [16]byte
	if _, err := io.ReadFull(random, b[:]); err != nil {
		return "", fmt.Errorf("draw token: %w", err)
	}
	return hex.EncodeToString(b[:]), nil
}
