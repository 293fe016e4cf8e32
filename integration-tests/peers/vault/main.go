// HashiCorp Vault itself, built from its Go module: a test tool for the key service `vault`, never shipped (its licence is the BUSL).
//
// There is no package of it to install. Its go.mod is written by ../../install from Vault's own, because a module's `replace` lines
// count only where it is the main module.
package main

import (
	"os"

	"github.com/hashicorp/vault/command"
)

func main() {
	os.Exit(command.Run(os.Args[1:]))
}
