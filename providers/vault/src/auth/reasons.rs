//! The reasons for which Vault refuses a login, in handfast's own words.
//!
//! A 400 or 403 means that the credentials or the role are wrong. Vault's own error strings only select a text here. They are
//! never printed, because some quote a secret id, a claim, or another service's response.

use handfast_core::{ErrorKind, ProviderError};
use handfast_http::Response;

use crate::explain;

/// A reason for a refusal.
struct Reason {
    /// The methods that it is for; all methods if empty.
    methods: &'static [&'static str],
    /// Parts of Vault's error strings, one of which must occur.
    texts: &'static [&'static str],
    why: &'static str,
    hint: &'static str,
}

const fn reason(
    methods: &'static [&'static str],
    texts: &'static [&'static str],
    why: &'static str,
    hint: &'static str,
) -> Reason {
    Reason { methods, texts, why, hint }
}

const TOKENS: &[&str] = &["kubernetes", "jwt", "azure", "gcp"];

/// The reasons, from the source code of Vault 1.13 and later. The first that matches is reported.
const REASONS: &[Reason] = &[
    // The mount. Vault discloses little to a client without a token.
    reason(
        &[],
        &["missing client token", "no handler for route", "route entry not found", "unsupported path"],
        NO_METHOD,
        WHERE,
    ),
    reason(
        &[],
        &["could not load configuration", "could not load backend configuration", "not configured"],
        "the method is mounted there, and not configured",
        "write the mount's `config` in Vault",
    ),
    // The role.
    reason(
        &["kubernetes", "azure", "gcp", "jwt", "aws"],
        &["invalid role name", "could not be found", "entry for role"],
        "there is no such role",
        "`role` and VAULT_ROLE name a role of this mount, not a policy",
    ),
    reason(&["gcp"], &["\" not found"], "there is no such role", "`role` and VAULT_ROLE name a role of this mount"),
    reason(
        &["jwt"],
        &["missing role"],
        "no role was named, and the mount has none of its own",
        "set `role`, or VAULT_ROLE",
    ),
    reason(
        &["jwt"],
        &["role with oidc role_type"],
        "the role is one for people with a browser (`role_type = \"oidc\"`)",
        "name a role with `role_type = \"jwt\"`",
    ),
    // The claims of a token.
    reason(
        TOKENS,
        &["expired"],
        "the token has expired",
        "whatever writes it must renew it; look at this machine's clock and at Vault's too",
    ),
    reason(
        TOKENS,
        &["token not yet valid", "token issued in the future", "is not yet valid", "before the nbf"],
        "the token is not valid yet",
        "look at the clocks of its issuer and of Vault",
    ),
    reason(
        TOKENS,
        &["invalid audience", "audience claim", "aud claim", "claim 'aud'", "expected audience"],
        "the token is for another audience",
        "its `aud` must be what the role's `audience` or `bound_audiences` says",
    ),
    reason(
        TOKENS,
        &["invalid issuer", "issued by a different provider"],
        "the token is of another issuer",
        "its `iss` must be what the mount's `config` says",
    ),
    reason(
        TOKENS,
        &["invalid subject", "validating claims", "not found in token", "does not match any associated bound claim"],
        "the token's claims are not those that the role is bound to",
        "compare the token with the role's `bound_subject`, `bound_claims` and `user_claim`",
    ),
    reason(
        TOKENS,
        &[
            "compact JWS",
            "malformed",
            "unable to parse",
            "could not parse",
            "must be signed",
            "not signed",
            "unexpected algorithm",
        ],
        "it is no token that Vault can read",
        "it must be a signed JSON web token",
    ),
    reason(
        TOKENS,
        &["verifying token signature", "no known key", "unable to get public key", "failed to verify signature"],
        "Vault does not know the key that the token is signed with",
        "look at the keys in the mount's `config`: the token may be of another cluster or issuer",
    ),
    reason(
        &["kubernetes"],
        &["namespace not authorized", "service account name not authorized"],
        "the role is not for this pod's service account",
        "the role's `bound_service_account_names` and `bound_service_account_namespaces` must have it",
    ),
    reason(
        &["azure", "gcp"],
        &["not authorized", "not in bound", "not in the", "does not match expected"],
        "the role is not for this machine or identity",
        "compare it with the role's `bound_…` parameters",
    ),
    reason(
        &["azure"],
        &["resource_group_name are required", "resource_id is required"],
        "the role asks which machine the token is of, and a token's file does not say it",
        "take `jwt_file` out, for the token of this machine; or name a role that is bound to no machine",
    ),
    // AppRole. Vault has the same error for secret ids that have expired, are used up, were revoked or never existed.
    reason(
        &["approle"],
        &["invalid role ID", "invalid role_id", "missing role_id"],
        "the role id is not valid",
        "`vault read auth/<mount>/role/<role>/role-id` shows it",
    ),
    reason(
        &["approle"],
        &["missing secret_id"],
        "the role asks for a secret id, and there is none",
        "name it in `secret_id_file` or `secret_id_env`, or set VAULT_SECRET_ID",
    ),
    reason(
        &["approle"],
        &["invalid secret id", "invalid secret_id", "invalid role or secret ID"],
        "the secret id is not valid: it has expired, is used up, was revoked, or is another role's",
        "`vault write -f auth/<mount>/role/<role>/secret-id` makes a new one",
    ),
    reason(
        &[],
        &["CIDR restrictions", "unauthorized through CIDR"],
        "the login is not allowed from this machine's address",
        "look at `secret_id_bound_cidrs` and `token_bound_cidrs` of the role",
    ),
    // Users.
    reason(
        &["userpass", "ldap"],
        &["invalid username or password", "failed to determine alias name", "failed to bind as user"],
        WRONG_PASSWORD.0,
        WRONG_PASSWORD.1,
    ),
    reason(
        &["ldap"],
        &["failed to connect to LDAP server", "error connecting to host"],
        "Vault does not reach the directory",
        "look at `url` in the mount's `config`",
    ),
    // Certificates.
    reason(
        &["cert"],
        &["invalid certificate", "no chain matching", "failed to verify client"],
        "no role takes this client certificate",
        "its authority must be a role's `certificate`, and its names must be what the role allows",
    ),
    reason(
        &["cert"],
        &["client certificate must be supplied", "no client certificate", "tls connection required"],
        "no client certificate has reached Vault",
        "a load balancer that ends TLS keeps it to itself; Vault's listener must not have `tls_disable_client_certs`",
    ),
    // AWS.
    reason(
        &["aws"],
        &["X-Vault-AWS-IAM-Server-ID"],
        "Vault asks for a header X-Vault-AWS-IAM-Server-ID, or for another one",
        "`header_value` must be the `iam_server_id_header_value` of the mount's `config/client`",
    ),
    reason(
        &["aws"],
        &["error making upstream request"],
        "AWS does not accept the signed request that Vault passes on, or Vault does not reach AWS",
        "look at the keys, at this machine's clock, and at `sts_endpoint` and `sts_region` in the mount's `config/client`",
    ),
    reason(
        &["aws"],
        &["does not belong to the role"],
        "the role is not for this AWS identity",
        "the role's `bound_iam_principal_arn` must have it",
    ),
    reason(
        &["aws"],
        &["auth method iam not allowed"],
        "the role is for the method's \"ec2\" logins",
        "name a role with `auth_type = \"iam\"`",
    ),
];

