// Command todoke is the issuance ledger in one binary: the service, a
// municipality's gateway, the read models, and real incidents as stories.
package main

import "os"

func main() {
	os.Exit(run(os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}
