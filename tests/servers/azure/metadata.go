package main

import (
	"fmt"
	"net/http"
	"time"
)

// identity is a managed one. Without a client id it is the machine's own.
type identity struct {
	Tenant     string `json:"tenant"`
	ClientID   string `json:"clientId"`
	ObjectID   string `json:"objectId"`
	ResourceID string `json:"resourceId"`
}

// metadata is the service of virtual machines
// (learn.microsoft.com/entra/identity/managed-identities-azure-resources/how-to-use-vm-token), and that of App Service and
// Container Apps (learn.microsoft.com/azure/app-service/overview-managed-identity).
func (a *azure) metadata(w http.ResponseWriter, r *http.Request) {
	a.note(r)
	query := r.URL.Query()
	refuse := func(status int, text string) {
		write(w, status, map[string]any{"error": "invalid_request", "error_description": text})
	}
	appService := false
	switch r.URL.Path {
	case "/metadata/identity/oauth2/token":
		if r.Header.Get("Metadata") != "true" || r.Header.Get("X-Forwarded-For") != "" {
			refuse(http.StatusBadRequest, "Required metadata header not specified")
			return
		}
	case "/msi/token":
		appService = true
		if r.Header.Get("X-IDENTITY-HEADER") != a.header {
			refuse(http.StatusUnauthorized, "the header is not the one of IDENTITY_HEADER")
			return
		}
	default:
		refuse(http.StatusNotFound, "no such place")
		return
	}
	if query.Get("api-version") == "" || query.Get("resource") == "" {
		refuse(http.StatusBadRequest, "Required query variable 'api-version' or 'resource' is missing")
		return
	}
	object, resource := "object_id", "msi_res_id"
	if appService {
		object, resource = "principal_id", "mi_res_id"
	}
	found := a.identity(query.Get("client_id"), query.Get(object), query.Get(resource))
	if found == nil {
		refuse(http.StatusBadRequest, "Identity not found")
		return
	}
	end := fmt.Sprint(time.Now().Add(lifetime).Unix())
	answer := map[string]any{
		"access_token": a.issue(found.Tenant, query.Get("resource")), "client_id": found.ClientID, "expires_on": end,
		"resource": query.Get("resource"), "token_type": "Bearer",
	}
	if !appService {
		// Numbers as text, as the real one has them.
		answer["expires_in"] = fmt.Sprint(int(lifetime.Seconds()))
	}
	write(w, http.StatusOK, answer)
}

func (a *azure) identity(client, object, resource string) *identity {
	a.mutex.Lock()
	defer a.mutex.Unlock()
	for _, known := range a.identities {
		var is bool
		switch {
		case client != "":
			is = known.ClientID == client
		case object != "":
			is = known.ObjectID == object
		case resource != "":
			is = known.ResourceID == resource
		default:
			is = known.ClientID == ""
		}
		if is {
			return &known
		}
	}
	return nil
}
