//! What stands where: asked once for each mount, or said by `mounts`.

use handfast_core::ErrorKind;
use handfast_testkit::run;
use handfast_testservers::{Vault, random};
use serde_json::json;

use crate::audit::Audit;
use crate::support::{as_root, as_token, connect, eventually, mounts, variables, with_params};

/// KV at this mount, with `web/0` to `web/9`.
fn kv(vault: &Vault, mount: &str, version: u8) {
    vault.enable_kv(mount, version);
    for number in 0..10 {
        match version {
            1 => vault.must("POST", &format!("{mount}/web/{number}"), json!({ "n": number })),
            _ => vault.must("POST", &format!("{mount}/data/web/{number}"), json!({ "data": { "n": number } })),
        };
    }
}

#[test]
fn a_mount_is_asked_for_once_however_many_want_to_know() {
    let Some(vault) = Vault::shared() else { return };
    let mount = random("kv-");
    kv(vault, &mount, 2);
    let audit = Audit::start(vault);
    run(async {
        let instance = std::rc::Rc::new(as_root(vault));
        let mut running = tokio::task::JoinSet::new();
        for number in 0..10 {
            let (instance, reference) = (instance.clone(), format!("vault:{mount}/web/{number}"));
            running.spawn_local(async move {
                assert_eq!(instance.value(&reference).await, format!(r#"{{"n":{number}}}"#).as_bytes());
            });
        }
        while let Some(done) = running.join_next().await {
            done.expect("each has its own value");
        }
        assert_eq!(instance.summary().requests, 11);
    });
    let requests = audit.about(&mount);
    let asked = requests.iter().filter(|request| request.starts_with("read sys/internal/ui/mounts/")).count();
    assert_eq!((asked, requests.len()), (1, 11), "{requests:?}");
}

#[test]
fn a_mount_that_is_said_costs_nothing() {
    let Some(vault) = Vault::shared() else { return };
    for (version, kind) in [(1, "kv-v1"), (2, "kv-v2")] {
        let mount = random("kv-");
        kv(vault, &mount, version);
        let audit = Audit::start(vault);
        run(async {
            let variables = variables(vault).with_credential("VAULT_TOKEN", vault.root_token());
            let instance = connect(mounts([(&mount, kind)]), variables);
            assert_eq!(instance.value(&format!("vault:{mount}/web/3")).await, br#"{"n":3}"#);
            assert_eq!(instance.summary().requests, 1);
        });
        let data = if version == 2 { "data/" } else { "" };
        assert_eq!(audit.about(&mount), [format!("read {mount}/{data}web/3")]);
    }
}

/// The longest that is known counts, as it does for Vault.
#[test]
fn mounts_with_several_parts() {
    let Some(vault) = Vault::shared() else { return };
    let team = random("team-");
    let [one, two, three] = ["kv", "more/kv", "kv-1"].map(|name| format!("{team}/{name}"));
    for (mount, version) in [(&one, 2), (&two, 2), (&three, 1)] {
        kv(vault, mount, version);
    }
    run(async {
        let instance = as_root(vault);
        for mount in [&one, &two, &three] {
            assert_eq!(instance.value(&format!("vault:{mount}/web/1")).await, br#"{"n":1}"#, "{mount}");
        }
        let said = mounts([(&one, "kv-v2"), (&format!("/{two}/"), "kv-v2"), (&three, "kv-v1")]);
        let instance = connect(said, variables(vault).with_credential("VAULT_TOKEN", vault.root_token()));
        for mount in [&one, &two, &three] {
            assert_eq!(instance.value(&format!("vault:{mount}/web/1")).await, br#"{"n":1}"#, "{mount}");
        }
        assert_eq!(instance.summary().requests, 3);
    });
}

/// Vault tells what a mount is to whoever has any right below it.
#[test]
fn a_right_to_one_secret_is_enough() {
    let Some(vault) = Vault::shared() else { return };
    let (mount, policy) = (random("kv-"), random("policy-"));
    kv(vault, &mount, 2);
    vault.policy(&policy, &format!("path \"{mount}/data/web/1\" {{ capabilities = [\"read\"] }}"));
    let token = vault.token_with(json!({ "policies": [policy], "no_default_policy": true }));
    run(async {
        let instance = as_token(vault, &token);
        assert_eq!(instance.value(&format!("vault:{mount}/web/1")).await, br#"{"n":1}"#);
        let error = instance.error(&format!("vault:{mount}/web/2")).await;
        assert_eq!(error.kind, ErrorKind::Denied);
        let needed = format!("path \"{mount}/data/web/2\" {{ capabilities = [\"read\"] }}");
        assert!(error.hint.as_deref().unwrap_or_default().contains(&needed), "{:?}", error.hint);
    });
}

/// A wrapping token is such a one, and so is one whose rights are elsewhere.
#[test]
fn a_token_that_is_told_nothing_needs_mounts() {
    let Some(vault) = Vault::shared() else { return };
    let (mount, elsewhere) = (random("kv-"), vault.token(&["default"]));
    kv(vault, &mount, 2);
    run(async {
        for (token, message, cause) in [
            (&*elsewhere, "permission denied", "the token has no right below this mount"),
            ("hvs.no-such-token", "Vault does not take the token", "the token has expired"),
        ] {
            let error = as_token(vault, token).error(&format!("vault:{mount}/web/1")).await;
            assert_eq!(error.kind, ErrorKind::Denied);
            assert_eq!(error.message, format!("cannot ask what stands at `{mount}/web/1`: {message}"));
            let hint = error.hint.expect("it says what to do");
            assert!(hint.contains(cause), "{hint}");
            assert!(hint.contains(&format!("`mounts = {{ {mount} = \"kv-v2\" }}`")), "{hint}");
        }
    });
}

/// Nothing is asked then, and what is refused is the secret itself.
#[test]
fn where_mounts_says_it_a_token_needs_no_more_than_the_secrets_right() {
    let Some(vault) = Vault::shared() else { return };
    let (mount, elsewhere) = (random("kv-"), vault.token(&["default"]));
    kv(vault, &mount, 2);
    run(async {
        let variables = variables(vault).with_credential("VAULT_TOKEN", &elsewhere);
        let error = connect(mounts([(&mount, "kv-v2")]), variables).error(&format!("vault:{mount}/web/1")).await;
        assert_eq!(error.kind, ErrorKind::Denied);
        assert_eq!(error.message, format!("cannot read `{mount}/web/1`: permission denied"));
    });
}

#[test]
fn a_refusal_is_each_paths_own() {
    let Some(vault) = Vault::shared() else { return };
    let (team, policy) = (random("team-"), random("policy-"));
    let (mine, theirs) = (format!("{team}/mine"), format!("{team}/theirs"));
    kv(vault, &mine, 2);
    kv(vault, &theirs, 2);
    vault.policy(&policy, &format!("path \"{mine}/data/web/*\" {{ capabilities = [\"read\"] }}"));
    let token = vault.token(&[&policy]);
    run(async {
        let instance = std::rc::Rc::new(as_token(vault, &token));
        let ask = |reference: String| {
            let instance = instance.clone();
            tokio::task::spawn_local(async move { instance.fetch(&reference).await.map(drop).map_err(|e| e.kind) })
        };
        let asked = ["theirs", "mine", "theirs", "mine"].map(|name| ask(format!("vault:{team}/{name}/web/1")));
        let mut answers = Vec::new();
        for answer in asked {
            answers.push(answer.await.expect("it ends"));
        }
        let denied = Err(ErrorKind::Denied);
        assert_eq!(answers, [denied, Ok(()), denied, Ok(())]);
    });
}

/// A secret of such a mount is not missing: it could be optional.
#[test]
fn a_mount_that_is_said_wrongly_is_no_mount_without_secrets() {
    let Some(vault) = Vault::shared() else { return };
    let mount = random("kv-");
    kv(vault, &mount, 2);
    run(async {
        for kind in ["kv-v1", "other"] {
            let variables = variables(vault).with_credential("VAULT_TOKEN", vault.root_token());
            let instance = connect(mounts([(&mount, kind)]), variables);
            for (verb, path) in [("read", "web/1"), ("list", "web/*")] {
                let error = instance.error(&format!("vault:{mount}/{path}")).await;
                let why = format!("`mounts` says that `{mount}` is another mount than KV 2, and it is one");
                let path = path.trim_end_matches('*');
                assert_eq!(error.kind, ErrorKind::Malformed, "{error}");
                assert_eq!(error.message, format!("cannot {verb} `{mount}/{path}`: {why}"));
                assert_eq!(error.hint, Some(format!("write `mounts = {{ {mount} = \"kv-v2\" }}`")));
            }
        }
        let variables = variables(vault).with_credential("VAULT_TOKEN", vault.root_token());
        let instance = connect(mounts([(&mount, "other")]), variables);
        let written = with_params(&format!("vault:{mount}/web/1"), &json!({ "n": 2 }));
        let error = instance.provider().fetch(&written).await.err().expect("it is refused");
        assert_eq!(error.kind, ErrorKind::Malformed, "{error}");
        assert_eq!(error.hint, Some(format!("write `mounts = {{ {mount} = \"kv-v2\" }}`")));
    });
}

/// KV 1 answers what is asked of KV 2 as it does for a secret that is not there.
#[test]
fn a_mount_of_kv_1_that_is_said_to_be_kv_2_is_named_where_nothing_is_found() {
    let Some(vault) = Vault::shared() else { return };
    let mount = random("kv-");
    kv(vault, &mount, 1);
    run(async {
        let variables = variables(vault).with_credential("VAULT_TOKEN", vault.root_token());
        let instance = connect(mounts([(&mount, "kv-v2")]), variables);
        let hint = format!("`mounts` says that `{mount}` is KV 2: if it is KV 1, nothing is found there");
        for path in ["web/1", "web/*"] {
            let error = instance.error(&format!("vault:{mount}/{path}")).await;
            assert_eq!((error.kind, error.hint), (ErrorKind::NotFound, Some(hint.clone())), "{path}");
        }
    });
}

#[test]
fn a_mount_that_becomes_kv_2_is_asked_about_again() {
    let Some(vault) = Vault::shared() else { return };
    let mount = random("kv-");
    kv(vault, &mount, 1);
    run(async {
        let instance = as_root(vault);
        assert_eq!(instance.value(&format!("vault:{mount}/web/1")).await, br#"{"n":1}"#);
        vault.must("POST", &format!("sys/mounts/{mount}/tune"), json!({ "options": { "version": "2" } }));
        eventually("it is KV 2", || vault.api("GET", &format!("{mount}/config"), json!(null)).0 == 200);
        let error = instance.error(&format!("vault:{mount}/web/1")).await;
        assert_eq!(error.kind, ErrorKind::Unavailable, "{error}");
        let told = format!("cannot read `{mount}/web/1`: the mount has become KV 2 since the start asked about it");
        assert_eq!(error.message, told);
        assert_eq!(instance.value(&format!("vault:{mount}/web/1")).await, br#"{"n":1}"#);
    });
}
