//! Secrets that Vault creates at the request, by a read or by a write.

use handfast_core::ErrorKind;
use handfast_testkit::{only, run};
use handfast_testservers::{Vault, random};
use serde_json::{Value, json};

use crate::support::{as_root, as_token, postgres, with_params};

#[test]
fn credentials_of_a_database_with_their_lease() {
    let (Some(vault), Some(postgres)) = (Vault::shared(), postgres()) else { return };
    let mount = random("database-");
    vault.enable_database(&mount, postgres, "1h");
    run(async {
        let instance = as_root(vault);
        let fetched = instance.fetch(&format!("vault:{mount}/creds/web")).await.unwrap_or_else(|e| panic!("{e}"));
        let lease = instance.summary().expiry.expect("it is leased");
        assert!(lease.what.contains(&format!("{mount}/creds/web")), "it names the path: {}", lease.what);
        assert!((3590..=3600).contains(&lease.after.as_secs()), "{:?}", lease.after);
        let data: Value = serde_json::from_slice(only(fetched).expose()).unwrap();
        let (user, password) = (data["username"].as_str().unwrap(), data["password"].as_str().unwrap());
        assert_eq!(postgres.query(user, password, "select current_user").as_deref(), Some(user));
    });
}

#[test]
fn a_certificate_is_issued() {
    let Some(vault) = Vault::shared() else { return };
    let mount = random("pki-");
    vault.enable_engine(&mount, "pki");
    vault.must("POST", &format!("{mount}/root/generate/internal"), json!({ "common_name": "root", "ttl": "1h" }));
    let role = json!({ "allowed_domains": ["example.org"], "allow_subdomains": true, "max_ttl": "10m" });
    vault.must("POST", &format!("{mount}/roles/web"), role);
    run(async {
        let reference = format!("vault:{mount}/issue/web");
        let locator = with_params(&reference, &json!({ "common_name": "www.example.org" }));
        let instance = as_root(vault);
        let fetched = instance.provider().fetch(&locator).await.unwrap_or_else(|error| panic!("{error}"));
        let data: Value = serde_json::from_slice(only(fetched).expose()).unwrap();
        assert!(data["private_key"].as_str().unwrap().contains("PRIVATE KEY"));
        assert!(data["certificate"].as_str().unwrap().starts_with("-----BEGIN CERTIFICATE-----"));
        // This path cannot be read, only written.
        assert_eq!(instance.error(&reference).await.kind, ErrorKind::Malformed);
    });
}

#[test]
fn a_ciphertext_is_decrypted() {
    let Some(vault) = Vault::shared() else { return };
    let mount = random("transit-");
    vault.enable_engine(&mount, "transit");
    let plaintext = json!({ "plaintext": "aHVudGVyMg==" });
    let encrypted = vault.must("POST", &format!("{mount}/encrypt/web"), plaintext);
    let locator =
        with_params(&format!("vault:{mount}/decrypt/web"), &json!({ "ciphertext": encrypted["data"]["ciphertext"] }));
    run(async {
        let value = as_root(vault).provider().fetch(&locator).await.map(only).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(value.expose(), br#"{"plaintext":"aHVudGVyMg=="}"#);
    });
}

#[test]
fn an_ssh_key_is_signed() {
    let Some(vault) = Vault::shared() else { return };
    let mount = random("ssh-");
    vault.enable_engine(&mount, "ssh");
    let ca = vault.must("POST", &format!("{mount}/config/ca"), json!({ "generate_signing_key": true }));
    let role = json!({ "key_type": "ca", "allow_user_certificates": true, "allowed_users": "*", "ttl": "5m" });
    vault.must("POST", &format!("{mount}/roles/web"), role);
    // Any public key can be signed, such as the authority's own.
    let params = json!({ "public_key": ca["data"]["public_key"], "valid_principals": "web" });
    let locator = with_params(&format!("vault:{mount}/sign/web"), &params);
    run(async {
        let value = as_root(vault).provider().fetch(&locator).await.map(only).unwrap_or_else(|error| panic!("{error}"));
        let data: Value = serde_json::from_slice(value.expose()).unwrap();
        assert!(data["signed_key"].as_str().unwrap().starts_with("ssh-rsa-cert-v01@openssh.com "));
    });
}

#[test]
fn a_write_needs_a_right_of_its_own_and_never_overwrites_a_secret() {
    let Some(vault) = Vault::shared() else { return };
    let (transit, kv, policy) = (random("transit-"), random("kv-"), random("policy-"));
    vault.enable_engine(&transit, "transit");
    vault.enable_kv(&kv, 1);
    vault.must("POST", &format!("{kv}/web/db"), json!({ "password": "as it was" }));
    vault.policy(&policy, &format!("path \"{transit}/decrypt/web\" {{ capabilities = [\"read\"] }}"));
    let token = vault.token(&[&policy]);
    run(async {
        let locator = with_params(&format!("vault:{transit}/decrypt/web"), &json!({ "ciphertext": "vault:v1:x" }));
        let error = as_token(vault, &token).provider().fetch(&locator).await.map(drop).unwrap_err();
        assert_eq!(error.kind, ErrorKind::Denied);
        let needed = format!("path \"{transit}/decrypt/web\" {{ capabilities = [\"update\"] }}");
        assert!(error.hint.as_deref().unwrap_or_default().contains(&needed), "{:?}", error.hint);

        let locator = with_params(&format!("vault:{kv}/web/db"), &json!({ "password": "overwritten" }));
        let instance = as_root(vault);
        let error = instance.provider().fetch(&locator).await.map(drop).unwrap_err();
        assert_eq!(error.kind, ErrorKind::Malformed, "{error}");
        assert_eq!(instance.value(&format!("vault:{kv}/web/db")).await, br#"{"password":"as it was"}"#);
    });
}
