//! Vault's refusals, from the real server, with the exact text of the error.

use handfast_core::{Table, Value};
use handfast_testkit::{run, table, text};
use handfast_testservers::{Vault, random};
use serde_json::json;

use crate::errors::{error_text, refusal};
use crate::support::{connect, variables};

/// A new KV 2 mount with `web/db`.
fn mount(vault: &Vault) -> String {
    let mount = random("kv-");
    vault.must("POST", &format!("sys/mounts/{mount}"), json!({ "type": "kv", "options": { "version": "2" } }));
    vault.must("POST", &format!("{mount}/data/web/db"), json!({ "data": { "password": "hunter2" } }));
    mount
}

/// A token with this policy in HCL, and this number of uses; 0 means no limit.
fn token(vault: &Vault, policy: &str, uses: u32) -> String {
    let name = random("policy-");
    vault.must("POST", &format!("sys/policies/acl/{name}"), json!({ "policy": policy }));
    let made = vault.must("POST", "auth/token/create", json!({ "policies": [name], "num_uses": uses }));
    made["auth"]["client_token"].as_str().expect("Vault's documentation says so").to_owned()
}

/// The error's text for a fetch with this token, with the mount's name as `KV`.
fn refused(vault: &Vault, mount: &str, token: &str, settings: Table, reference: &str) -> String {
    let variables = variables(vault).with_credential("VAULT_TOKEN", token);
    let reported = refusal(settings, variables, &reference.replace("KV", mount), None).replace(mount, "KV");
    assert!(!reported.contains(token) && !reported.contains("hunter2"), "{reported}");
    reported
}

fn with_kind(mount: &str, kind: &str) -> Table {
    table([("mounts", Value::Table(table([(mount, text(kind))])))])
}

#[test]
fn a_missing_right_is_shown_as_a_policy() {
    let Some(vault) = Vault::shared() else { return };
    let kv = mount(vault);
    let token = token(vault, &format!("path \"{kv}/data/other\" {{ capabilities = [\"read\"] }}"), 0);
    let refused = |reference| refused(vault, &kv, &token, table([]), reference);
    assert_eq!(
        refused("vault:KV/web/db"),
        "Denied: cannot read `KV/web/db`: permission denied\n\
         the token's policies must have: path \"KV/data/web/db\" { capabilities = [\"read\"] }"
    );
    assert_eq!(
        refused("vault:KV/web/*"),
        "Denied: cannot list `KV/web/`: permission denied\n\
         the token's policies must have: path \"KV/metadata/web/\" { capabilities = [\"list\"] }"
    );
    // The path in Vault's API and policies is not the path in a reference. In that case no right is missing.
    for (reference, expected) in [
        (
            "vault:KV/data/web/db",
            "Denied: cannot read `KV/data/web/db`: permission denied\n\
             write `KV/web/db`: `data/` is Vault's own, and is put in for a KV 2 mount; if the secret's name does start so, the \
             token's policies must have: path \"KV/data/data/web/db\" { capabilities = [\"read\"] }",
        ),
        (
            "vault:KV/metadata/web/*",
            "Denied: cannot list `KV/metadata/web/`: permission denied\n\
             write `KV/web/*`: `metadata/` is Vault's own, and is put in for a KV 2 mount; if the secret's name does start so, \
             the token's policies must have: path \"KV/metadata/metadata/web/\" { capabilities = [\"list\"] }",
        ),
    ] {
        assert_eq!(refused(reference), expected);
    }
    // Vault does not disclose whether a mount does not exist, or is only forbidden for the token.
    let neither = "either the token has no right below this mount, or there is ";
    for reference in ["vault:secret/x", "vault:nothing/x"] {
        let reported = refused(reference);
        let path = &reference[6..];
        let message = format!("Denied: cannot ask what stands at `{path}`: permission denied\n");
        assert!(reported.starts_with(&(message + neither)), "{reported}");
        assert!(reported.contains("`mounts = { "), "{reported}");
    }
}

