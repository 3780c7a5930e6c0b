//! The exact texts of errors. The vault and Entra ID are a test server here, which sends each refusal that Microsoft documents. A
//! real server does not send most of them on demand.

use handfast_core::{ProviderError, Table, Value};
use handfast_testkit::{Variables, run, table, text};
use handfast_testservers::{Authority, Directory, Server, TENANT, write_answer};
use serde_json::json;

use crate::support::connect;

/// A vault with one response to all requests with a token, and an Entra ID with one response to all requests for a token.
struct Azure {
    server: Server,
    files: Directory,
}

/// Entra ID's response with a token.
const TOKEN: (u16, &str) = (200, r#"{"token_type":"Bearer","expires_in":3600,"access_token":"token"}"#);
const SECRET: (u16, &str) = (200, r#"{"value":"x","id":"https://main.vault.azure.net/secrets/s/1","attributes":{}}"#);

impl Azure {
    fn responding((vault_status, vault): (u16, &str), (entra_status, entra): (u16, &str)) -> Self {
        let (authority, files) = (Authority::new(), Directory::new());
        files.write("ca.pem", authority.pem());
        let (vault, entra) = (vault.to_owned(), entra.to_owned());
        let server = Server::start(Some(&authority.server()), move |request, stream| {
            let json = ("content-type", "application/json");
            if request.path.contains("/oauth2/v2.0/token") {
                return write_answer(stream, entra_status, &[json], entra.as_bytes());
            }
            if request.header("authorization").is_none() {
                let host = request.header("host").unwrap_or_default();
                let challenge =
                    format!("Bearer authorization=\"https://{host}/{TENANT}\", resource=\"https://vault.azure.net\"");
                return write_answer(stream, 401, &[json, ("www-authenticate", &challenge)], b"{}");
            }
            write_answer(stream, vault_status, &[json], vault.as_bytes())
        });
        Self { server, files }
    }

    fn settings(&self) -> Table {
        table([
            ("vault", text(&self.server.address())),
            ("authority", text(&self.server.address())),
            ("ca_file", text(&self.files.file("ca.pem"))),
            ("endpoint_suffix_check", Value::Boolean(false)),
        ])
    }

    /// The whole text of a failed fetch: the kind, the message, and the hint after a `|`.
    fn error_text(&self, reference: &str) -> String {
        let variables = Variables::default()
            .with("AZURE_TENANT_ID", TENANT)
            .with("AZURE_CLIENT_ID", "web")
            .with_credential("AZURE_CLIENT_SECRET", "sesame");
        error_text(&run(async { connect(self.settings(), variables).error(reference).await }))
    }
}

fn error_text(error: &ProviderError) -> String {
    let text = format!("{:?}: {error} | {}", error.kind, error.hint.as_deref().unwrap_or("no hint"));
    let mut parts = text.split("127.0.0.1:");
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |text, part| {
        text + "127.0.0.1:PORT" + part.trim_start_matches(|digit: char| digit.is_ascii_digit())
    })
}

#[test]
fn an_unreachable_entra_id_is_reported_with_the_attempt() {
    let azure = Azure::responding(SECRET, TOKEN);
    let mut settings = azure.settings();
    settings.merge(table([("authority", text("https://127.0.0.1:1"))]));
    let variables = Variables::default()
        .with("AZURE_TENANT_ID", TENANT)
        .with("AZURE_CLIENT_ID", "web")
        .with_credential("AZURE_CLIENT_SECRET", "sesame");
    let reported = error_text(&run(async { connect(settings, variables).error("azure:s").await }));
    assert_eq!(
        reported,
        format!(
            "Unavailable: cannot get a token of Entra ID for the application `web` of `{TENANT}`: cannot ask https://127.0.0.1:PORT: \
             connection refused | no hint"
        )
    );
}

#[test]
fn each_refusal_of_a_vault_has_a_text_of_handfast() {
    const ROLE: &str = "assign the role `Key Vault Secrets User`, as `handfast policy` writes it; it takes some minutes until it counts";
    const MORE_TIME: &str = "set a new version, or `az keyvault secret set-attributes --vault-name 127 --name s --expires <date>` gives it more time";
    const EARLIER: &str = "`?version=` names an older version; `az keyvault secret set-attributes --vault-name 127 --name s --not-before \
                           <date>` sets its date";
    const ENABLE: &str = "`az keyvault secret set-attributes --vault-name 127 --name s --enabled true` enables it";
    const SET_POLICY: &str =
        "`az keyvault set-policy --name 127 --object-id <object id> --secret-permissions get` does";
    const FIREWALL: &str = "`az keyvault network-rule add` lets an address or a subnet in";
    const ENDPOINT: &str = "its private endpoint must be in this network, and the vault's name resolve to it here";
    for (status, code, inner, message, reported) in [
        (403, "Forbidden", "SecretDisabled", "", &*format!("Denied: it is disabled | {ENABLE}")),
        (
            403,
            "Forbidden",
            "",
            "Operation get is not allowed on a disabled secret.",
            &format!("Denied: it is disabled | {ENABLE}"),
        ),
        (403, "Forbidden", "SecretExpired", "", &format!("Denied: it has expired | {MORE_TIME}")),
        (
            403,
            "Forbidden",
            "",
            "Operation get is not allowed on a expired secret.",
            &format!("Denied: it has expired | {MORE_TIME}"),
        ),
        (
            403,
            "Forbidden",
            "",
            "Operation get is not allowed on an expired secret.",
            &format!("Denied: it has expired | {MORE_TIME}"),
        ),
        (403, "Forbidden", "SecretNotYetValid", "", &format!("Denied: it is not valid yet | {EARLIER}")),
        (403, "Forbidden", "", "Secret is not yet valid.", &format!("Denied: it is not valid yet | {EARLIER}")),
        (403, "Forbidden", "ForbiddenByRbac", "", &format!("Denied: no role allows it | {ROLE}")),
        (
            403,
            "Forbidden",
            "",
            "Caller is not authorized to perform action on resource.",
            &format!("Denied: no role allows it | {ROLE}"),
        ),
        (
            403,
            "Forbidden",
            "AccessDenied",
            "",
            &format!("Denied: no access policy of the vault allows it | {SET_POLICY}"),
        ),
        (
            403,
            "Forbidden",
            "",
            "The user does not have secrets get permission on key vault 'x'",
            &format!("Denied: no access policy of the vault allows it | {SET_POLICY}"),
        ),
        (
            403,
            "Forbidden",
            "ForbiddenByFirewall",
            "",
            &format!("Denied: the vault's firewall does not let this address in | {FIREWALL}"),
        ),
        (
            403,
            "Forbidden",
            "",
            "Client address is not authorized and caller is not a trusted service.",
            &format!("Denied: the vault's firewall does not let this address in | {FIREWALL}"),
        ),
        (
            403,
            "Forbidden",
            "ForbiddenByConnection",
            "",
            &format!("Denied: the vault is not reached from public networks | {ENDPOINT}"),
        ),
        (
            403,
            "Forbidden",
            "",
            "Public network access is disabled and request is not from a trusted service",
            &format!("Denied: the vault is not reached from public networks | {ENDPOINT}"),
        ),
        (
            401,
            "Unauthorized",
            "",
            "AKV10032: Invalid issuer. Expected one of x",
            &format!(
                "Denied: the token is another tenant's than the vault | the vault is of the tenant `{TENANT}`: look at `tenant_id` or AZURE_TENANT_ID"
            ),
        ),
        (
            401,
            "Unauthorized",
            "",
            "AKV10022: Invalid audience. Expected x",
            "Denied: the token is for something else than Key Vault | a token in a file must be for the cloud's Key Vault: `az account get-access-token --resource https://vault.azure.net`",
        ),
        (
            401,
            "Unauthorized",
            "",
            "hunter2",
            "Denied: the vault does not take the token | it has expired, or its issuer is not known there; look at this machine's clock",
        ),
        (404, "SecretNotFound", "", "", "NotFound: there is no such secret | no hint"),
        (
            500,
            "InternalServerError",
            "",
            "",
            "Unavailable: https://127.0.0.1:PORT answered 500 Internal Server Error | no hint",
        ),
        (429, "Throttled", "", "", "Unavailable: the vault gets too many requests | no hint"),
        (403, "Hunter2", "", "hunter2", "Denied: https://127.0.0.1:PORT answered 403 Forbidden | no hint"),
        (
            403,
            "",
            "",
            "",
            "Denied: https://127.0.0.1:PORT answered 403 Forbidden | something on the way to the vault refuses the request, such as a proxy",
        ),
        (
            404,
            "",
            "",
            "",
            "Malformed: https://127.0.0.1:PORT answered 404 Not Found | look at the address: what answers there may not be a Key Vault but a proxy, a login page or another program",
        ),
    ] {
        let body =
            json!({ "error": { "code": code, "message": message, "innererror": { "code": inner } } }).to_string();
        let (kind, why) = reported.split_once(": ").expect("a kind");
        let azure = Azure::responding((status, &body), TOKEN);
        assert_eq!(azure.error_text("azure:s"), format!("{kind}: cannot read `s` of the vault `127`: {why}"), "{body}");
    }
    let azure = Azure::responding((200, "{}"), TOKEN);
    let why = "the vault's answer is not what its interface promises";
    assert!(
        azure.error_text("azure:s").starts_with(&format!("Malformed: cannot read `s` of the vault `127`: {why} | "))
    );
}

#[test]
fn each_refusal_of_entra_id_has_a_text_of_handfast() {
    const AT: &str = "look at `authority` and AZURE_AUTHORITY_HOST: what answers there may not be Entra ID";
    const THEIRS: &str = "its issuer, subject and audience must be the token's: the cluster's OIDC issuer, `system:serviceaccount:<namespace>:<name>`, \
         `api://AzureADTokenExchange`";
    let attempted = format!("cannot get a token of Entra ID for the application `web` of `{TENANT}`");
    for (number, why, hint) in [
        (90002, "there is no such tenant", "look at `tenant_id` or AZURE_TENANT_ID, and at `cloud` and `authority`"),
        (
            700_016,
            "there is no such application in this tenant",
            "look at `client_id` and `tenant_id`, or AZURE_CLIENT_ID and AZURE_TENANT_ID: the application may be another tenant's",
        ),
        (
            7_000_215,
            "the client secret is wrong",
            "it is the secret's value, not its id; a new line at its end is no part of it",
        ),
        (7_000_222, "the client secret has expired", "`az ad app credential reset` makes a new one"),
        (7_000_112, "the application is disabled", "whoever administers the tenant can enable it"),
        (700_024, "the assertion is not within its time", "look at this machine's clock"),
        (70021, "no federated credential of the application is for this token", THEIRS),
        (
            700_027,
            "the application does not know the certificate that has signed",
            "`az ad app credential reset --cert @app.pem --append` adds it",
        ),
        (
            50013,
            "the assertion's signature is not valid",
            "the key must be the certificate's, and the token of an issuer that Entra ID reaches",
        ),
        (
            500_011,
            "the tenant does not know Key Vault in this cloud",
            "look at `cloud`: each has a Key Vault of its own",
        ),
        (53003, "a conditional access policy forbids it", "whoever administers the tenant knows which"),
        (1, "it refuses", "the number's meaning: https://login.microsoftonline.com/error"),
    ] {
        let body = json!({ "error": "x", "error_description": "hunter2", "error_codes": [number] }).to_string();
        let azure = Azure::responding(SECRET, (400, &body));
        let kind = if number == 70021 { "Unavailable" } else { "Denied" };
        assert_eq!(azure.error_text("azure:s"), format!("{kind}: {attempted}: {why} (AADSTS{number}) | {hint}"));
        let azure = Azure::responding(SECRET, (429, &body));
        assert_eq!(
            azure.error_text("azure:s"),
            format!("Unavailable: {attempted}: Entra ID gets too many requests | no hint")
        );
    }
    let body = json!({ "error": "temporarily_unavailable", "error_codes": [90_100] }).to_string();
    let reported = format!("Unavailable: {attempted}: https://127.0.0.1:PORT answered 400 Bad Request | no hint");
    assert_eq!(Azure::responding(SECRET, (400, &body)).error_text("azure:s"), reported);
    let azure = Azure::responding(SECRET, (403, "hunter2"));
    let reported = format!("Denied: {attempted}: https://127.0.0.1:PORT answered 403 Forbidden | {AT}");
    assert_eq!(azure.error_text("azure:s"), reported);
}
