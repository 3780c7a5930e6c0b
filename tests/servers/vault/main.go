// Command vault is HashiCorp's own Vault, unpatched: the tests' server.
package main

import (
	"os"

	"github.com/hashicorp/vault/command"
)

func main() { os.Exit(command.Run(os.Args[1:])) }
