//! `watch` with logins to a real Vault that end: they are renewed, and made anew, and what hangs on them follows.

use std::time::{SystemTime, UNIX_EPOCH};

use crate::keeping::{Keeper, Kv, seconds};
use crate::support::{Directory, Run};
use handfast_testservers::{Fault, Issuer, Kubernetes, Postgres, random};
use nix::sys::signal::Signal;
use serde_json::json;

const RENEWAL: &str = "PUT /v1/auth/token/renew-self";

fn login(kv: &Kv) -> String {
    format!("POST /v1/auth/{}/login", kv.store.approle)
}

/// Each login would use the secret id once more, and it can be used once.
#[test]
fn a_token_is_renewed_without_another_login() {
    let Some(kv) = Kv::new() else { return };
    kv.store.tokens(json!({ "token_ttl": "8s", "token_max_ttl": "1h" }));
    let once = kv.store.vault.secret_id(&kv.store.approle, json!({ "num_uses": 1 }));
    let auth = format!(
        "auth = {{ method = \"approle\", mount = \"{}\", role_id = \"{}\" }}\n{}",
        kv.store.approle,
        kv.store.role.role_id,
        kv.provider()
    );
    let keeper = kv.store.keep_with(&auth, &kv.secrets(), |run| run.env("VAULT_SECRET_ID", &once));
    keeper.until("it is renewed twice", |keeper| keeper.count(RENEWAL) == 2);
    kv.can_still_read(&keeper);
    assert_eq!(keeper.count(&login(&kv)), 1);
    let said = keeper.end();
    assert!(!said.contains("cannot") && !said.contains("logged in anew"), "{said}");
}

#[test]
fn a_periodic_token_is_renewed_for_its_period() {
    let Some(kv) = Kv::new() else { return };
    kv.store.tokens(json!({ "token_period": "8s" }));
    let keeper = kv.store.keep(&kv.provider(), &kv.secrets());
    keeper.until("it is renewed twice", |keeper| keeper.count(RENEWAL) == 2);
    kv.can_still_read(&keeper);
    assert_eq!(keeper.count(&login(&kv)), 1);
    keeper.end();
}

/// A batch token cannot be renewed. What it was given ends with it, and is issued anew before; nothing else is.
#[test]
fn a_token_that_cannot_be_renewed_gets_a_successor_and_its_leases_follow() {
    let Some(kv) = Kv::new() else { return };
    let Some(postgres) = Postgres::start() else { return };
    let database = random("database-");
    kv.store.vault.enable_database(&database, &postgres, "1h");
    kv.store.allow(&format!("path \"{database}/*\" {{ capabilities = [\"read\"] }}"));
    kv.store.tokens(json!({ "token_type": "batch", "token_ttl": "12s", "token_max_ttl": "12s" }));
    let provider = format!("mounts = {{ {} = \"kv-v2\", {database} = \"other\" }}", kv.mount);
    let user = format!("{}[secrets.user]\nfrom = \"vault:{database}/creds/web\"\n", kv.secrets());
    let keeper = kv.store.keep(&provider, &user);
    keeper.until("the credentials are there", |keeper| keeper.content("user").is_some());
    let first = keeper.content("user").expect("it is there");
    let creds = format!("GET /v1/{database}/creds/web");
    keeper.until("there are others", |keeper| keeper.content("user").is_some_and(|now| now != first));
    let asked = |line: &str| keeper.store().proxy.lines().iter().position(|asked| asked == line);
    assert!(asked(&creds) > asked(&login(&kv)), "{:?}", keeper.store().proxy.lines());
    assert_eq!((keeper.count(&login(&kv)), keeper.count(&creds), keeper.count(RENEWAL)), (2, 2, 0));
    kv.can_still_read(&keeper);
    let said = keeper.end();
    assert!(said.contains("info: `vault`: logged in anew\n") && !said.contains("cannot"), "{said}");
}

