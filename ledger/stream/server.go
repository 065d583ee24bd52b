package stream

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/rs/zerolog"

	"todoke/ledger"
)

// Names in a ledger's folder.
const (
	lockName     = "lock"
	endpointName = "endpoint"
	storeName    = "jetstream"
)

// startTimeout bounds how long the broker may take to open its store: a full
// scan after a crash reads all of it, at the speed of the disk.
const startTimeout = 10 * time.Minute

// lockFolder takes the folder for this process, and makes it when it is not
// there. The kernel gives the lock back when the process ends, however it ends.
func lockFolder(dir string) (*os.File, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make data folder: %w", err)
	}
	f, err := os.OpenFile(filepath.Join(dir, lockName), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open lock: %w", err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		holder, _ := io.ReadAll(io.LimitReader(f, 32))
		f.Close()
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, fmt.Errorf("%w (pid %s)", ledger.ErrLocked, strings.TrimSpace(string(holder)))
		}
		return nil, fmt.Errorf("lock data folder: %w", err)
	}
	if err := f.Truncate(0); err == nil {
		_, err = f.WriteAt([]byte(strconv.Itoa(os.Getpid())+"\n"), 0)
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("write lock: %w", err)
	}
	return f, nil
}

// startServer starts the embedded broker on a folder, with every acknowledged
// message on the disk. Without listen it has no port at all.
func startServer(dir, token string, listen bool, log zerolog.Logger) (*server.Server, error) {
	s, err := server.NewServer(&server.Options{
		ServerName: "todoke", Host: "127.0.0.1", Port: server.RANDOM_PORT, DontListen: !listen,
		JetStream: true, StoreDir: filepath.Join(dir, storeName), SyncAlways: true,
		Authorization: token, NoSigs: true, MaxPayload: 2 * ledger.MaxBody,
	})
	if err != nil {
		return nil, fmt.Errorf("configure broker: %w", err)
	}
	s.SetLoggerV2(brokerLog{log}, false, false, false)
	s.Start()
	if !s.ReadyForConnections(startTimeout) {
		s.Shutdown()
		return nil, fmt.Errorf("start broker: not ready after %s: %w", startTimeout, ledger.ErrUnavailable)
	}
	if c := s.JetStreamConfig(); c == nil || !c.SyncAlways {
		s.Shutdown()
		s.WaitForShutdown()
		return nil, fmt.Errorf("start broker: it does not sync every message: %w", ledger.ErrDrift)
	}
	return s, nil
}

// brokerLog passes the broker's warnings and errors on; its notices are noise
// to an operator of a ledger.
type brokerLog struct{ to zerolog.Logger }

func (l brokerLog) Noticef(format string, v ...any) { l.to.Debug().Msgf(format, v...) }
func (l brokerLog) Warnf(format string, v ...any) {
	l.to.Warn().Str("from", "broker").Msgf(format, v...)
}
func (l brokerLog) Fatalf(format string, v ...any) {
	l.to.Error().Str("from", "broker").Msgf(format, v...)
}
func (l brokerLog) Errorf(format string, v ...any) {
	l.to.Error().Str("from", "broker").Msgf(format, v...)
}
func (l brokerLog) Debugf(string, ...any) {}
func (l brokerLog) Tracef(string, ...any) {}

// connectInside connects to the broker of this process, without a socket.
func connectInside(s *server.Server, token string) (*nats.Conn, error) {
	nc, err := nats.Connect("", nats.InProcessServer(s), nats.Token(token), nats.MaxReconnects(-1), nats.Name("todoke"))
	if err != nil {
		return nil, fmt.Errorf("connect to embedded broker: %w", err)
	}
	return nc, nil
}

// An Endpoint says how other processes of this machine reach a running ledger.
// It holds a secret; the file is readable by its owner only.
type Endpoint struct {
	URL string `json:"url"` // with the token
	PID int    `json:"pid"`
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
// error is an [ledger.ErrUnavailable] when none does; a file that a killed
// server left behind counts as none.
func ReadEndpoint(dir string) (Endpoint, error) {
	var e Endpoint
	text, err := os.ReadFile(filepath.Join(dir, endpointName))
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
	temp := filepath.Join(dir, endpointName+".new")
	if err := os.WriteFile(temp, append(text, '\n'), 0o600); err != nil {
		return fmt.Errorf("write endpoint: %w", err)
	}
	if err := os.Rename(temp, filepath.Join(dir, endpointName)); err != nil {
		return fmt.Errorf("write endpoint: %w", err)
	}
	return nil
}

// endpointOf returns the endpoint of a listening broker.
func endpointOf(s *server.Server, token string) Endpoint {
	u := url.URL{Scheme: "nats", User: url.User(token), Host: s.Addr().String()}
	return Endpoint{URL: u.String(), PID: os.Getpid()}
}

// newToken draws the secret of one run.
func newToken(random io.Reader) (string, error) {
	var b [16]byte
	if _, err := io.ReadFull(random, b[:]); err != nil {
		return "", fmt.Errorf("draw token: %w", err)
	}
	return hex.EncodeToString(b[:]), nil
}
