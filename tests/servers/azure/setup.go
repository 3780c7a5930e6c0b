package main

import (
	"encoding/json"
	"net/http"
)

// setUp is for the tests alone: it is none of Azure's.
func (a *azure) setUp(w http.ResponseWriter, r *http.Request) {
	if r.Header.Get("Authorization") != "Bearer "+a.root {
		write(w, http.StatusUnauthorized, map[string]any{"error": "not the root token"})
		return
	}
	var err error
	switch r.Method + " " + r.URL.Path {
	case "POST /tests/application":
		var made application
		err = json.NewDecoder(r.Body).Decode(&made)
		a.mutex.Lock()
		a.applications = append(a.applications, made)
		a.mutex.Unlock()
	case "POST /tests/identity":
		var made identity
		err = json.NewDecoder(r.Body).Decode(&made)
		a.mutex.Lock()
		a.identities = append(a.identities, made)
		a.mutex.Unlock()
	case "POST /tests/vault":
		// What is not said stays as it is by default.
		vault := a.vault(r.URL.Query().Get("name"))
		set := rules{Tenant: defaultTenant, Resource: defaultResource}
		err = json.NewDecoder(r.Body).Decode(&set)
		vault.mutex.Lock()
		vault.rules = set
		vault.mutex.Unlock()
	case "GET /tests/requests":
		a.mutex.Lock()
		defer a.mutex.Unlock()
		write(w, http.StatusOK, map[string]any{"requests": a.requests, "mostInFlight": a.mostInFlight})
		return
	case "DELETE /tests/requests":
		a.mutex.Lock()
		a.requests, a.mostInFlight = nil, 0
		a.mutex.Unlock()
	default:
		write(w, http.StatusNotFound, map[string]any{"error": "no such place"})
		return
	}
	if err != nil {
		write(w, http.StatusBadRequest, map[string]any{"error": err.Error()})
		return
	}
	write(w, http.StatusOK, map[string]any{})
}