/// Parts of Vault's error strings if Vault could not reach another server, which may be temporary.
const TEMPORARY: &[&str] = &["fetching keys", "connection refused", "timeout", "deadline exceeded", "no such host"];

const WRONG_PASSWORD: (&str, &str) =
    ("the name or the password is wrong", "look at `username`, and for more than the password in its file");

const NO_METHOD: &str = "there is no such login method";
const WHERE: &str = "`mount` and VAULT_PATH say where it is mounted, below `auth/`";

/// The error for a refused login. `method` is the name in `auth`.
pub fn explain(response: &Response, attempted: &str, method: &str, namespace: Option<&str>) -> ProviderError {
    if let Some(error) = explain::unavailable(response, attempted) {
        return error;
    }
    let status = response.status();
    let errors = explain::errors(response);
    let matches = |reason: &&Reason| {
        (reason.methods.is_empty() || reason.methods.contains(&method))
            && errors.iter().any(|error| reason.texts.iter().any(|text| error.contains(text)))
    };
    let reason = REASONS.iter().find(matches);
    let is_temporary = errors.iter().any(|error| TEMPORARY.iter().any(|text| error.contains(text)));
    let is_refusal = match status {
        400 | 403 | 404 => true,
        // Some methods refuse with this status (azure, and cert for an expired certificate), and so does Vault 1.13.0 for a wrong
        // secret id or password. A retry would only lock the user out.
        500 => reason.is_some() && !is_temporary,
        // Vault 1.13.0 sends this for a wrong password of a directory's user.
        204 => true,
        _ => false,
    };
    if !is_refusal {
        return response.failure(attempted);
    }
    let (why, hint) = match reason {
        Some(reason) => (reason.why, reason.hint),
        None => match (status, method) {
            (204, "ldap" | "userpass") => WRONG_PASSWORD,
            (404, _) => (NO_METHOD, WHERE),
            // Vault does not disclose the cluster's response.
            (403, "kubernetes") => (
                "Vault refuses the service account's token, or there is no such login method",
                "the token may have expired, be of another cluster, or Vault may not review it there: Vault's log says \
                 which; `mount` and VAULT_PATH say where the method is mounted",
            ),
            (403, _) => (
                "Vault refuses it, or there is no such login method",
                "`mount` and VAULT_PATH say where it is mounted, below `auth/`; a role may be bound to addresses \
                 (`token_bound_cidrs`), and a user be locked out for a while",
            ),
            _ => ("Vault refuses it", "Vault's log says why"),
        },
    };
    let is_perhaps_elsewhere = matches!(status, 403 | 404) || why == NO_METHOD;
    // Vault responds in the same way to a missing namespace, a missing mount and a missing permission.
    let hint = match namespace {
        Some(namespace) if is_perhaps_elsewhere => format!("{hint}; it was looked for in the namespace `{namespace}`"),
        None if is_perhaps_elsewhere => format!("{hint}; `namespace` and VAULT_NAMESPACE say in which namespace"),
        _ => hint.to_owned(),
    };
    ProviderError::new(ErrorKind::Denied, format!("{attempted}: {why}")).hint(hint)
}