#[test]
fn the_error_names_the_namespace() {
    let Some(vault) = Vault::shared() else { return };
    let kv = mount(vault);
    // This Vault has no namespaces, and ignores the header.
    let refused_in =
        |name, reference| refused(vault, &kv, vault.root_token(), table([("namespace", text(name))]), reference);
    let refused = |kind: &str, reference| {
        let mut settings = table([("namespace", text("team-a/"))]);
        if !kind.is_empty() {
            settings.merge(with_kind("nothing", kind));
        }
        refused(vault, &kv, vault.root_token(), settings, reference)
    };
    let reported = refused("", "vault:nothing/x");
    assert!(
        reported.starts_with(
            "Denied: cannot ask what stands at `nothing/x` in the namespace `team-a`: permission denied\n"
        ),
        "{reported}"
    );
    assert_eq!(
        refused("kv-v2", "vault:nothing/x"),
        "NotFound: cannot read `nothing/x`: there is no such mount\nit was looked for in the namespace `team-a`"
    );
    let token = token(vault, &format!("path \"{kv}/*\" {{ capabilities = [\"list\"] }}"), 0);
    let variables = variables(vault).with_credential("VAULT_TOKEN", &token);
    let reported = refusal(table([("namespace", text("team-a"))]), variables, &format!("vault:{kv}/web/db"), None);
    assert!(reported.contains("the token's policies must have in the namespace `team-a`: path "), "{reported}");
    // These count as no namespace.
    for none in ["", "/"] {
        let reported = refused_in(none, "vault:nothing/x");
        assert!(
            reported.starts_with("Denied: cannot ask what stands at `nothing/x`: permission denied\n"),
            "{reported}"
        );
    }
}

