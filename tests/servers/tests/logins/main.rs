//! Every login method of Vault works with these servers through the plain API, so that a later failure is the product's.

mod aws;

use handfast_testservers::{
    Authority, AzureMetadata, Client, Issuer, Kubernetes, LINK_LOCAL, Ldap, Postgres, Vault, in_own_network,
};
use serde_json::{Value, json};

#[test]
fn approle_and_its_wrapped_secret_id() {
    let Some(vault) = Vault::shared() else { return };
    let role = vault.enable_approle("approle", &["default"]);
    vault.must_log_in("approle", "login", json!({ "role_id": role.role_id, "secret_id": role.secret_id }));
    let token = vault.wrapped("POST", "auth/approle/role/web/secret-id", json!({}));
    let (status, unwrapped) = vault.api_as(&token, "POST", "sys/wrapping/unwrap", Value::Null);
    assert_eq!(status, 200, "{unwrapped}");
    let secret_id = &unwrapped["data"]["secret_id"];
    vault.must_log_in("approle", "login", json!({ "role_id": role.role_id, "secret_id": secret_id }));
    assert_eq!(vault.api_as(&token, "POST", "sys/wrapping/unwrap", Value::Null).0, 400, "a second use");
    let once = vault.secret_id("approle", json!({ "num_uses": 1 }));
    let login = json!({ "role_id": role.role_id, "secret_id": once });
    vault.must_log_in("approle", "login", login.clone());
    assert_eq!(refusal(vault, "approle/login", login), (500, json!("invalid secret id")));
    let stranger = json!({ "role_id": "stranger", "secret_id": "x" });
    assert_eq!(refusal(vault, "approle/login", stranger), (400, json!("invalid role ID")));
}

/// The messages with which this Vault refuses a login. Later versions use other messages for some of them, and clients meet
/// both: <https://github.com/hashicorp/vault/pull/21282>.
fn refusal(vault: &Vault, path: &str, login: Value) -> (u16, Value) {
    let (status, answer) = vault.api_as("", "POST", &format!("auth/{path}"), login);
    assert!(answer["auth"].is_null(), "{status} {answer}");
    (status, answer["errors"][0].clone())
}

#[test]
fn userpass() {
    let Some(vault) = Vault::shared() else { return };
    let password = vault.enable_userpass("userpass", "web", &["default"]);
    vault.must_log_in("userpass", "login/web", json!({ "password": password }));
    let wrong = || json!({ "password": "wrong" });
    assert_eq!(refusal(vault, "userpass/login/web", wrong()), (500, json!("invalid username or password")));
    assert_eq!(refusal(vault, "userpass/login/nobody", wrong()), (400, json!("invalid username or password")));
}

#[test]
fn cert() {
    let Some(vault) = Vault::shared() else { return };
    let authority = Authority::named("handfast test clients");
    let identity = vault.enable_cert("cert", &authority, &["default"]);
    let pem = std::fs::read_to_string(vault.ca_file()).expect("it is there");
    let log_in = |client: &Client| vault.api_with(client, &[], "POST", "auth/cert/login", json!({ "name": "web" }));
    let (status, answer) = log_in(&Client::with_identity(&pem, &identity));
    assert_eq!(status, 200, "{answer}");
    let stranger = Authority::named("somebody else").client("web.example.org");
    assert_eq!(log_in(&Client::with_identity(&pem, &stranger)).0, 400);
    assert_eq!(log_in(&Client::trusting(&pem)).0, 400);
}

#[test]
fn jwt() {
    let Some(vault) = Vault::shared() else { return };
    let issuer = Issuer::new("https://issuer.example.org");
    vault.enable_jwt("jwt", &issuer, &["default"]);
    let log_in = |token: String| vault.api_as("", "POST", "auth/jwt/login", json!({ "role": "web", "jwt": token }));
    let (status, answer) = log_in(issuer.token("build-7", "vault"));
    assert_eq!(status, 200, "{answer}");
    assert_eq!(log_in(issuer.token("build-7", "elsewhere")).0, 400);
    assert_eq!(log_in(issuer.token_with("build-7", "vault", json!({ "exp": 1_000_000_000 }))).0, 400);
    assert_eq!(log_in(Issuer::new("https://issuer.example.org").token("build-7", "vault")).0, 400);
}

