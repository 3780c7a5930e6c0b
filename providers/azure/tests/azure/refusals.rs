//! Refusals of a vault and of Entra ID, by cause.

use handfast_core::{ErrorKind, Table};
use handfast_testkit::{run, table, text};
use handfast_testservers::{Azure, TENANT};
use serde_json::json;

use crate::support::{assert_text, connect, known, settings, variables, with_auth};

#[test]
fn a_denial_of_a_vault_names_the_rule() {
    let Some(azure) = Azure::start() else { return };
    azure.set("s", "x");
    for (access, why, hint) in [
        ("rbac", "no role allows it", "`Key Vault Secrets User`"),
        ("policy", "no access policy of the vault allows it", "--secret-permissions get"),
        ("firewall", "the vault's firewall does not let this address in", "network-rule add"),
        ("connection", "the vault is not reached from public networks", "private endpoint"),
    ] {
        azure.set_up("vault?name=main", json!({ "access": access }));
        run(async { assert_text(&known(&azure).error("azure:s").await, ErrorKind::Denied, why, hint) });
    }
}

#[test]
fn a_vault_in_another_tenant_names_its_tenant() {
    let Some(azure) = Azure::start() else { return };
    azure.set("s", "x");
    let theirs = "99999999-2222-3333-4444-555555555555";
    azure.set_up("vault?name=main", json!({ "tenant": theirs }));
    run(async {
        let error = known(&azure).error("azure:s").await;
        assert_text(&error, ErrorKind::Denied, "the token is another tenant's than the vault", theirs);
    });
}

#[test]
fn a_refusal_of_entra_id_names_the_wrong_setting() {
    let Some(azure) = Azure::start() else { return };
    azure.set("s", "x");
    azure.set_up("application", json!({ "tenant": TENANT, "id": "late", "secret": "sesame", "secretExpired": true }));
    let (known, secret) = azure.application();
    let case = |tenant: &str, client: &str, secret: &str, why: &str| {
        let auth = [("method", "client-secret"), ("tenant_id", tenant), ("client_id", client)];
        let variables = handfast_testkit::Variables::default().with_credential("AZURE_CLIENT_SECRET", secret);
        run(async {
            let error = connect(with_auth(&azure, auth), variables).error("azure:s").await;
            assert_text(&error, ErrorKind::Denied, why, "");
            assert!(!format!("{error:?}").contains(secret), "{error:?}");
        });
    };
    case(TENANT, &known, "wrong-secret", "the client secret is wrong (AADSTS7000215)");
    case(TENANT, "late", "sesame", "the client secret has expired (AADSTS7000222)");
    case(TENANT, "nobody", &secret, "there is no such application in this tenant (AADSTS700016)");
    case("elsewhere.example", &known, &secret, "there is no such tenant (AADSTS90002)");
}

#[test]
fn a_challenge_for_another_resource_gets_no_token() {
    let Some(azure) = Azure::start() else { return };
    azure.set("s", "x");
    let tokens = || {
        azure
            .requests()
            .iter()
            .filter(|request| request["path"].as_str().is_some_and(|path| path.contains("/token")))
            .count()
    };
    // Without the check of its address, a vault may require the cloud's token, or a token for its own address.
    for resource in ["https://vault.azure.net", &azure.address()] {
        azure.set_up("vault?name=main", json!({ "resource": resource }));
        run(async { assert_eq!(known(&azure).value("azure:s").await, b"x") });
    }
    for resource in [
        "https://graph.microsoft.com",
        "https://management.azure.com/",
        "https://azure.net",
        "https://vault.azure.cn",
        "x",
    ] {
        azure.set_up("vault?name=main", json!({ "resource": resource }));
        azure.forget();
        run(async {
            let error = known(&azure).error("azure:s").await;
            assert_text(
                &error,
                ErrorKind::Untrusted,
                "asks for a token for something else than Key Vault in this cloud",
                "`cloud`",
            );
        });
        assert_eq!(tokens(), 0, "{resource}");
    }
}

/// With the check of the address, the SDK's own check of the challenge is enabled too.
#[test]
fn under_the_clouds_domain_the_challenge_is_checked_by_the_sdk_too() {
    let Some(azure) = Azure::start() else { return };
    azure.set("s", "x");
    let port = azure.address().rsplit(':').next().expect("a port").to_owned();
    let cloud = |domain: &str| -> Table {
        let mut settings = settings(&azure);
        settings.remove("endpoint_suffix_check");
        settings.merge(table([("cloud", text(domain)), ("vault", text(&format!("https://main.kv.localhost:{port}")))]));
        settings
    };
    for (resource, right) in
        [("https://kv.localhost", true), ("https://vault.azure.net", false), ("https://localhost", false)]
    {
        azure.set_up("vault?name=main", json!({ "resource": resource }));
        run(async {
            let instance = connect(cloud("kv.localhost"), variables(&azure));
            match right {
                true => assert_eq!(instance.value("azure:s").await, b"x"),
                false => assert_text(
                    &instance.error("azure:s").await,
                    ErrorKind::Untrusted,
                    "asks for a token for something else",
                    "",
                ),
            }
        });
    }
}
