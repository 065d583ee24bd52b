package main

import (
	"errors"
	"fmt"
	"io"

	"todoke/ledger"
	"todoke/ledger/stream"
)

type moveCommand struct {
	clusterFlags
}

// Run takes the folder's ledger to the cluster, or goes on with it.
func (c *moveCommand) Run(a *app) error {
	if a.Nats == "" {
		return usagef("name the servers with --nats, as in --nats nats://todoke:PASSWORD@a:4222,nats://b:4222,nats://c:4222")
	}
	at, err := c.address(a)
	if err != nil {
		return err
	}
	cfg, err := a.streamConfig(nil)
	if err != nil {
		return fmt.Errorf("move %s: %w", a.Data, err)
	}
	p := copyProgress{w: a.err, a: a, shown: isTerminal(a.err)}
	done, err := stream.Move(a.ctx, cfg, at, p.tell)
	p.done()
	switch {
	case errors.Is(err, ledger.ErrLocked):
		return fmt.Errorf("move %s: %w: end it first, as todoke serve with Ctrl-C; a ledger rests while it is moved", a.Data, err)
	case err != nil:
		return fmt.Errorf("move %s: %w", a.Data, err)
	}
	return a.printMove(done)
}

// A moveRow is what a move has done, as move --json prints it.
type moveRow struct {
	Ledger   string     `json:"ledger"`
	Servers  string     `json:"servers"`
	Head     ledger.Seq `json:"head"`
	Copied   ledger.Seq `json:"copied"`
	Compared ledger.Seq `json:"compared"`
}

func (a *app) printMove(c stream.Copy) error {
	if a.JSON {
		return a.printJSON(moveRow{c.Ledger.String(), c.Servers, c.Head, c.Copied, c.Compared})
	}
	_, err := fmt.Fprintf(a.out, a.say(
		"%[1]s へ移した：%[2]d 番まで（今回写したもの %[3]d 件、照合したもの %[4]d 件、番号も中身も同じ）\n    今後は --nats を付けて使う。このフォルダーの台帳は閉じた\n",
		"moved to %[1]s up to event %[2]d: %[3]d copied now, %[4]d compared, each the same at the same sequence\n    give --nats from now on; the ledger in the folder has ended\n"),
		c.Servers, c.Head, c.Copied, c.Compared)
	return err
}

// copyProgress shows how far a move is, on a terminal.
type copyProgress struct {
	w     io.Writer
	a     *app
	shown bool
	last  string
}

func (p *copyProgress) tell(c stream.Copy) {
	if !p.shown {
		return
	}
	line := fmt.Sprintf(p.a.say("複写 %3d%%", "copied %3d%%"), 100*c.Held/c.Head)
	if c.Compared > 0 {
		line = fmt.Sprintf(p.a.say("照合 %3d%%", "compared %3d%%"), 100*c.Compared/c.Head)
	}
	if line != p.last {
		p.last = line
		fmt.Fprint(p.w, "\r\x1b[K"+line)
	}
}

// done clears the line.
func (p *copyProgress) done() {
	if p.last != "" {
		fmt.Fprint(p.w, "\r\x1b[K")
	}
}
