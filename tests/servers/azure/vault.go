package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime"
	"github.com/Azure/azure-sdk-for-go/sdk/security/keyvault/azsecrets/fake"
)

// rules are what a test can set of a vault.
type rules struct {
	// Tenant is whose tokens the vault takes.
	Tenant string `json:"tenant"`
	// Resource is what its challenge asks a token for.
	Resource string `json:"resource"`
	// Access is how it guards its secrets, where it does: rbac, policy, firewall or connection.
	Access string `json:"access"`
	// Grants are the secrets that may be read despite rbac and policy.
	Grants []string `json:"grants"`
	// Throttled is how many more requests it refuses, each with this Retry-After in seconds, where it is more than 0.
	Throttled  int `json:"throttled"`
	RetryAfter int `json:"retryAfter"`
	// Limit is how many requests it takes at once, and Milliseconds how long each takes.
	Limit        int `json:"limit"`
	Milliseconds int `json:"milliseconds"`
}

// vault is a Key Vault.
type vault struct {
	name      string
	mutex     sync.Mutex
	rules     rules
	store     *store
	transport *fake.ServerTransport
}

// failure is an answer that is no success, in Key Vault's form.
type failure struct {
	status               int
	code, inner, message string
}

func (f *failure) Error() string { return f.message }

const (
	defaultTenant   = "11111111-2222-3333-4444-555555555555"
	defaultResource = "https://vault.azure.net"
)

func newVault(name string) *vault {
	v := &vault{name: name, rules: rules{Tenant: defaultTenant, Resource: defaultResource}, store: newStore()}
	v.transport = fake.NewServerTransport(v.store.server())
	return v
}

// operation is the SDK's name for what a request asks; the fake server wants to be told, as the SDK's client tells it.
func operation(r *http.Request) string {
	parts := strings.Split(strings.Trim(r.URL.Path, "/"), "/")
	deleted := parts[0] == "deletedsecrets"
	last := parts[len(parts)-1]
	switch {
	case r.Method == http.MethodGet && deleted && len(parts) == 1:
		return "Client.NewListDeletedSecretPropertiesPager"
	case r.Method == http.MethodGet && deleted:
		return "Client.GetDeletedSecret"
	case r.Method == http.MethodPost && deleted && last == "recover":
		return "Client.RecoverDeletedSecret"
	case r.Method == http.MethodDelete && deleted:
		return "Client.PurgeDeletedSecret"
	case r.Method == http.MethodGet && len(parts) == 1:
		return "Client.NewListSecretPropertiesPager"
	case r.Method == http.MethodGet && last == "versions":
		return "Client.NewListSecretPropertiesVersionsPager"
	case r.Method == http.MethodGet:
		return "Client.GetSecret"
	case r.Method == http.MethodPut:
		return "Client.SetSecret"
	case r.Method == http.MethodPatch:
		return "Client.UpdateSecretProperties"
	case r.Method == http.MethodDelete:
		return "Client.DeleteSecret"
	}
	return ""
}

func (v *vault) serve(a *azure, w http.ResponseWriter, r *http.Request) {
	if refused := v.refuse(a, w, r); refused != nil {
		v.fail(w, refused)
		return
	}
	ctx := context.WithValue(r.Context(), runtime.CtxAPINameKey{}, operation(r))
	ctx = context.WithValue(ctx, originKey{}, "https://"+r.Host)
	inner := r.Clone(ctx)
	inner.URL.Scheme, inner.URL.Host = "https", r.Host
	// Without a version, clients write the slash before it none the less.
	inner.URL.Path = strings.TrimSuffix(inner.URL.Path, "/")
	inner.URL.RawPath = ""
	answer, err := v.transport.Do(inner)
	var refused *failure
	switch {
	case errors.As(err, &refused):
		v.fail(w, refused)
		return
	case err != nil:
		v.fail(w, &failure{http.StatusBadRequest, "BadParameter", "", err.Error()})
		return
	}
	defer answer.Body.Close()
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(answer.StatusCode)
	if _, err := io.Copy(w, answer.Body); err != nil {
		log.Print(err)
	}
}

