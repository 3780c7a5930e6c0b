package main

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"math/big"
	"net/http"
	"strings"
	"time"
)

// application is one that Entra ID knows, with one way to prove that one is it.
type application struct {
	Tenant string `json:"tenant"`
	ID     string `json:"id"`
	Secret string `json:"secret"`
	// SecretExpired is for a secret whose time is over.
	SecretExpired bool `json:"secretExpired"`
	// Certificate (PEM) is whose key signs assertions.
	Certificate string `json:"certificate"`
	// Issuer, Subject and Key (PEM, the issuer's public one) are of a federated credential.
	Issuer  string `json:"issuer"`
	Subject string `json:"subject"`
	Key     string `json:"key"`
}

type token struct {
	tenant, resource string
	expires          time.Time
}

// lifetime is of every token.
const lifetime = time.Hour

func random() string {
	bytes := make([]byte, 24)
	_, _ = rand.Read(bytes)
	return hex.EncodeToString(bytes)
}

// issue makes a token. It is opaque, as tokens are to whoever is given one.
func (a *azure) issue(tenant, resource string) string {
	value := "entra-" + random()
	a.mutex.Lock()
	defer a.mutex.Unlock()
	a.tokens[value] = token{tenant, strings.TrimSuffix(resource, "/"), time.Now().Add(lifetime)}
	return value
}

func (a *azure) openID(w http.ResponseWriter, tenant string) {
	base := a.origin + "/" + tenant
	write(w, http.StatusOK, map[string]any{
		"issuer": base + "/v2.0", "token_endpoint": base + "/oauth2/v2.0/token",
		"authorization_endpoint": base + "/oauth2/v2.0/authorize", "jwks_uri": base + "/discovery/v2.0/keys",
	})
}

// entra is the token endpoint (learn.microsoft.com/entra/identity-platform/v2-oauth2-client-creds-grant-flow).
func (a *azure) entra(w http.ResponseWriter, r *http.Request, tenant string) {
	refuse := func(status int, name string, code int, text string) {
		write(w, status, map[string]any{
			"error": name, "error_codes": []int{code}, "correlation_id": random(), "trace_id": random(),
			"error_description": fmt.Sprintf("AADSTS%d: %s", code, text), "timestamp": time.Now().UTC().Format("2006-01-02 15:04:05Z"),
		})
	}
	if err := r.ParseForm(); err != nil || r.PostForm.Get("grant_type") != "client_credentials" {
		refuse(http.StatusBadRequest, "unsupported_grant_type", 70003, "The app requested an unsupported grant type.")
		return
	}
	resource, hasDefault := strings.CutSuffix(r.PostForm.Get("scope"), "/.default")
	if !hasDefault {
		refuse(http.StatusBadRequest, "invalid_scope", 1002012, "The provided value for scope is not valid.")
		return
	}
	var known *application
	hasTenant := false
	a.mutex.Lock()
	for _, application := range a.applications {
		hasTenant = hasTenant || application.Tenant == tenant
		if application.Tenant == tenant && application.ID == r.PostForm.Get("client_id") {
			known = &application
			break
		}
	}
	a.mutex.Unlock()
	switch {
	case !hasTenant:
		refuse(http.StatusBadRequest, "invalid_request", 90002, "Tenant '"+tenant+"' not found.")
	case known == nil:
		refuse(http.StatusBadRequest, "unauthorized_client", 700016, "Application with identifier '"+r.PostForm.Get("client_id")+"' was not found in the directory.")
	case r.PostForm.Has("client_assertion"):
		if code, text := known.assertion(r.PostForm.Get("client_assertion"), a.origin+r.URL.Path); code != 0 {
			refuse(http.StatusUnauthorized, "invalid_client", code, text)
			return
		}
		a.grant(w, tenant, resource)
	case known.Secret == "" || r.PostForm.Get("client_secret") != known.Secret:
		refuse(http.StatusUnauthorized, "invalid_client", 7000215, "Invalid client secret provided. Ensure the secret being sent in the request is the client secret value.")
	case known.SecretExpired:
		refuse(http.StatusUnauthorized, "invalid_client", 7000222, "The provided client secret keys for app '"+known.ID+"' are expired.")
	default:
		a.grant(w, tenant, resource)
	}
}

