package main

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"net/http"
	"sync"
	"time"

	azfake "github.com/Azure/azure-sdk-for-go/sdk/azcore/fake"
	"github.com/Azure/azure-sdk-for-go/sdk/security/keyvault/azsecrets"
	"github.com/Azure/azure-sdk-for-go/sdk/security/keyvault/azsecrets/fake"
)

// retention is how long a deleted secret can be recovered.
const retention = 90 * 24 * time.Hour

// originKey has, in a request's context, the origin of the vault that was asked: it stands in each secret's id.
type originKey struct{}

// store is what a vault holds.
type store struct {
	mutex sync.Mutex
	// secrets have their versions, the oldest first.
	secrets map[string][]*version
	deleted map[string]deletion
}

type version struct {
	id          string
	value       string
	contentType *string
	attributes  azsecrets.SecretAttributes
	tags        map[string]*string
}

type deletion struct {
	versions []*version
	at       time.Time
}

func newStore() *store {
	return &store{secrets: map[string][]*version{}, deleted: map[string]deletion{}}
}

func (s *store) server() *fake.Server {
	return &fake.Server{
		GetSecret:              s.get,
		SetSecret:              s.set,
		UpdateSecretProperties: s.update,
		DeleteSecret:           s.remove,
		GetDeletedSecret:       s.getDeleted,
		RecoverDeletedSecret:   s.recover,
		PurgeDeletedSecret:     s.purge,
	}
}

func notFound(name string) *failure {
	return &failure{http.StatusNotFound, "SecretNotFound", "", "A secret with (name/id) " + name + " was not found in this key vault. If you recently deleted this secret you may be able to recover it using the correct recovery command. For help resolving this issue, please see https://go.microsoft.com/fwlink/?linkid=2125182"}
}

func (s *store) get(ctx context.Context, name, id string, _ *azsecrets.GetSecretOptions) (resp azfake.Responder[azsecrets.GetSecretResponse], errResp azfake.ErrorResponder) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	found := s.find(name, id)
	switch {
	case found == nil:
		errResp.SetError(notFound(name))
	case !*found.attributes.Enabled:
		errResp.SetError(&failure{http.StatusForbidden, "Forbidden", "SecretDisabled", "Operation get is not allowed on a disabled secret."})
	default:
		// One that has expired, or is not valid yet, is given like any other: what that means is its reader's business.
		resp.SetResponse(http.StatusOK, azsecrets.GetSecretResponse{Secret: found.secret(ctx, name, true)}, nil)
	}
	return
}

func (s *store) set(ctx context.Context, name string, parameters azsecrets.SetSecretParameters, _ *azsecrets.SetSecretOptions) (resp azfake.Responder[azsecrets.SetSecretResponse], errResp azfake.ErrorResponder) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	const largest = 25 << 10
	if _, gone := s.deleted[name]; gone {
		errResp.SetError(&failure{http.StatusConflict, "Conflict", "ObjectIsDeletedButRecoverable", "Secret " + name + " is currently in a deleted but recoverable state, and its name cannot be reused; in this state, the secret can only be recovered or purged."})
		return
	}
	if parameters.Value == nil || len(*parameters.Value) > largest {
		errResp.SetError(&failure{http.StatusBadRequest, "BadParameter", "", "The value of a secret has at most 25600 bytes."})
		return
	}
	id := make([]byte, 16)
	_, _ = rand.Read(id)
	made := &version{id: hex.EncodeToString(id), value: *parameters.Value, contentType: parameters.ContentType, tags: parameters.Tags}
	now, enabled := time.Now(), true
	made.attributes.Created, made.attributes.Updated, made.attributes.Enabled = &now, &now, &enabled
	made.change(parameters.SecretAttributes)
	s.secrets[name] = append(s.secrets[name], made)
	resp.SetResponse(http.StatusOK, azsecrets.SetSecretResponse{Secret: made.secret(ctx, name, true)}, nil)
	return
}