// refuse says why a request is not even looked at, in the service's own order: who asks, from where, how often, for what.
func (v *vault) refuse(a *azure, w http.ResponseWriter, r *http.Request) *failure {
	v.mutex.Lock()
	rules := v.rules
	throttled := v.rules.Throttled > 0
	bearer, isBearer := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	if throttled && isBearer {
		v.rules.Throttled--
	}
	v.mutex.Unlock()
	if isBearer && bearer == a.root {
		return nil
	}
	if refused := a.unauthorized(&rules, isBearer, bearer); refused != nil {
		challenge := fmt.Sprintf(`Bearer authorization="%s/%s", resource="%s"`, a.origin, rules.Tenant, rules.Resource)
		w.Header().Set("WWW-Authenticate", challenge)
		return refused
	}
	if throttled {
		return v.tooMany(w, rules)
	}
	if leave := a.enter(rules.Limit); leave != nil {
		time.Sleep(time.Duration(rules.Milliseconds) * time.Millisecond)
		leave()
	} else {
		return v.tooMany(w, rules)
	}
	if refused := v.forbidden(&rules, r); refused != nil {
		return refused
	}
	if r.URL.Query().Get("api-version") == "" {
		return &failure{http.StatusBadRequest, "BadParameter", "", "api-version must be specified"}
	}
	return nil
}

func (v *vault) tooMany(w http.ResponseWriter, rules rules) *failure {
	if rules.RetryAfter > 0 {
		w.Header().Set("Retry-After", fmt.Sprint(rules.RetryAfter))
	}
	return &failure{http.StatusTooManyRequests, "Throttled", "", "Request was not processed because too many requests were received. Reason: VaultRequestTypeLimitReached"}
}

// enter counts a request in; what it gives counts it out. Nothing where there are too many.
func (a *azure) enter(limit int) func() {
	a.mutex.Lock()
	defer a.mutex.Unlock()
	if limit > 0 && a.inFlight >= limit {
		return nil
	}
	a.inFlight++
	a.mostInFlight = max(a.mostInFlight, a.inFlight)
	return func() {
		a.mutex.Lock()
		defer a.mutex.Unlock()
		a.inFlight--
	}
}

func (a *azure) unauthorized(rules *rules, isBearer bool, bearer string) *failure {
	unauthorized := func(format string, words ...any) *failure {
		return &failure{http.StatusUnauthorized, "Unauthorized", "", fmt.Sprintf(format, words...)}
	}
	if !isBearer {
		return unauthorized("AKV10000: Request is missing a Bearer or PoP token.")
	}
	a.mutex.Lock()
	token, known := a.tokens[bearer]
	a.mutex.Unlock()
	issuer := func(tenant string) string { return "https://sts.windows.net/" + tenant + "/" }
	switch {
	case !known:
		return unauthorized("AKV10046: Unable to resolve the key used for signature validation.")
	case time.Now().After(token.expires):
		return unauthorized("[TokenExpired] Error validating token: 'IDX10223'.")
	case token.tenant != rules.Tenant:
		return unauthorized("AKV10032: Invalid issuer. Expected one of %s, found %s.", issuer(rules.Tenant), issuer(token.tenant))
	case token.resource != rules.Resource:
		return unauthorized("AKV10022: Invalid audience. Expected %s, found: %s.", rules.Resource, token.resource)
	}
	return nil
}

func (v *vault) forbidden(rules *rules, r *http.Request) *failure {
	caller := "appid=…;oid=…;iss=https://sts.windows.net/" + rules.Tenant + "/"
	forbidden := func(inner, format string, words ...any) *failure {
		return &failure{http.StatusForbidden, "Forbidden", inner, fmt.Sprintf(format, words...)}
	}
	parts := strings.Split(strings.Trim(r.URL.Path, "/"), "/")
	granted := len(parts) > 1 && slices.Contains(rules.Grants, parts[1])
	switch {
	case rules.Access == "firewall":
		return forbidden("ForbiddenByFirewall", "Client address is not authorized and caller is not a trusted service.\r\nClient address: 127.0.0.1\r\nCaller: %s\r\nVault: %s;location=westeurope", caller, v.name)
	case rules.Access == "connection":
		return forbidden("ForbiddenByConnection", "Public network access is disabled and request is not from a trusted service nor via an approved private link.\r\nCaller: %s\r\nVault: %s;location=westeurope", caller, v.name)
	case rules.Access == "rbac" && !granted:
		return forbidden("ForbiddenByRbac", "Caller is not authorized to perform action on resource.\r\nIf role assignments, deny assignments or role definitions were changed recently, please observe propagation time.\r\nCaller: %s\r\nAction: 'Microsoft.KeyVault/vaults/secrets/getSecret/action'\r\nAssignment: (not found)\r\nVault: %s;location=westeurope", caller, v.name)
	case rules.Access == "policy" && !granted:
		return forbidden("AccessDenied", "The user, group or application '%s' does not have secrets get permission on key vault '%s;location=westeurope'. For help resolving this issue, please see https://go.microsoft.com/fwlink/?linkid=2125287", caller, v.name)
	}
	return nil
}

func (v *vault) fail(w http.ResponseWriter, f *failure) {
	body := map[string]any{"code": f.code, "message": f.message}
	if f.inner != "" {
		body["innererror"] = map[string]any{"code": f.inner}
	}
	write(w, f.status, map[string]any{"error": body})
}