#[test]
fn a_token_that_is_gone_is_followed_by_another_and_its_leases_too() {
    let Some(kv) = Kv::new() else { return };
    let Some(postgres) = Postgres::start() else { return };
    let database = random("database-");
    kv.store.vault.enable_database(&database, &postgres, "1m");
    kv.store.allow(&format!("path \"{database}/*\" {{ capabilities = [\"read\"] }}"));
    let provider = format!("mounts = {{ {} = \"kv-v2\", {database} = \"other\" }}", kv.mount);
    let user = format!("{}[secrets.user]\nfrom = \"vault:{database}/creds/web\"\n", kv.secrets());
    let keeper = kv.store.keep(&provider, &user);
    keeper.until("the credentials are there", |keeper| keeper.content("user").is_some());
    let first = keeper.content("user").expect("it is there");
    for accessor in kv.store.accessors() {
        kv.store.vault.must("POST", "auth/token/revoke-accessor", json!({ "accessor": accessor }));
    }
    // A secret that is refused gives the loss away.
    keeper.until("there are others", |keeper| {
        keeper.signal(Signal::SIGHUP);
        std::thread::sleep(seconds(1));
        keeper.content("user").is_some_and(|now| now != first)
    });
    kv.can_still_read(&keeper);
    assert_eq!(keeper.count(&login(&kv)), 2);
    keeper.end();
}

/// The token file of a pod changes; a login reads it anew.
#[test]
fn a_new_login_reads_the_token_file_anew() {
    let Some(kv) = Kv::new() else { return };
    let (issuer, mount, files) = (Issuer::new("https://issuer.example.org"), random("jwt-"), Directory::new());
    kv.store.vault.enable_jwt(&mount, &issuer, &[kv.store.policy()]);
    let role = json!({ "role_type": "jwt", "user_claim": "sub", "bound_audiences": ["vault"],
        "token_policies": [kv.store.policy()], "token_type": "batch", "token_ttl": "6s", "token_max_ttl": "6s" });
    kv.store.vault.must("POST", &format!("auth/{mount}/role/web"), role);
    let [first, second] = ["first", "second"].map(|subject| issuer.token(subject, "vault"));
    let file = files.write("token", &first);
    let auth = format!(
        "auth = {{ method = \"jwt\", mount = \"{mount}\", role = \"web\", jwt_file = \"{}\" }}\n{}",
        file.display(),
        kv.provider()
    );
    let keeper = kv.store.keep_with(&auth, &kv.secrets(), |run| run);
    keeper.until("it is there", |keeper| keeper.content("db").is_some());
    files.write("token", &second);
    keeper.until("there is another login", |keeper| shown(keeper, &mount).len() == 2);
    assert_eq!(shown(&keeper, &mount), [first, second]);
    kv.can_still_read(&keeper);
    keeper.end();
}

/// Each token of a service account ends; kubelet puts another into the pod's volume before.
#[test]
fn a_login_to_kubernetes_shows_the_token_that_kubelet_has_put_there_last() {
    let Some(kv) = Kv::new() else { return };
    let (cluster, mount, volume) = (Kubernetes::start(), random("kubernetes-"), Directory::new());
    kv.store.vault.enable_kubernetes(&mount, &cluster, &[kv.store.policy()]);
    let life = json!({ "token_ttl": "6s", "token_max_ttl": "6s" });
    kv.store.vault.must("POST", &format!("auth/{mount}/role/web"), life);
    let end = SystemTime::now().duration_since(UNIX_EPOCH).expect("it is later").as_secs() + 12;
    let first = cluster.token_with("shop", "web", Some("vault"), json!({ "exp": end }));
    let second = cluster.token("shop", "web", Some("vault"));
    volume.shell(None, "mkdir ..1 && ln -s ..1 ..data && ln -s ..data/token token");
    volume.write("..1/token", &first);
    let auth = format!(
        "auth = {{ method = \"kubernetes\", mount = \"{mount}\", role = \"web\", token_file = \"{}/token\" }}\n{}",
        volume.text(),
        kv.provider()
    );
    let keeper = kv.store.keep_with(&auth, &kv.secrets(), |run| run);
    keeper.until("it is there", |keeper| keeper.content("db").is_some());
    volume.shell(None, "mkdir ..2");
    volume.write("..2/token", &second);
    volume.shell(None, "ln -s ..2 ..data_tmp && mv -T ..data_tmp ..data && rm -r ..1");
    let logins = || shown(&keeper, &mount);
    let before = logins();
    assert!(before.iter().all(|shown| *shown == first), "the first token's were all logins so far");
    // Until the first one has ended.
    keeper.until("there are other logins", |_| logins().len() >= before.len() + 3);
    assert!(logins()[before.len() + 1..].iter().all(|shown| *shown == second), "one was shown that had gone");
    kv.can_still_read(&keeper);
    let said = keeper.end();
    assert!(said.contains("info: `vault`: logged in anew\n") && !said.contains("cannot"), "{said}");
}

