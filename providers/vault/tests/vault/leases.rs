//! Leases: their end in the log, and their revocation.

use std::time::Duration;

use handfast_core::{Ending, Value as Setting};
use handfast_testkit::{Instance, Variables, only, run, table, text};
use handfast_testservers::{AppRole, Postgres, Vault, random};
use serde_json::{Value, json};

use crate::support::{as_root, as_token, connect, eventually, postgres, variables};

/// A database role and a KV secret, a policy for both, and an AppRole with this policy.
struct World {
    vault: &'static Vault,
    postgres: &'static Postgres,
    database: String,
    kv: String,
    policy: String,
    approle: String,
    role: AppRole,
}

impl World {
    fn new(lease: &str) -> Option<Self> {
        let (vault, postgres) = (Vault::shared()?, postgres()?);
        let [database, kv, policy, approle] = ["database-", "kv-", "policy-", "approle-"].map(random);
        vault.enable_database(&database, postgres, lease);
        vault.enable_kv(&kv, 1);
        vault.must("POST", &format!("{kv}/web/db"), json!({ "password": "hunter2" }));
        let read = |path: &str| format!("path \"{path}\" {{ capabilities = [\"read\"] }}\n");
        let rules = read(&format!("{database}/creds/web")) + &read(&format!("{kv}/web/*"));
        // A token from a variable needs this to revoke a lease. The token of a login is revoked together with its leases.
        vault.policy(&policy, &(rules + "path \"sys/leases/revoke\" { capabilities = [\"update\"] }"));
        let role = vault.enable_approle(&approle, &[&policy]);
        Some(Self { vault, postgres, database, kv, policy, approle, role })
    }

    fn logged_in(&self) -> Instance {
        let auth = [
            ("method", text("approle")),
            ("mount", text(&self.approle)),
            ("role_id", text(&self.role.role_id)),
            ("secret_id_env", text("SECRET_ID")),
        ];
        let settings = table([("auth", Setting::Table(table(auth)))]);
        connect(settings, variables(self.vault).with_credential("SECRET_ID", &self.role.secret_id))
    }

    /// A new user of the database.
    async fn user(&self, instance: &Instance) -> (String, String) {
        let fetched = instance.fetch(&format!("vault:{}/creds/web", self.database)).await;
        let fetched = fetched.unwrap_or_else(|error| panic!("{:?}: {error}", error.kind));
        let data: Value = serde_json::from_slice(only(fetched).expose()).expect("it is an object");
        ["username", "password"].map(|field| data[field].as_str().expect("a text").to_owned()).into()
    }

