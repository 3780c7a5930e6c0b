"""What Microsoft's own clients expect of an Azure, asked of the one of the tests: it must not drift towards our client's habits.

Usage: check.py ADDRESS ROOT_TOKEN CA_FILE METADATA_ADDRESS IDENTITY_HEADER CLIENT_PEM
"""

import datetime
import os
import sys

address, root, ca_file, metadata, header, client_pem = sys.argv[1:]
TENANT = "11111111-2222-3333-4444-555555555555"

for name in [name for name in os.environ if name.startswith(("AZURE_", "IDENTITY_", "MSI_"))]:
    del os.environ[name]
os.environ["REQUESTS_CA_BUNDLE"] = ca_file

import requests  # noqa: E402: it reads the environment
from azure.core.exceptions import ClientAuthenticationError, HttpResponseError, ResourceNotFoundError  # noqa: E402
from azure.identity import CertificateCredential, ClientSecretCredential, ManagedIdentityCredential  # noqa: E402
from azure.keyvault.secrets import SecretClient  # noqa: E402


def set_up(path, **body):
    answer = requests.post(f"{address}/tests/{path}", json=body, headers={"Authorization": f"Bearer {root}"}, timeout=10)
    assert answer.status_code == 200, answer.text


def refused(kind, what, *words):
    try:
        what()
    except kind as error:
        text = str(error)
        assert all(word in text for word in words), text
    else:
        raise AssertionError(f"expected {kind.__name__} with {words}")


def vault(credential, **options):
    # Its name is no vault's, so that nobody's domain is the challenge's.
    return SecretClient(address, credential, verify_challenge_resource=False, retry_total=0, **options)


set_up("application", tenant=TENANT, id="python", secret="s3cret")
with open(client_pem, encoding="ascii") as file:
    set_up("application", tenant=TENANT, id="certified", certificate=file.read())
set_up("identity", tenant=TENANT)
set_up("identity", tenant=TENANT, clientId="client", objectId="object", resourceId="/resource")

own = {"authority": address, "disable_instance_discovery": True}
by_secret = ClientSecretCredential(TENANT, "python", "s3cret", **own)

# Versions, attributes, content type.
client = vault(by_secret)
first = client.set_secret("db-password", "hunter1", content_type="text/plain", tags={"team": "a"})
second = client.set_secret("db-password", "hunter2 \u00e4\n")
assert client.get_secret("db-password").value == "hunter2 \u00e4\n"
old = client.get_secret("db-password", first.properties.version)
assert (old.value, old.properties.content_type, old.properties.tags) == ("hunter1", "text/plain", {"team": "a"})
assert second.properties.version != first.properties.version and len(first.properties.version) == 32
assert old.properties.enabled and old.properties.created_on <= datetime.datetime.now(datetime.timezone.utc)
refused(ResourceNotFoundError, lambda: client.get_secret("nowhere"), "SecretNotFound")
refused(ResourceNotFoundError, lambda: client.get_secret("db-password", "0" * 32), "SecretNotFound")

# Disabled is refused; what has expired is given, with its date.
client.set_secret("off", "x", enabled=False)
refused(HttpResponseError, lambda: client.get_secret("off"), "Forbidden", "not allowed on a disabled secret")
past = datetime.datetime(2020, 1, 1, tzinfo=datetime.timezone.utc)
client.set_secret("old", "x", expires_on=past)
assert client.get_secret("old").properties.expires_on == past

# Deleted, recovered, purged.
client.set_secret("gone", "x")
deleted = client.begin_delete_secret("gone").result()
assert deleted.scheduled_purge_date > deleted.deleted_date
refused(ResourceNotFoundError, lambda: client.get_secret("gone"), "recover")
refused(HttpResponseError, lambda: client.set_secret("gone", "y"), "deleted but recoverable")
client.begin_recover_deleted_secret("gone").wait()
assert client.get_secret("gone").value == "x"
client.begin_delete_secret("gone").wait()
client.purge_deleted_secret("gone")
refused(ResourceNotFoundError, lambda: client.get_deleted_secret("gone"))

# The challenge's resource is checked by this client too, and elsewhere is refused.
strict = SecretClient(address, by_secret, retry_total=0)
refused(ValueError, lambda: strict.get_secret("db-password"), "does not match")

# Other ways to be somebody, and some to be nobody.
by_certificate = CertificateCredential(TENANT, "certified", client_pem, **own)
assert vault(by_certificate).get_secret("db-password").value.startswith("hunter2")
wrong = ClientSecretCredential(TENANT, "python", "wrong", **own)
refused(ClientAuthenticationError, lambda: vault(wrong).get_secret("db-password"), "AADSTS7000215")
nobody = ClientSecretCredential(TENANT, "nobody", "s3cret", **own)
refused(ClientAuthenticationError, lambda: vault(nobody).get_secret("db-password"), "AADSTS700016")

os.environ["AZURE_POD_IDENTITY_AUTHORITY_HOST"] = metadata
for given in ({}, {"client_id": "client"}, {"identity_config": {"object_id": "object"}}, {"identity_config": {"msi_res_id": "/resource"}}):
    assert vault(ManagedIdentityCredential(**given)).get_secret("db-password").value.startswith("hunter2"), given
os.environ["IDENTITY_ENDPOINT"], os.environ["IDENTITY_HEADER"] = f"{metadata}/msi/token", header
for given in ({}, {"client_id": "client"}, {"identity_config": {"mi_res_id": "/resource"}}):
    assert vault(ManagedIdentityCredential(**given)).get_secret("db-password").value.startswith("hunter2"), given
os.environ["IDENTITY_HEADER"] = "wrong"
refused(ClientAuthenticationError, lambda: vault(ManagedIdentityCredential()).get_secret("db-password"))

# The four kinds of 403, wrong tenants, throttling.
for access, words in {
    "rbac": "ForbiddenByRbac", "policy": "AccessDenied", "firewall": "ForbiddenByFirewall", "connection": "ForbiddenByConnection",
}.items():
    set_up("vault?name=main", access=access)
    refused(HttpResponseError, lambda: vault(by_secret).get_secret("db-password"), words)
set_up("vault?name=main", tenant="99999999-2222-3333-4444-555555555555")
# This client goes to the tenant that the challenge names; with a token of another it would get:
bearer = {"Authorization": "Bearer " + by_secret.get_token("https://vault.azure.net/.default").token}
answer = requests.get(f"{address}/secrets/db-password/?api-version=7.6", headers=bearer, timeout=10)
assert answer.status_code == 401 and "AKV10032" in answer.json()["error"]["message"], answer.text
set_up("vault?name=main", throttled=1, retryAfter=1)
refused(HttpResponseError, lambda: vault(by_secret).get_secret("db-password"), "Throttled")
assert vault(by_secret).get_secret("db-password").value.startswith("hunter2")
print("as Microsoft's clients expect")