/// The tokens that the keeper has logged in with.
fn shown(keeper: &Keeper<'_>, mount: &str) -> Vec<String> {
    let place = format!("/v1/auth/{mount}/login");
    let requests = keeper.store().proxy.requests();
    let own = requests.iter().filter(|request| request.place() == place);
    own.map(|request| request.json()["jwt"].as_str().expect("a text").to_owned()).collect()
}

/// The token before serves meanwhile, and nobody asks in a loop.
#[test]
fn a_login_that_fails_is_tried_again_and_the_one_before_serves() {
    let Some(kv) = Kv::new() else { return };
    kv.store.tokens(json!({ "token_type": "batch", "token_ttl": "15s", "token_max_ttl": "15s" }));
    let keeper = kv.store.keep(&kv.provider(), &kv.secrets());
    keeper.until("it is there", |keeper| keeper.content("db").is_some());
    kv.store.proxy.add(Fault::Status(500).on(&format!("/v1/auth/{}/login", kv.store.approle)));
    keeper.until("a login has failed", |keeper| keeper.count(&login(&kv)) == 2);
    kv.can_still_read(&keeper);
    kv.store.proxy.reset();
    keeper.until("it has worked", |keeper| keeper.count(&login(&kv)) == 1);
    kv.can_still_read(&keeper);
    let said = keeper.end();
    let text =
        "warn: `vault`: cannot log in anew, the one before serves until its end: cannot log in to Vault by `approle`";
    assert!(said.contains(text), "{said}");
    assert!(said.contains("info: `vault`: the login holds again, after "), "{said}");
    assert!(said.contains("info: `vault`: logged in anew\n"), "{said}");
}

/// Vault locks a role out for everybody after five refusals.
#[test]
fn a_secret_id_that_is_used_up_is_shown_once_more_and_another_at_once() {
    let Some(kv) = Kv::new() else { return };
    kv.store.tokens(json!({ "token_type": "batch", "token_ttl": "4s", "token_max_ttl": "4s" }));
    let [once, other] = [json!({ "num_uses": 1 }), json!({})].map(|of| kv.store.vault.secret_id(&kv.store.approle, of));
    let files = Directory::new();
    let file = files.write("secret-id", &once);
    let auth = format!(
        "auth = {{ method = \"approle\", mount = \"{}\", role_id = \"{}\", secret_id_file = \"{}\" }}\n{}",
        kv.store.approle,
        kv.store.role.role_id,
        file.display(),
        kv.provider()
    );
    let keeper = kv.store.keep_with(&auth, &kv.secrets(), |run| run);
    keeper.until("it is refused", |keeper| keeper.count(&login(&kv)) == 2);
    for _ in 0..10 {
        keeper.signal(Signal::SIGHUP);
        std::thread::sleep(seconds(1));
    }
    assert_eq!(keeper.count(&login(&kv)), 2);
    files.write("secret-id", &other);
    kv.can_still_read(&keeper);
    let said = keeper.end();
    assert!(said.contains("error: `vault`: cannot log in anew, the one before serves until its end: "), "{said}");
}

#[test]
fn a_renewal_of_the_token_that_fails_is_tried_again_and_one_that_is_denied_is_not() {
    let (Some(fails), Some(denied)) = (Kv::new(), Kv::new()) else { return };
    fails.store.tokens(json!({ "token_period": "15s" }));
    fails.store.proxy.add(Fault::Status(500).on("/v1/auth/token/renew-self").times(1));
    denied.store.tokens(json!({ "token_ttl": "10s", "token_max_ttl": "1h" }));
    denied.store.allow("path \"auth/token/renew-self\" { capabilities = [\"deny\"] }");
    let keepers = [&fails, &denied].map(|kv| kv.store.keep(&kv.provider(), &kv.secrets()));
    keepers[0].until("it is renewed in the end", |keeper| keeper.count(RENEWAL) == 2);
    keepers[1].until("there is another login", |keeper| keeper.count(&login(&denied)) == 2);
    assert_eq!((keepers[0].count(&login(&fails)), keepers[1].count(RENEWAL)), (1, 1));
    let [first, second] = keepers;
    fails.can_still_read(&first);
    denied.can_still_read(&second);
    let said = first.end();
    assert!(
        said.contains("cannot renew the login, the one before serves until its end: cannot renew the token"),
        "{said}"
    );
    assert!(said.contains("info: `vault`: the login holds again, after "), "{said}");
    let said = second.end();
    let text = "info: `vault`: the login is not renewed but made anew: cannot renew the token: permission denied\n";
    assert!(said.contains(text) && !said.contains("cannot log in"), "{said}");
}

