//! What goes wrong reaches the person who runs `kubectl describe pod`: the exit code and the termination message.

use handfast_testservers::{Vault, random};
use serde_json::{Value, json};

use crate::manifests::{example, pod, reconfigure};
use crate::node::{Node, node};
use crate::store::{own_vault, vault};
use crate::support::canary;

/// The example with a change to its pod and its configuration: how its init container ends, what it says, and that nothing of it stays.
#[track_caller]
fn ends(change: impl Fn(&mut Value, &mut String), code: i32, message: &[&str]) {
    let Some(node) = node() else { return };
    let Some(vault) = vault(node) else { return };
    ends_with(node, vault, change, code, message);
}

/// The same with this Vault.
#[track_caller]
fn ends_with(
    node: &'static Node,
    vault: &Vault,
    change: impl Fn(&mut Value, &mut String),
    code: i32,
    message: &[&str],
) {
    let mut documents = example(node, "init-container.yaml", vault);
    let configuration = documents[1]["data"]["handfast.toml"].as_str().expect("a text");
    // Its other secret is found.
    let mut configuration = configuration.replace("kv/web/db#", &format!("kv/web/{}#", stored(vault)));
    change(pod(&mut documents), &mut configuration);
    documents[1]["data"]["handfast.toml"] = json!(configuration);
    let namespace = node.namespace("restricted");
    namespace.create(&documents);
    let end = namespace.end_of("web", "handfast");
    assert_eq!(end["exitCode"], code, "{end}");
    let described = namespace.must(&["describe", "pod", "web"]);
    for part in message {
        assert!(end["message"].as_str().is_some_and(|text| text.contains(part)), "no {part} in {end}");
    }
    assert!(described.contains(&format!("Exit Code:    {code}")), "{described}");
    assert!(described.contains(message[0]), "{described}");
    let started = namespace.status("web", "web").expect("it is there")["state"].clone();
    assert_eq!(started["waiting"]["reason"], "PodInitializing", "{started}");
    assert_eq!(namespace.volume("web", "secrets"), "", "what is left in the volume");
}

/// The name of a secret that is in the store.
fn stored(vault: &Vault) -> String {
    let secret = random("found-");
    vault.must("POST", &format!("kv/data/web/{secret}"), json!({ "data": { "password": canary() } }));
    secret
}

#[test]
fn a_role_that_vault_does_not_know() {
    ends(
        |_, configuration| *configuration = configuration.replace("role = \"web\"", "role = \"other\""),
        77,
        &["there is no such role", "(denied, exit 77)"],
    );
}

#[test]
fn a_service_account_that_the_role_is_not_for() {
    ends(
        |pod, _| pod["serviceAccountName"] = json!("default"),
        77,
        &["the role is not for this pod's service account", "(denied, exit 77)"],
    );
}

#[test]
fn a_secret_that_is_not_there() {
    ends(
        |_, configuration| *configuration = configuration.replace("kv/web/session#", "kv/web/nowhere#"),
        66,
        &["vault:kv/web/nowhere#key", "(not-found, exit 66)"],
    );
}

#[test]
fn a_secret_that_the_policy_does_not_allow() {
    ends(
        |_, configuration| *configuration = configuration.replace("kv/web/session#", "kv/other/session#"),
        77,
        &["vault:kv/other/session#key", "(denied, exit 77)"],
    );
}

#[test]
fn a_token_for_another_audience() {
    ends(
        |pod, _| {
            let token = &mut pod["volumes"][2]["projected"]["sources"][0]["serviceAccountToken"];
            token["audience"] = json!("elsewhere");
        },
        77,
        &["log in", "(denied, exit 77)"],
    );
}

#[test]
fn a_vault_that_is_sealed() {
    let Some(node) = node() else { return };
    let Some(vault) = own_vault(node) else { return };
    let change = |_: &mut Value, configuration: &mut String| {
        vault.seal();
        configuration.push_str("[fetch]\ndeadline = \"5s\"\n");
    };
    ends_with(node, &vault, change, 69, &["sealed", "(unavailable, exit 69)"]);
}

#[test]
fn a_volume_on_disk() {
    ends(
        |pod, _| pod["volumes"][0]["emptyDir"] = json!({}),
        73,
        &["`/run/handfast`: it is on ext4, not on a tmpfs", "(deliver, exit 73)"],
    );
}

#[test]
fn a_directory_without_a_volume() {
    ends(
        |pod, _| {
            let mounts = pod["initContainers"][0]["volumeMounts"].as_array_mut().expect("a list");
            mounts.retain(|mount| mount["name"] != "secrets");
        },
        73,
        &["`/run/handfast`: neither it nor `/run` exists", "(deliver, exit 73)"],
    );
}

#[test]
fn a_failed_init_container_is_started_again_until_the_secret_is_there() {
    let Some(node) = node() else { return };
    let Some(vault) = vault(node) else { return };
    let mut documents = example(node, "init-container.yaml", vault);
    reconfigure(&mut documents, "kv/web/session#", "kv/web/late#");
    reconfigure(&mut documents, "kv/web/db#", &format!("kv/web/{}#", stored(vault)));
    let namespace = node.namespace("restricted");
    namespace.create(&documents);
    assert_eq!(namespace.end_of("web", "handfast")["exitCode"], 66);
    namespace.wait_for("the back-off", |namespace| {
        (namespace.status("web", "handfast")?["state"]["waiting"]["reason"] == "CrashLoopBackOff").then_some(())
    });
    assert_eq!(namespace.volume("web", "secrets"), "");
    vault.must("POST", "kv/data/web/late", json!({ "data": { "key": "late" } }));
    namespace.wait_until_ready("web");
    assert_eq!(namespace.shell("web", "web", "cat /run/handfast/session-key"), "late");
    // Nothing of the failed start is in the volume.
    let sets = namespace.shell("web", "web", "ls -a /run/handfast | grep -c '^..handfast_'");
    assert_eq!(sets, "1");
}
