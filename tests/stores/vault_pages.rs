//! `watch` when something else answers in Vault's place for a while, such as a proxy that finds no server behind it.

use crate::keeping::{Keeper, Kv, seconds};
use crate::vault_keeping::{Database, RENEWAL};
use handfast_testservers::Fault;
use serde_json::json;

const OF_TOKEN: &str = "PUT /v1/auth/token/renew-self";

/// A keeper with a token that was given to it, which can be renewed.
fn with_given_token(kv: &Kv) -> (Keeper<'_>, String) {
    let token = kv.store.vault.token_with(json!({ "policies": [kv.store.policy()], "ttl": "20s" }));
    let keeper = kv.store.keep_with(&kv.provider(), &kv.secrets(), |run| run.env("VAULT_TOKEN", &token));
    (keeper, token)
}

/// The token would be left to end.
#[test]
fn a_page_in_vaults_place_ends_no_renewals_of_a_token() {
    let [Some(found), Some(denied), Some(missing)] = [(); 3].map(|()| Kv::new()) else { return };
    let cases = [(&found, Fault::Html), (&denied, Fault::Status(403)), (&missing, Fault::Status(404))];
    let keepers = cases.map(|(kv, page)| {
        kv.store.proxy.add(page.on("/v1/auth/token/renew-self").times(1));
        (kv, with_given_token(kv).0)
    });
    for (kv, keeper) in keepers {
        keeper.until("it is renewed", |keeper| keeper.count(OF_TOKEN) >= 2);
        kv.can_still_read(&keeper);
        let said = keeper.end();
        assert!(
            said.contains("error: `vault`: cannot renew the login, the one before serves until its end: "),
            "{said}"
        );
        assert!(
            said.contains("with an HTML page\n") && said.contains("info: `vault`: the login holds again"),
            "{said}"
        );
        assert!(!said.contains("is not renewed any more"), "{said}");
    }
}

/// The app would get other credentials without need.
#[test]
fn a_page_in_vaults_place_ends_no_renewals_of_a_lease() {
    let Some(database) = Database::new("20s", "24h") else { return };
    let Database { store, mount, .. } = &database;
    store.proxy.add(Fault::Status(403).on("/v1/sys/leases/renew").times(1));
    let secrets = format!("[secrets.db]\nfrom = \"vault:{mount}/creds/web\"\n");
    let keeper = store.keep(&format!("mounts = {{ {mount} = \"other\" }}"), &secrets);
    keeper.until("it is there", |keeper| keeper.content("db").is_some());
    let first = keeper.content("db");
    keeper.until("it is renewed twice", |keeper| keeper.count(RENEWAL) >= 3);
    assert_eq!((keeper.content("db"), keeper.count(&database.creds())), (first, 1));
    let said = keeper.end();
    assert!(said.contains("error: cannot renew the lease of `db` from `vault:"), "{said}");
    assert!(said.contains("info: `db` can be renewed again, after ") && !said.contains("issued anew"), "{said}");
}

#[test]
fn a_given_token_that_is_revoked_is_told() {
    let Some(kv) = Kv::new() else { return };
    let (keeper, token) = with_given_token(&kv);
    keeper.until("it is looked at", |keeper| keeper.count("GET /v1/auth/token/lookup-self") == 1);
    kv.store.vault.must("POST", "auth/token/revoke", json!({ "token": token }));
    keeper.until("its renewal is refused", |keeper| keeper.count(OF_TOKEN) == 1);
    std::thread::sleep(seconds(2));
    assert_eq!(keeper.count(OF_TOKEN), 1, "it is not asked for again");
    let said = keeper.end();
    let why = "s, and is not renewed any more: cannot renew the token: Vault does not take the token\n";
    assert!(said.contains("warn: `vault`: the token that was given ends in ") && said.contains(why), "{said}");
}