/// An agent's sink, or whoever else writes the file, puts another token there in time.
#[test]
fn a_token_file_is_read_anew_when_its_token_nears_its_end() {
    let Some(kv) = Kv::new() else { return };
    let parameters = json!({ "policies": [kv.store.policy()], "ttl": "20s", "renewable": false });
    let token = || kv.store.vault.token_with(parameters.clone());
    let files = Directory::new();
    let file = files.write("token", token());
    kv.store.proxy.add(Fault::Status(500).on("/v1/auth/token/lookup-self").times(1));
    let auth = format!("auth = {{ method = \"token\", token_file = \"{}\" }}\n{}", file.display(), kv.provider());
    let keeper = kv.store.keep_with(&auth, &kv.secrets(), |run| run);
    let looks = "GET /v1/auth/token/lookup-self";
    keeper.until("it is looked at", |keeper| keeper.count(looks) == 2);
    // Two thirds of its life later nothing has changed, which is told.
    std::thread::sleep(seconds(15));
    files.write("token", token());
    keeper.until("the other one is looked at", |keeper| keeper.count(looks) == 3);
    kv.can_still_read(&keeper);
    let said = keeper.end();
    assert!(
        said.contains(
            "warn: `vault`: cannot look at the login, the one before serves until its end: cannot look at the token"
        ),
        "{said}"
    );
    assert!(said.contains("error: `vault`: cannot log in anew, the one before serves until its end: the token that was given is still the same\n"), "{said}");
    assert!(said.contains("info: `vault`: logged in anew\n"), "{said}");
}

fn with_token(token: &str) -> impl FnOnce(Run) -> Run {
    let token = token.to_owned();
    move |run| run.env("VAULT_TOKEN", token)
}

#[test]
fn a_given_token_is_renewed_where_it_can_be() {
    let Some(kv) = Kv::new() else { return };
    let token = kv.store.vault.token_with(json!({ "policies": [kv.store.policy()], "ttl": "8s" }));
    let keeper = kv.store.keep_with(&kv.provider(), &kv.secrets(), with_token(&token));
    keeper.until("it is renewed twice", |keeper| keeper.count(RENEWAL) == 2);
    kv.can_still_read(&keeper);
    let said = keeper.end();
    assert!(!said.contains("the token that was given"), "{said}");
    assert_eq!(kv.store.vault.api_as(&token, "GET", "auth/token/lookup-self", json!(null)).0, 200, "it stays");
}

#[test]
fn the_end_of_a_given_token_that_cannot_be_renewed_is_told() {
    let Some(kv) = Kv::new() else { return };
    let token = kv.store.vault.token_with(json!({ "policies": [kv.store.policy()], "ttl": "1h", "renewable": false }));
    let keeper = kv.store.keep_with(&kv.provider(), &kv.secrets(), with_token(&token));
    keeper.until("it is looked at", |keeper| keeper.count("GET /v1/auth/token/lookup-self") == 1);
    kv.can_still_read(&keeper);
    let said = keeper.end();
    assert!(said.contains("warn: `vault`: the token that was given ends in "), "{said}");
    assert!(said.contains(", and is not renewed any more\n"), "{said}");
}

