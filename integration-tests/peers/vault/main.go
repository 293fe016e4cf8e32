// HashiCorp Vault's own core, with the secrets engine `transit` and the login `approle`, in memory: the real one beside our double.
//
// A test tool, never shipped: Vault's licence is the BUSL. There is no package of it to install, and its command brings two thousand packages for
// clouds that nobody asks here; these are the parts that answer our requests, as they are in Vault. Its go.mod is written by ../../install from Vault's own,
// because a module's `replace` lines count only where it is the main module.
//
//	vault -address 127.0.0.1:8200 -root-token root [-tls-cert FILE -tls-key FILE]
//
// It says its unseal key when it serves, and ends with the process.
package main

import (
	"context"
	"flag"
	"fmt"
	"log"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/vault/builtin/credential/approle"
	"github.com/hashicorp/vault/builtin/logical/transit"
	"github.com/hashicorp/vault/helper/namespace"
	vaulthttp "github.com/hashicorp/vault/http"
	"github.com/hashicorp/vault/internalshared/configutil"
	"github.com/hashicorp/vault/sdk/helper/consts"
	"github.com/hashicorp/vault/sdk/logical"
	"github.com/hashicorp/vault/sdk/physical/inmem"
	"github.com/hashicorp/vault/vault"
)

func main() {
	address := flag.String("address", "", "a loopback address and port")
	rootToken := flag.String("root-token", "root", "the token that may do everything")
	certificate := flag.String("tls-cert", "", "PEM")
	key := flag.String("tls-key", "", "PEM")
	flag.Parse()
	listener, err := net.Listen("tcp", *address)
	must(err)
	if !listener.Addr().(*net.TCPAddr).IP.IsLoopback() {
		log.Fatal("a test tool listens on this machine only")
	}

	core, unsealKey := start(*rootToken)
	handler := vaulthttp.Handler.Handler(&vault.HandlerProperties{
		Core:           core,
		ListenerConfig: &configutil.Listener{Type: "tcp", MaxRequestSize: 1 << 20, MaxRequestDuration: 90 * time.Second},
	})
	fmt.Printf("Unseal Key: %x\n", unsealKey)
	if *certificate != "" {
		must(http.ServeTLS(listener, handler, *certificate, *key))
	}
	must(http.Serve(listener, handler))
}

// An unsealed core with the root token that was asked for, and its unseal key.
func start(rootToken string) (*vault.Core, []byte) {
	logger := hclog.New(&hclog.LoggerOptions{Level: hclog.Warn})
	storage, err := inmem.NewInmem(nil, logger)
	must(err)
	core, err := vault.NewCore(&vault.CoreConfig{
		Physical:           storage,
		LogicalBackends:    map[string]logical.Factory{"transit": transit.Factory},
		CredentialBackends: map[string]logical.Factory{"approle": approle.Factory},
		BuiltinRegistry:    registry{},
		DisableMlock:       true,
		Logger:             logger,
	})
	must(err)
	ctx := namespace.ContextWithNamespace(context.Background(), namespace.RootNamespace)
	init, err := core.Initialize(ctx, &vault.InitParams{BarrierConfig: &vault.SealConfig{SecretShares: 1, SecretThreshold: 1}})
	must(err)
	unsealKey := init.SecretShares[0]
	// The core wipes what it is given.
	_, err = core.Unseal(append([]byte(nil), unsealKey...))
	must(err)
	_, err = core.HandleRequest(ctx, &logical.Request{
		ID:          "root",
		Operation:   logical.UpdateOperation,
		ClientToken: init.RootToken,
		Path:        "auth/token/create",
		Data:        map[string]interface{}{"id": rootToken, "policies": []string{"root"}, "no_parent": true, "no_default_policy": true},
	})
	must(err)
	return core, unsealKey
}

// What is built in, as Vault's catalog of plugins wants to know it.
type registry struct{}

var builtIn = map[consts.PluginType]map[string]logical.Factory{
	consts.PluginTypeSecrets:    {"transit": transit.Factory},
	consts.PluginTypeCredential: {"approle": approle.Factory},
}

func (registry) Contains(name string, kind consts.PluginType) bool {
	_, ok := builtIn[kind][name]
	return ok
}

func (registry) Get(name string, kind consts.PluginType) (func() (interface{}, error), bool) {
	factory, ok := builtIn[kind][name]
	return func() (interface{}, error) { return factory, nil }, ok
}

func (registry) Keys(kind consts.PluginType) []string {
	var names []string
	for name := range builtIn[kind] {
		names = append(names, name)
	}
	return names
}

func (registry) DeprecationStatus(string, consts.PluginType) (consts.DeprecationStatus, bool) {
	return consts.Supported, true
}

func (registry) IsBuiltinEntPlugin(name string, _ consts.PluginType) bool {
	return strings.HasPrefix(name, "enterprise-")
}

func must(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