#[test]
fn an_invalid_token_differs_from_a_missing_right() {
    let Some(vault) = Vault::shared() else { return };
    let kv = mount(vault);
    let policy = format!("path \"{kv}/*\" {{ capabilities = [\"read\"] }}");
    let invalid = "Vault does not take the token\n\
                   the token has expired, was revoked, has no uses left (each request is one), is bound to other addresses, \
                   or is another Vault's";
    let foreign = random("hvs.");
    assert_eq!(
        refused(vault, &kv, &foreign, table([]), "vault:KV/web/db"),
        format!(
            "Denied: cannot ask what stands at `KV/web/db`: {invalid}; or Vault does not tell the token what stands there: then \
             `mounts = {{ KV = \"kv-v2\" }}` in [providers.vault] says it"
        )
    );
    // The request for a mount does not count as a use of the token.
    let once = token(vault, &policy, 1);
    let mounts = with_kind(&kv, "kv-v2");
    let instance = connect(mounts, variables(vault).with_credential("VAULT_TOKEN", &once));
    run(async {
        let reference = format!("vault:{kv}/web/db");
        assert_eq!(instance.value(&reference).await, br#"{"password":"hunter2"}"#);
        let reported = error_text(&instance.error(&reference).await);
        assert!(reported.ends_with(invalid), "{reported}");
    });
}

#[test]
fn missing_secrets_versions_and_mounts_have_their_own_errors() {
    let Some(vault) = Vault::shared() else { return };
    let kv = mount(vault);
    let refused = |settings, reference| refused(vault, &kv, vault.root_token(), settings, reference);
    assert_eq!(refused(table([]), "vault:KV/nothing"), "NotFound: cannot read `KV/nothing`: there is no such secret");
    assert_eq!(
        refused(table([]), "vault:KV/data/web/db"),
        "NotFound: cannot read `KV/data/web/db`: there is no such secret\n\
         write `KV/web/db`: `data/` is Vault's own, and is put in for a KV 2 mount"
    );
    assert_eq!(
        refused(table([]), "vault:KV/data/*"),
        "NotFound: cannot list `KV/data/`: there is nothing below it\n\
         write `KV/*`: `data/` is Vault's own, and is put in for a KV 2 mount"
    );
    assert_eq!(
        refused(table([]), "vault:KV/nothing/*"),
        "NotFound: cannot list `KV/nothing/`: there is nothing below it"
    );
    assert_eq!(
        refused(with_kind("nothing", "kv-v1"), "vault:nothing/x"),
        "NotFound: cannot read `nothing/x`: there is no such mount\n\
         `namespace` or VAULT_NAMESPACE says in which namespace a mount is"
    );
    // Vault's API accepts such a secret.
    vault.must("POST", &format!("{kv}/data/null"), json!({ "data": null }));
    assert_eq!(refused(table([]), "vault:KV/null"), "NotFound: cannot read `KV/null`: its version 1 has no data");
    assert_eq!(
        refused(table([]), "vault:cubbyhole/nothing"),
        "NotFound: cannot read `cubbyhole/nothing`: there is no such secret"
    );
}

#[test]
fn an_engines_error_selects_a_text_of_handfast() {
    let Some(vault) = Vault::shared() else { return };
    let [pki, transit, database, aws, totp] = ["pki", "transit", "database", "aws", "totp"].map(|kind| {
        let mount = random(&format!("{kind}-"));
        vault.must("POST", &format!("sys/mounts/{mount}"), json!({ "type": kind }));
        mount
    });
    vault.must("POST", &format!("{pki}/root/generate/internal"), json!({ "common_name": "hunter2" }));
    vault.must("POST", &format!("{pki}/roles/web"), json!({ "allowed_domains": "web.internal" }));
    vault.must("POST", &format!("{transit}/keys/key"), json!({}));
    let reported = |mount: &str, path: &str, params: Option<&str>| {
        let variables = variables(vault).with_credential("VAULT_TOKEN", vault.root_token());
        let reported = refusal(table([]), variables, &format!("vault:{mount}/{path}"), params);
        assert!(!reported.contains("hunter2"), "{reported}");
        reported.replace(mount, "MOUNT")
    };
    let issue = Some(r#"{"common_name":"hunter2"}"#);
    for (reported, expected) in [
        (reported(&database, "creds/web", None), "NotFound: cannot read `MOUNT/creds/web`: there is no such role"),
        (reported(&aws, "creds/web", None), "NotFound: cannot read `MOUNT/creds/web`: there is no such role"),
        (reported(&pki, "issue/other", issue), "NotFound: cannot write `MOUNT/issue/other`: there is no such role"),
        (
            reported(&pki, "issue/web", issue),
            "Denied: cannot write `MOUNT/issue/web`: the role or key does not allow what `params` asks for\n\
             ask for less in `params`, or allow more there",
        ),
        (
            reported(&pki, "issue/web", Some("{}")),
            "Malformed: cannot write `MOUNT/issue/web`: a parameter is missing\n\
             `params` in [secrets.NAME] gives parameters: what the path needs is in its engine's documentation",
        ),
        (
            reported(&transit, "decrypt/other", Some(r#"{"ciphertext":"hunter2"}"#)),
            "NotFound: cannot write `MOUNT/decrypt/other`: there is no such key",
        ),
        (reported(&totp, "code/other", None), "NotFound: cannot read `MOUNT/code/other`: there is no such key"),
        // The response to this write has no data.
        (
            reported("cubbyhole", "other", Some(r#"{"a":"b"}"#)),
            "Malformed: cannot write `MOUNT/other`: Vault's answer has no data",
        ),
        (
            reported(&transit, "decrypt/key", Some(r#"{"ciphertext":"hunter2"}"#)),
            "Malformed: cannot write `MOUNT/decrypt/key`: Vault does not take the request as it is\n\
             `vault write MOUNT/decrypt/key`, with the same token and parameters, shows Vault's own words",
        ),
        (
            reported(&pki, "issue/web", None),
            "Malformed: cannot read `MOUNT/issue/web`: Vault does not allow that on this path\n\
             a path that is written to needs `params` in [secrets.NAME]",
        ),
        (reported(&transit, "encrypt/*", None), "NotFound: cannot list `MOUNT/encrypt/`: that mount has no such path"),
        (
            reported(&database, "creds/web", Some("{}")),
            "Malformed: cannot write `MOUNT/creds/web`: Vault does not allow that on this path\n\
             a path that is read takes no `params`",
        ),
        (
            reported(&transit, "nothing/here", None),
            "NotFound: cannot read `MOUNT/nothing/here`: that mount has no such path",
        ),
    ] {
        assert_eq!(reported, expected);
    }
}