/// An outage until after four fifths of its life: from then on, nobody counts on renewals.
#[test]
fn a_token_that_nothing_replaces_is_still_renewed_after_an_outage() {
    let [Some(variable), Some(file), Some(once)] = [(); 3].map(|()| Kv::new()) else { return };
    let stores = [&variable, &file, &once];
    for kv in stores {
        kv.store.proxy.add(Fault::Status(500).on("/v1/auth/token/renew-self"));
    }
    // Two thirds of its life are over.
    let token = |kv: &Kv| {
        let token = kv.store.vault.token_with(json!({ "policies": [kv.store.policy()], "ttl": "60s" }));
        kv.store.vault.must("POST", "auth/token/renew", json!({ "token": token, "increment": "20s" }));
        token
    };
    once.store.tokens(json!({ "token_ttl": "40s", "token_max_ttl": "1h" }));
    let secret_id = once.store.vault.secret_id(&once.store.approle, json!({ "num_uses": 1 }));
    let third = once.store.keep_with(&once.store.by_approle(&once.provider()), &once.secrets(), |run| {
        run.env("VAULT_SECRET_ID", &secret_id)
    });
    let files = Directory::new();
    let path = files.write("token", token(&file));
    let auth = format!("auth = {{ method = \"token\", token_file = \"{}\" }}\n{}", path.display(), file.provider());
    let second = file.store.keep_with(&auth, &file.secrets(), |run| run);
    let first = variable.store.keep_with(&variable.provider(), &variable.secrets(), with_token(&token(&variable)));
    let keepers = [first, second, third];
    for keeper in &keepers[..2] {
        keeper.until("a renewal has failed", |keeper| keeper.count(RENEWAL) > 0);
    }
    std::thread::sleep(seconds(9));
    stores[..2].iter().for_each(|kv| kv.store.proxy.heal());
    keepers[2].until("another login is refused", |keeper| keeper.count(&login(&once)) == 2);
    once.store.proxy.heal();
    for (kv, keeper) in stores.into_iter().zip(&keepers) {
        let failed = kv.store.proxy.faults();
        keeper.until("it is renewed", |keeper| keeper.count(RENEWAL) > failed);
        kv.can_still_read(keeper);
    }
    for keeper in keepers {
        let said = keeper.end();
        assert!(said.contains("info: `vault`: the login holds again, after "), "{said}");
        assert!(!said.contains("is not renewed any more") && !said.contains("logged in anew"), "{said}");
    }
}

/// A login is nothing that the app could see: what is not issued for it stays as it is.
#[test]
fn logins_that_end_restart_no_supervised_app_and_a_change_does() {
    let Some(kv) = Kv::new() else { return };
    kv.store.tokens(json!({ "token_type": "batch", "token_ttl": "8s", "token_max_ttl": "8s" }));
    let notes = Directory::new();
    let file = notes.write("notes", "");
    std::fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o666)).expect("it is ours");
    let secrets = format!("{}on_change = \"restart\"\n[watch]\nrefresh = \"10s\"\nsplay = \"0s\"\n", kv.secrets());
    let script = format!("echo $$ $(cat \"$0/db\") >> {}; exec sleep 1000", file.display());
    let keeper = kv.store.supervise(&kv.provider(), &secrets, &["/bin/sh", "-c", &script]);
    let noted =
        || -> Vec<String> { std::fs::read_to_string(&file).expect("it is ours").lines().map(str::to_owned).collect() };
    keeper.until("the app runs", |_| noted().len() == 1);
    let first = noted().remove(0);
    let pid = first.split(' ').next().expect("its pid").to_owned();
    let read = format!("GET /v1/{}/data/db?", kv.mount);
    keeper.until("it was logged in and read several times", |keeper| {
        keeper.count(&login(&kv)) >= 4 && keeper.count(&read) >= 3
    });
    assert_eq!(noted(), [first], "it was not started again");
    let children = std::fs::read_to_string(format!("/proc/{of}/task/{of}/children", of = keeper.pid()));
    let children = children.expect("it is there");
    assert!(children.split_whitespace().any(|child| child == pid), "{pid}: {children}");
    kv.put("new");
    keeper.until("it was started with the new value", |_| noted().len() == 2);
    assert!(noted()[1].ends_with(" new") && !noted()[1].starts_with(&format!("{pid} ")), "{:?}", noted());
    keeper.signal(Signal::SIGTERM);
    let (outcome, _) = keeper.ended();
    assert_eq!(outcome.code, 143, "{outcome:?}");
    assert_eq!(outcome.stderr.matches("the app is started anew").count(), 1, "{outcome:?}");
    assert!(outcome.stderr.matches("info: `vault`: logged in anew\n").count() >= 2, "{outcome:?}");
}