#[test]
fn kubernetes() {
    let Some(vault) = Vault::shared() else { return };
    let cluster = Kubernetes::start();
    vault.enable_kubernetes("kubernetes", &cluster, &["default"]);
    let log_in =
        |token: String| vault.api_as("", "POST", "auth/kubernetes/login", json!({ "role": "web", "jwt": token }));
    let (status, answer) = log_in(cluster.token("shop", "web", Some("vault")));
    assert_eq!(status, 200, "{answer}");
    assert_eq!(answer["auth"]["metadata"]["service_account_namespace"], "shop");
    assert_eq!(cluster.reviews(), 1);
    assert_eq!(log_in(cluster.token("shop", "web", None)).0, 403, "another audience");
    assert_eq!(log_in(cluster.token("shop", "other", Some("vault"))).0, 403);
    cluster.delete("shop", "web");
    assert_eq!(log_in(cluster.token("shop", "web", Some("vault"))).0, 403);
}

#[test]
fn ldap() {
    let Some(vault) = Vault::shared() else { return };
    let Some(ldap) = Ldap::start() else { return };
    vault.enable_ldap("ldap", &ldap, &["default"]);
    vault.must_log_in("ldap", &format!("login/{}", ldap.user()), json!({ "password": ldap.password() }));
    let wrong = || json!({ "password": "wrong" });
    assert_eq!(refusal(vault, "ldap/login/web", wrong()), (204, Value::Null));
    assert_eq!(refusal(vault, "ldap/login/nobody", wrong()), (204, Value::Null));
}

#[test]
fn gcp() {
    let Some(vault) = Vault::shared() else { return };
    vault.enable_gcp("gcp", &["default"]);
    // As the product does it, the token comes from the metadata service.
    let token = |audience: &str| {
        let path = "computeMetadata/v1/instance/service-accounts/default/identity";
        let url = format!("{}/{path}?audience={audience}&format=full", vault.google().address());
        let answer = Client::trusting("").send("GET", &url, &[("metadata-flavor", "Google")], b"").expect("it answers");
        String::from_utf8(answer.body).expect("it is text")
    };
    let answer = vault.must_log_in("gcp", "login", json!({ "role": "web", "jwt": token("http%3A%2F%2Fvault%2Fweb") }));
    assert_eq!(answer["auth"]["metadata"]["instance_name"], "web-0");
    let other = json!({ "role": "web", "jwt": token("vault/other") });
    assert_eq!(vault.api_as("", "POST", "auth/gcp/login", other).0, 400);
}

#[test]
fn azure_hands_out_tokens_at_its_own_address_too() {
    let audience = "https://management.azure.com/";
    let ask = |metadata: &AzureMetadata, url: &str, header: (&str, &str)| {
        let answer = Client::trusting("").send("GET", url, &[header], b"").expect("it answers");
        let token = answer.json()["access_token"].as_str().map(str::to_owned);
        (answer.status, token.and_then(|token| metadata.audience_of(&token)))
    };
    let path = "api-version=2018-02-01&resource=https%3A%2F%2Fmanagement.azure.com%2F";
    let service = AzureMetadata::start();
    let [(_, endpoint), (_, header)] = service.variables();
    let good = ask(&service, &format!("{endpoint}?{path}"), ("x-identity-header", &header));
    assert_eq!(good, (200, Some(audience.to_owned())));
    assert_eq!(ask(&service, &format!("{endpoint}?{path}"), ("metadata", "true")), (401, None));
    in_own_network(|| {
        let listener = std::net::TcpListener::bind((LINK_LOCAL, 80)).expect("the network has only us");
        let machine = AzureMetadata::serve(listener);
        let url = format!("http://{LINK_LOCAL}:80/metadata/identity/oauth2/token?{path}");
        assert_eq!(ask(&machine, &url, ("metadata", "true")), (200, Some(audience.to_owned())));
        assert_eq!(ask(&machine, &url, ("x", "y")), (400, None));
    });
}

#[test]
fn database_credentials_work_until_they_are_revoked() {
    let Some(vault) = Vault::shared() else { return };
    let Some(postgres) = Postgres::start() else { return };
    vault.enable_database("database", &postgres, "1h");
    let answer = vault.must("GET", "database/creds/web", Value::Null);
    let field = |name: &str| answer["data"][name].as_str().expect("it is text");
    assert_eq!(answer["lease_duration"], 3600);
    let works = || postgres.query(field("username"), field("password"), "select 6 * 7");
    assert_eq!(works().as_deref(), Some("42"));
    vault.must("PUT", "sys/leases/revoke", json!({ "lease_id": answer["lease_id"], "sync": true }));
    assert_eq!(works(), None);
}
