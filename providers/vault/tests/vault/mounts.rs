//! The kinds of mounts: requested once for each mount, or from the setting `mounts`.

use handfast_core::ErrorKind;
use handfast_testkit::run;
use handfast_testservers::{Vault, random};
use serde_json::json;

use crate::audit::Audit;
use crate::support::{as_root, as_token, connect, eventually, mounts, variables, with_params};

/// A KV mount of this version with `web/0` to `web/9`.
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
fn a_mount_is_requested_once_for_all_fetches() {
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
fn a_configured_mount_needs_no_request() {
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

/// The longest known mount counts, as in Vault.
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
        let settings = mounts([(&one, "kv-v2"), (&format!("/{two}/"), "kv-v2"), (&three, "kv-v1")]);
        let instance = connect(settings, variables(vault).with_credential("VAULT_TOKEN", vault.root_token()));
        for mount in [&one, &two, &three] {
            assert_eq!(instance.value(&format!("vault:{mount}/web/1")).await, br#"{"n":1}"#, "{mount}");
        }
        assert_eq!(instance.summary().requests, 3);
    });
}

/// Vault discloses a mount to any token with a right below it.
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

/// A wrapping token has no right below the mount, and neither has a token for other paths.
#[test]
fn a_token_without_a_right_below_the_mount_needs_the_setting() {
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
            let hint = error.hint.expect("there is a hint");
            assert!(hint.contains(cause), "{hint}");
            assert!(hint.contains(&format!("`mounts = {{ {mount} = \"kv-v2\" }}`")), "{hint}");
        }
    });
}

/// No request for the mount is sent then, so the refusal is the secret's.
#[test]
fn with_the_setting_a_token_needs_only_the_right_to_the_secret() {
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
fn a_refusal_is_for_one_path_only() {
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
        let fetches = ["theirs", "mine", "theirs", "mine"].map(|name| ask(format!("vault:{team}/{name}/web/1")));
        let mut answers = Vec::new();
        for answer in fetches {
            answers.push(answer.await.expect("it ends"));
        }
        let denied = Err(ErrorKind::Denied);
        assert_eq!(answers, [denied, Ok(()), denied, Ok(())]);
    });
}

/// A secret of such a mount must not count as missing, because it may be optional.
#[test]
fn a_wrong_setting_does_not_make_secrets_missing() {
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

/// A KV 1 mount responds to a request for KV 2 as if the secret were missing.
#[test]
fn a_kv_1_mount_configured_as_kv_2_is_named_if_a_secret_is_not_found() {
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
fn a_mount_that_becomes_kv_2_is_requested_again() {
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
        let reported = format!("cannot read `{mount}/web/1`: the mount has become KV 2 since the start asked about it");
        assert_eq!(error.message, reported);
        assert_eq!(instance.value(&format!("vault:{mount}/web/1")).await, br#"{"n":1}"#);
    });
}