func (a *azure) grant(w http.ResponseWriter, tenant, resource string) {
	seconds := int(lifetime.Seconds())
	write(w, http.StatusOK, map[string]any{
		"token_type": "Bearer", "expires_in": seconds, "ext_expires_in": seconds, "access_token": a.issue(tenant, resource),
	})
}

// assertion says what is wrong with one, by Entra ID's number; 0 where nothing is.
func (p *application) assertion(text, audience string) (int, string) {
	parts := strings.Split(text, ".")
	if len(parts) != 3 {
		return 50027, "JWT token is invalid or malformed."
	}
	var header struct {
		Algorithm string `json:"alg"`
		SHA1      string `json:"x5t"`
		SHA256    string `json:"x5t#S256"`
	}
	var claims struct {
		Issuer   string `json:"iss"`
		Subject  string `json:"sub"`
		Audience any    `json:"aud"`
		// Numbers, which need not be whole ones (RFC 7519).
		Expires   float64 `json:"exp"`
		NotBefore float64 `json:"nbf"`
	}
	signature, err := base64.RawURLEncoding.DecodeString(parts[2])
	if err != nil || decode(parts[0], &header) != nil || decode(parts[1], &claims) != nil {
		return 50027, "JWT token is invalid or malformed."
	}
	now := float64(time.Now().Unix())
	if claims.Expires <= now || claims.NotBefore > now+300 {
		return 700024, "Client assertion is not within its valid time range."
	}
	signed := []byte(parts[0] + "." + parts[1])
	audiences := fmt.Sprint(claims.Audience)
	switch {
	case p.Certificate != "":
		block, rest := pem.Decode([]byte(p.Certificate))
		// Its file may have the key first.
		for block != nil && block.Type != "CERTIFICATE" {
			block, rest = pem.Decode(rest)
		}
		certificate, err := x509.ParseCertificate(block.Bytes)
		thumb1, thumb256 := sha1.Sum(block.Bytes), sha256.Sum256(block.Bytes)
		named := names(header.SHA1, thumb1[:]) || names(header.SHA256, thumb256[:])
		if err != nil || !named || !verifies(certificate.PublicKey, header.Algorithm, signed, signature) {
			return 700027, "The certificate with identifier used to sign the client assertion is not registered on application."
		}
		if claims.Issuer != p.ID || claims.Subject != p.ID || !strings.Contains(audiences, audience) {
			return 700021, "Client assertion application identifier doesn't match 'client_id' parameter."
		}
	case p.Key != "":
		if claims.Issuer != p.Issuer || claims.Subject != p.Subject {
			return 700213, "No matching federated identity record found for presented assertion subject."
		}
		if !strings.Contains(audiences, "api://AzureADTokenExchange") {
			return 700212, "No matching federated identity record found for presented assertion audience."
		}
		block, _ := pem.Decode([]byte(p.Key))
		key, err := x509.ParsePKIXPublicKey(block.Bytes)
		if err != nil || !verifies(key, header.Algorithm, signed, signature) {
			return 5002738, "Client assertion failed signature validation."
		}
	default:
		return 700027, "The application has no credential that could have signed the assertion."
	}
	return 0, ""
}

// names tells whether a header's thumbprint, which may be padded, is this one.
func names(said string, thumbprint []byte) bool {
	return strings.TrimRight(said, "=") == base64.RawURLEncoding.EncodeToString(thumbprint)
}

func decode(part string, into any) error {
	bytes, err := base64.RawURLEncoding.DecodeString(part)
	if err != nil {
		return err
	}
	return json.Unmarshal(bytes, into)
}

func verifies(key any, algorithm string, signed, signature []byte) bool {
	digest := sha256.Sum256(signed)
	switch key := key.(type) {
	case *rsa.PublicKey:
		if algorithm == "PS256" {
			return rsa.VerifyPSS(key, crypto.SHA256, digest[:], signature, nil) == nil
		}
		return algorithm == "RS256" && rsa.VerifyPKCS1v15(key, crypto.SHA256, digest[:], signature) == nil
	case *ecdsa.PublicKey:
		if algorithm != "ES256" || len(signature) != 64 {
			return false
		}
		r, s := new(big.Int).SetBytes(signature[:32]), new(big.Int).SetBytes(signature[32:])
		return ecdsa.Verify(key, digest[:], r, s)
	}
	return false
}