    async fn kv_secret(&self, instance: &Instance) {
        assert_eq!(instance.value(&format!("vault:{}/web/db", self.kv)).await, br#"{"password":"hunter2"}"#);
    }

    fn can_log_in(&self, (user, password): &(String, String)) -> bool {
        self.postgres.query(user, password, "select 1").is_some()
    }

    fn has_lease(&self) -> bool {
        self.vault.api("LIST", &format!("sys/leases/lookup/{}/creds/web/", self.database), Value::Null).0 == 200
    }

    /// The number of valid tokens of the AppRole, counted by their accessors.
    fn logins(&self) -> usize {
        let accessors = self.vault.must("LIST", "auth/token/accessors", Value::Null);
        let accessors = accessors["data"]["keys"].as_array().expect("a list").clone();
        let path = json!(format!("auth/{}/login", self.approle));
        let of = |accessor: &Value| {
            let (status, answer) =
                self.vault.api("POST", "auth/token/lookup-accessor", json!({ "accessor": accessor }));
            // The token may have ended: other tests use this server too.
            status == 200 && answer["data"]["path"] == path
        };
        accessors.iter().filter(|accessor| of(accessor)).count()
    }
}

#[test]
fn the_token_of_a_login_is_revoked_after_the_fetch() {
    let Some(world) = World::new("1h") else { return };
    run(async {
        let instance = world.logged_in();
        world.kv_secret(&instance).await;
        assert_eq!(world.logins(), 1);
        assert_eq!(instance.summary().expiry, None, "nothing that the app has hangs on it");
        instance.finish(Ending::Delivered).await;
        assert_eq!(world.logins(), 0);
        // The requests: the mount, the login, the secret, and the revocation.
        assert_eq!(instance.summary().requests, 4);
    });
}

#[test]
fn the_token_of_a_login_with_leases_is_not_revoked() {
    let Some(world) = World::new("1h") else { return };
    run(async {
        let instance = world.logged_in();
        let user = world.user(&instance).await;
        instance.finish(Ending::Delivered).await;
        assert_eq!(world.logins(), 1);
        assert!(world.can_log_in(&user) && world.has_lease());
    });
}

#[test]
fn a_token_from_a_variable_is_never_revoked() {
    let Some(world) = World::new("1h") else { return };
    let token = world.vault.token(&[&world.policy]);
    for ending in [Ending::Delivered, Ending::NotDelivered] {
        run(async {
            let instance = as_token(world.vault, &token);
            world.kv_secret(&instance).await;
            instance.finish(ending).await;
        });
        assert_eq!(world.vault.api_as(&token, "GET", "auth/token/lookup-self", Value::Null).0, 200);
    }
}

#[test]
fn after_a_failure_the_leases_are_revoked() {
    let Some(world) = World::new("1h") else { return };
    let token = world.vault.token(&[&world.policy]);
    run(async {
        for instance in [world.logged_in(), as_token(world.vault, &token)] {
            let users = [world.user(&instance).await, world.user(&instance).await];
            assert!(users.iter().all(|user| world.can_log_in(user)));
            instance.finish(Ending::NotDelivered).await;
            eventually("the users are gone", || !users.iter().any(|user| world.can_log_in(user)));
            eventually("the leases are gone", || !world.has_lease());
        }
    });
    assert_eq!(world.logins(), 0);
    assert_eq!(world.vault.api_as(&token, "GET", "auth/token/lookup-self", Value::Null).0, 200);
}

/// A batch token cannot be revoked, so no request is sent for it.
#[test]
fn a_batch_token_is_not_revoked() {
    let Some(world) = World::new("1h") else { return };
    let batch = json!({ "token_policies": [world.policy], "token_type": "batch" });
    world.vault.must("POST", &format!("auth/{}/role/web", world.approle), batch);
    run(async {
        let instance = world.logged_in();
        world.kv_secret(&instance).await;
        let before = instance.summary().requests;
        instance.finish(Ending::Delivered).await;
        assert_eq!(instance.summary().requests, before);
        let user = world.user(&instance).await;
        instance.finish(Ending::NotDelivered).await;
        eventually("the user is gone", || !world.can_log_in(&user));
    });
}

#[test]
fn the_earlier_end_of_lease_and_token_is_reported() {
    let about = |after: Duration, seconds: u64| after.as_secs().abs_diff(seconds) < 30;
    let Some(world) = World::new("1h") else { return };
    let expiry = |instance: &Instance| instance.summary().expiry.expect("something ends");
    let lease = format!("the lease of `{}/creds/web`", world.database);
    run(async {
        // The lease ends in an hour, the token in 768 hours.
        let instance = world.logged_in();
        world.user(&instance).await;
        let end = expiry(&instance);
        assert_eq!((&end.what, about(end.after, 3600)), (&lease, true), "{end:?}");
        // The token ends in half an hour.
        let role = json!({ "token_policies": [world.policy], "token_ttl": "30m" });
        world.vault.must("POST", &format!("auth/{}/role/web", world.approle), role);
        let instance = world.logged_in();
        world.user(&instance).await;
        let end = expiry(&instance);
        let token = "the token of the login, and with it every lease,";
        assert_eq!((&*end.what, about(end.after, 1800)), (token, true), "{end:?}");
        // The end of this token is not known, because it would need another request.
        let instance = as_root(world.vault);
        world.user(&instance).await;
        let end = expiry(&instance);
        assert_eq!((end.what, about(end.after, 3600)), (lease + ", if not the token before it,", true));
    });
}

#[test]
fn the_end_of_a_wrapped_token_is_known() {
    let Some(world) = World::new("1h") else { return };
    let token = json!({ "policies": [world.policy], "ttl": "10m" });
    let wrapping = world.vault.wrapped("POST", "auth/token/create", token);
    let auth = [("method", text("token")), ("token_env", text("TOKEN")), ("wrapped", Setting::Boolean(true))];
    let variables = |wrapping: &str| -> Variables { variables(world.vault).with_credential("TOKEN", wrapping) };
    run(async {
        let instance = connect(table([("auth", Setting::Table(table(auth)))]), variables(&wrapping));
        let user = world.user(&instance).await;
        let end = instance.summary().expiry.expect("something ends");
        assert!(end.what.starts_with("the token of the login") && end.after <= Duration::from_secs(600), "{end:?}");
        // It comes from a variable, though in a wrapping token, so it is not revoked.
        instance.finish(Ending::Delivered).await;
        assert!(world.can_log_in(&user));
    });
}
