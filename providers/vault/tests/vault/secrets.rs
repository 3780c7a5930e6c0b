//! Every kind of secret.

use handfast_core::ErrorKind;
use handfast_testkit::run;
use handfast_testservers::{Vault, random};
use serde_json::json;

use crate::support::as_root;

#[test]
fn a_kv_2_secret_and_its_versions() {
    let Some(vault) = Vault::shared() else { return };
    let mount = random("kv2-");
    vault.must("POST", &format!("sys/mounts/{mount}"), json!({ "type": "kv", "options": { "version": "2" } }));
    for password in ["first", "second"] {
        vault.must("POST", &format!("{mount}/data/web/db"), json!({ "data": { "password": password } }));
    }
    run(async {
        let instance = as_root(vault);
        let db = format!("vault:{mount}/web/db");
        assert_eq!(instance.value(&db).await, br#"{"password":"second"}"#);
        assert_eq!(instance.value(&format!("{db}?version=1")).await, br#"{"password":"first"}"#);
        assert_eq!(instance.error(&format!("{db}?version=7")).await.kind, ErrorKind::NotFound);
    });
}
