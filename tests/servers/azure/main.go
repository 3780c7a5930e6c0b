// Command azure is an Azure for the tests: Key Vaults, the token endpoint of Entra ID, and the endpoints of managed
// identities. What Key Vault's interface looks like is Microsoft's: the fake server of the Go SDK, generated from the service's
// own description, takes requests apart and puts answers together. What stands behind it (a store, who may read what) is ours.
// check.py holds all of it to what Microsoft's own Python clients expect.
package main

import (
	"encoding/json"
	"flag"
	"log"
	"net"
	"net/http"
	"strings"
	"sync"
)

// azure is everything that there is.
type azure struct {
	mutex sync.Mutex
	// origin is where it answers: https://127.0.0.1:PORT.
	origin string
	// root may do everything in every vault, for setting up.
	root         string
	header       string
	vaults       map[string]*vault
	applications []application
	identities   []identity
	tokens       map[string]token
	requests     []request
	inFlight     int
	mostInFlight int
}

// request is one that came, as the tests are told of it.
type request struct {
	Method     string `json:"method"`
	Path       string `json:"path"`
	Host       string `json:"host"`
	Authorized bool   `json:"authorized"`
}

func main() {
	listen := flag.String("listen", "127.0.0.1:0", "where vaults and Entra ID answer, by TLS")
	metadata := flag.String("metadata", "", "where the endpoints of managed identities answer, in clear text")
	certificate := flag.String("certificate", "", "the server's certificate")
	key := flag.String("key", "", "its key")
	root := flag.String("root", "", "a token that may do everything")
	header := flag.String("identity-header", "", "what App Service's endpoint asks for")
	flag.Parse()
	server := &azure{
		origin: "https://" + *listen,
		root:   *root,
		header: *header,
		vaults: map[string]*vault{},
		tokens: map[string]token{},
	}
	if *metadata != "" {
		go func() { log.Fatal(http.ListenAndServe(*metadata, http.HandlerFunc(server.metadata))) }()
	}
	log.Fatal(http.ListenAndServeTLS(*listen, *certificate, *key, http.HandlerFunc(server.secure)))
}

// secure answers what comes by TLS.
func (a *azure) secure(w http.ResponseWriter, r *http.Request) {
	if strings.HasPrefix(r.URL.Path, "/tests/") {
		a.setUp(w, r)
		return
	}
	a.note(r)
	parts := strings.Split(strings.Trim(r.URL.Path, "/"), "/")
	switch {
	case parts[0] == "secrets" || parts[0] == "deletedsecrets":
		a.vaultOf(r.Host).serve(a, w, r)
	case len(parts) == 4 && strings.HasSuffix(r.URL.Path, "/oauth2/v2.0/token") && r.Method == http.MethodPost:
		a.entra(w, r, parts[0])
	case strings.HasSuffix(r.URL.Path, "/v2.0/.well-known/openid-configuration"):
		a.openID(w, parts[0])
	default:
		write(w, http.StatusNotFound, map[string]any{"error": map[string]any{"code": "NotFound", "message": "no such place"}})
	}
}

// note keeps a request in mind.
func (a *azure) note(r *http.Request) {
	a.mutex.Lock()
	defer a.mutex.Unlock()
	a.requests = append(a.requests, request{
		Method: r.Method, Path: r.URL.RequestURI(), Host: r.Host, Authorized: r.Header.Get("Authorization") != "",
	})
}

// vaultOf is the vault of a host: its first label, or "main" where the host is this machine by its own name or number.
func (a *azure) vaultOf(host string) *vault {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	name := "main"
	if label, _, found := strings.Cut(host, "."); found && net.ParseIP(host) == nil {
		name = label
	}
	return a.vault(name)
}

func (a *azure) vault(name string) *vault {
	a.mutex.Lock()
	defer a.mutex.Unlock()
	if a.vaults[name] == nil {
		a.vaults[name] = newVault(name)
	}
	return a.vaults[name]
}

func write(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(status)
	if err := json.NewEncoder(w).Encode(body); err != nil {
		log.Print(err)
	}
}