func (s *store) update(ctx context.Context, name, id string, parameters azsecrets.UpdateSecretPropertiesParameters, _ *azsecrets.UpdateSecretPropertiesOptions) (resp azfake.Responder[azsecrets.UpdateSecretPropertiesResponse], errResp azfake.ErrorResponder) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	found := s.find(name, id)
	if found == nil {
		errResp.SetError(notFound(name))
		return
	}
	found.change(parameters.SecretAttributes)
	resp.SetResponse(http.StatusOK, azsecrets.UpdateSecretPropertiesResponse{Secret: found.secret(ctx, name, false)}, nil)
	return
}

func (s *store) remove(ctx context.Context, name string, _ *azsecrets.DeleteSecretOptions) (resp azfake.Responder[azsecrets.DeleteSecretResponse], errResp azfake.ErrorResponder) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	if s.find(name, "") == nil {
		errResp.SetError(notFound(name))
		return
	}
	s.deleted[name] = deletion{s.secrets[name], time.Now()}
	delete(s.secrets, name)
	resp.SetResponse(http.StatusOK, azsecrets.DeleteSecretResponse{DeletedSecret: s.deleted[name].secret(ctx, name)}, nil)
	return
}

func (s *store) getDeleted(ctx context.Context, name string, _ *azsecrets.GetDeletedSecretOptions) (resp azfake.Responder[azsecrets.GetDeletedSecretResponse], errResp azfake.ErrorResponder) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	if gone, found := s.deleted[name]; found {
		resp.SetResponse(http.StatusOK, azsecrets.GetDeletedSecretResponse{DeletedSecret: gone.secret(ctx, name)}, nil)
	} else {
		errResp.SetError(notFound(name))
	}
	return
}

func (s *store) recover(ctx context.Context, name string, _ *azsecrets.RecoverDeletedSecretOptions) (resp azfake.Responder[azsecrets.RecoverDeletedSecretResponse], errResp azfake.ErrorResponder) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	gone, found := s.deleted[name]
	if !found {
		errResp.SetError(notFound(name))
		return
	}
	delete(s.deleted, name)
	s.secrets[name] = gone.versions
	resp.SetResponse(http.StatusOK, azsecrets.RecoverDeletedSecretResponse{Secret: s.find(name, "").secret(ctx, name, false)}, nil)
	return
}

func (s *store) purge(_ context.Context, name string, _ *azsecrets.PurgeDeletedSecretOptions) (resp azfake.Responder[azsecrets.PurgeDeletedSecretResponse], errResp azfake.ErrorResponder) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	delete(s.deleted, name)
	resp.SetResponse(http.StatusNoContent, azsecrets.PurgeDeletedSecretResponse{}, nil)
	return
}

// find is a version of a secret; the newest where none is named.
func (s *store) find(name, id string) *version {
	versions := s.secrets[name]
	if id == "" && len(versions) > 0 {
		return versions[len(versions)-1]
	}
	for _, version := range versions {
		if version.id == id {
			return version
		}
	}
	return nil
}

// change takes over what of the attributes is set.
func (v *version) change(attributes *azsecrets.SecretAttributes) {
	if attributes == nil {
		return
	}
	if attributes.Enabled != nil {
		v.attributes.Enabled = attributes.Enabled
	}
	if attributes.Expires != nil {
		v.attributes.Expires = attributes.Expires
	}
	if attributes.NotBefore != nil {
		v.attributes.NotBefore = attributes.NotBefore
	}
}

func (v *version) secret(ctx context.Context, name string, withValue bool) azsecrets.Secret {
	origin, _ := ctx.Value(originKey{}).(string)
	id, attributes := azsecrets.ID(origin+"/secrets/"+name+"/"+v.id), v.attributes
	secret := azsecrets.Secret{ID: &id, ContentType: v.contentType, Attributes: &attributes, Tags: v.tags}
	if withValue {
		secret.Value = &v.value
	}
	return secret
}

func (d deletion) secret(ctx context.Context, name string) azsecrets.DeletedSecret {
	origin, _ := ctx.Value(originKey{}).(string)
	secret := d.versions[len(d.versions)-1].secret(ctx, name, false)
	recovery, purge := origin+"/deletedsecrets/"+name, d.at.Add(retention)
	return azsecrets.DeletedSecret{
		ID: secret.ID, ContentType: secret.ContentType, Attributes: secret.Attributes, Tags: secret.Tags,
		DeletedDate: &d.at, ScheduledPurgeDate: &purge, RecoveryID: &recovery,
	}
}
