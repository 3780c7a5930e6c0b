//! The fragments of the manifests in docs/kubernetes.md, completed to pods. The examples are whole, and run in tests/cluster.

use std::fs;

use handfast_testservers::{Kubernetes, Vault};
use serde_json::{Value, json};

use crate::markdown;
use crate::pod::{Node, Pod, node};
use crate::support::{canary, hex};

/// A whole manifest: the page has parts of it.
const EXAMPLE: &str = "tests/containers/pod-of-root.yaml";
const PAGE: &str = "docs/kubernetes.md";

/// All that handfast says where the provider is `mock`.
const WARNING: &str = "handfast: warn: the provider `mock` is in use: its secrets are made up\n";

/// What the page has, by section, language and order, and which test runs it.
const BLOCKS: [(&str, &str, &str); 10] = [
    ("An init container", "yaml", "an_init_container_of_the_apps_own_user_needs_no_capability"),
    ("An init container", "yaml", "an_init_container_that_is_root_delivers_to_another_user"),
    ("A wrapped app", "yaml", "a_wrapped_app_logs_in_as_its_service_account"),
    ("A wrapped app", "yaml", "an_image_without_a_shell_gets_it_by_an_init_container"),
    // Without its volume, which podman's `play kube` does not know: with podman's own mount of images.
    ("A wrapped app", "yaml", "an_image_without_a_shell_gets_it_by_an_image_volume"),
    ("Who the pod is", "toml", "a_wrapped_app_logs_in_as_its_service_account"),
    ("Who the pod is", "yaml", "a_wrapped_app_logs_in_as_its_service_account"),
    ("Kubernetes Secrets as the source", "yaml", "a_secret_of_the_clusters_is_a_source"),
    // podman has no termination messages; tests/containers/ends.rs writes one.
    ("Why a pod does not start", "console", ""),
    // Without a service mesh there is none to wait for.
    ("A service mesh", "toml", ""),
];

#[test]
fn each_block_of_the_page_is_run_or_left_out_on_purpose() {
    let found = markdown::page(PAGE).blocks();
    let found: Vec<(&str, &str)> = found.iter().map(|block| (&*block.section, &*block.language)).collect();
    let known: Vec<(&str, &str)> = BLOCKS.iter().map(|(section, language, _)| (*section, *language)).collect();
    assert_eq!(found, known);
    let tests = read("tests/containers/kubernetes.rs");
    for (section, _, test) in BLOCKS.iter().filter(|(.., test)| !test.is_empty()) {
        assert!(tests.contains(&format!("\nfn {test}() {{\n")), "{section}: no test `{test}`");
    }
}

#[test]
fn an_init_container_delivers_as_root_with_one_capability_to_another_user() {
    let Some(node) = node() else { return };
    let pod = node.play(node.documents(&read(EXAMPLE)), &[]);
    pod.runs();
    assert_eq!(pod.inspect("handfast", "{{.EffectiveCaps}} {{.HostConfig.ReadonlyRootfs}}"), "[CAP_CHOWN] true");
    has_the_file(&pod, "10001 10001 400");
    pod.says("app", "7\n");
    assert_eq!(pod.exec("touch /run/handfast/more"), "touch: /run/handfast/more: Read-only file system");
    assert_eq!(pod.exec("echo $DB_PASSWORD_FILE"), "/run/handfast/db-password");
}

#[test]
fn an_init_container_that_is_root_delivers_to_another_user() {
    let Some(node) = node() else { return };
    let mut spec = node.documents(&block(PAGE, "An init container", "yaml", 1)).remove(0)["spec"].take();
    complete(&mut spec, json!({ "containers": [shell_that_reads_it("\"$DB_PASSWORD_FILE\"")] }));
    let pod = node.start("root", spec, &[], &[]);
    pod.runs();
    assert_eq!(pod.inspect("handfast", "{{.EffectiveCaps}}"), "[CAP_CHOWN]");
    has_the_file(&pod, "10001 10001 400");
    pod.says("app", "mock-db");
}

#[test]
fn an_init_container_of_the_apps_own_user_needs_no_capability() {
    let Some(node) = node() else { return };
    let pod = node.start("own", init_container(node, "medium: Memory, "), &[configuration(node)], &[]);
    pod.runs();
    let inspected = pod.inspect("handfast", "{{.EffectiveCaps}} {{.HostConfig.ReadonlyRootfs}} {{.Config.User}}");
    assert_eq!(inspected, "[] true 10001:10001");
    has_the_file(&pod, "10001 10001 400");
    pod.says("app", "mock-db");
}

#[test]
fn a_volume_that_is_no_memory_is_refused() {
    let Some(node) = node() else { return };
    let pod = node.start("disk", init_container(node, ""), &[configuration(node)], &[]);
    pod.refused("handfast", "73", "(Kubernetes: an emptyDir with `medium: Memory`; ");
}

#[test]
fn an_init_container_of_another_user_delivers_to_the_pods_group() {
    let Some(node) = node() else { return };
    let mut documents = node.documents(&read(EXAMPLE));
    let pod = documents.last_mut().expect("the pod is the last");
    pod["metadata"]["name"] = json!("group");
    let spec = &mut pod["spec"];
    spec["securityContext"]["fsGroup"] = json!(10001);
    let context = &mut spec["initContainers"][0]["securityContext"];
    for (key, value) in
        [("runAsUser", json!(10002)), ("runAsGroup", json!(10002)), ("capabilities", json!({ "drop": ["ALL"] }))]
    {
        context[key] = value;
    }
    let pod = node.play(documents, &[]);
    pod.runs();
    let said = pod.logs("handfast").1;
    assert!(said.strip_prefix(WARNING).is_some_and(|more| more.contains("handfast: warn: ")), "{said}");
    assert_eq!(pod.exec("stat -L -c '%u %g %a' /run/handfast/db-password"), "10002 10001 440");
    pod.says("app", "7\n");
}

/// The fragment of the page, with the whole manifest's configuration, and an app that prints its secret.
fn init_container(node: &Node, medium: &str) -> Value {
    let text = block(PAGE, "An init container", "yaml", 0);
    let text = replace(&text, "emptyDir: { medium: Memory, ", &format!("emptyDir: {{ {medium}"));
    let mut spec = node.documents(&text).remove(0)["spec"].take();
    let mut app = shell_that_reads_it("/run/handfast/db-password");
    app["securityContext"] = json!({ "runAsUser": 10001, "runAsGroup": 10001 });
    let mount = json!({ "name": "handfast", "mountPath": "/etc/handfast", "readOnly": true });
    let more = json!({
        "volumes": [{ "name": "handfast", "configMap": { "name": "handfast" } }],
        "initContainers": [{ "name": "handfast", "volumeMounts": [mount] }],
        "containers": [app],
    });
    complete(&mut spec, more);
    spec
}

fn configuration(node: &Node) -> Value {
    node.documents(&read(EXAMPLE)).remove(0)
}

fn shell_that_reads_it(path: &str) -> Value {
    let script = format!("cat {path}; exec sleep infinity");
    json!({ "name": "app", "image": "docker.io/library/busybox:stable", "command": ["sh", "-c", script] })
}

/// The file and the directory are as the app should find them, and the init container has said nothing but that.
#[track_caller]
fn has_the_file(pod: &Pod, rights: &str) {
    assert_eq!((pod.code("handfast"), pod.logs("handfast")), ("0".into(), (String::new(), WARNING.into())));
    assert_eq!(pod.exec("stat -L -c '%u %g %a' /run/handfast/db-password"), rights);
    assert_eq!(pod.exec("cat /run/handfast/db-password"), "mock-db");
    let mount = pod.exec("grep ' /run/handfast ' /proc/mounts");
    assert!(mount.starts_with("tmpfs /run/handfast tmpfs ro,") && mount.contains(",size=1024k"), "{mount}");
    assert_eq!(pod.exec("id -u; id -g"), "10001\n10001");
}

#[test]
fn a_wrapped_app_logs_in_as_its_service_account() {
    let Some(node) = node() else { return };
    let Some(vault) = Vault::start() else { return };
    let (cluster, password) = (Kubernetes::start(), canary());
    vault.enable_kv("kv", 2);
    vault.must("POST", "kv/data/web/db", json!({ "data": { "password": password } }));
    vault.policy("web", "path \"kv/data/web/db\" { capabilities = [\"read\"] }");
    vault.enable_kubernetes("kubernetes", &cluster, &["web"]);
    let ca = json!({ "path": vault.ca_file(), "type": "File" });
    let to_vault = json!({
        "hostNetwork": true,
        "volumes": [{ "name": "ca", "hostPath": ca }],
        "containers": [{
            "name": "app",
            "env": [{ "name": "VAULT_CACERT", "value": "/run/ca.pem" }],
            "volumeMounts": [{ "name": "ca", "mountPath": "/run/ca.pem", "readOnly": true }],
        }],
    });
    let here = |text: &str| replace(text, "https://vault.internal:8200", vault.address());

    // By the token of a volume, which is for Vault alone.
    let mut spec = node.documents(&block(PAGE, "Who the pod is", "yaml", 0)).remove(0)["spec"].take();
    let audience = spec["volumes"][0]["projected"]["sources"][0]["serviceAccountToken"]["audience"].take();
    let token = cluster.token("shop", spec["serviceAccountName"].as_str().expect("a name"), audience.as_str());
    complete(&mut spec, to_vault.clone());
    let mount = json!({ "name": "handfast", "mountPath": "/etc/handfast", "readOnly": true });
    let app = json!({
        "name": "app", "image": "registry.internal/web:1", "command": ["/handfast", "run", "--", "/app/web"],
        "env": [{ "name": "HANDFAST_CONFIG", "value": "/etc/handfast/handfast.toml" }],
        "securityContext": { "runAsUser": 10001, "runAsGroup": 10001 }, "volumeMounts": [mount],
    });
    let volume = json!({ "name": "handfast", "configMap": { "name": "handfast" } });
    complete(&mut spec, json!({ "volumes": [volume], "containers": [app] }));
    let mut configuration = configuration(node);
    configuration["data"]["handfast.toml"] = json!(here(&block(PAGE, "Who the pod is", "toml", 0)));
    let pod = node.start("projected", spec, &[configuration], &[("vault-token", "token", &token)]);
    pod.runs();
    pod.says("app", &format!("\n{password}\n"));
    drop(pod);

    // By the token that the cluster mounts into every pod, whose audience is its own.
    let audience = "https://kubernetes.default.svc.cluster.local";
    let role = json!({
        "bound_service_account_names": ["web"], "bound_service_account_namespaces": ["shop"],
        "audience": audience, "token_policies": ["web"],
    });
    vault.must("POST", "auth/kubernetes/role/web", role);
    let mut spec = node.documents(&here(&block(PAGE, "A wrapped app", "yaml", 0))).remove(0)["spec"].take();
    complete(&mut spec, to_vault);
    let mount =
        json!({ "name": "token", "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount", "readOnly": true });
    let more = json!({
        "volumes": [{ "name": "token", "projected": {} }],
        "containers": [{ "name": "app", "volumeMounts": [mount] }],
    });
    complete(&mut spec, more);
    let pod = node.start("wrapped", spec, &[], &[("token", "token", &cluster.token("shop", "web", None))]);
    pod.runs();
    pod.says("app", &format!("--port 8080\n{password}\n"));
    let environment = pod.exec("tr '\\0' '\\n' </proc/1/environ");
    assert!(environment.lines().any(|line| line == "DB_PASSWORD_FILE=/dev/fd/3"), "{environment}");
    assert!(!environment.contains(&password), "{environment}");
    let status = pod.exec("cat /proc/1/status");
    for line in ["Uid:\t10001\t10001\t10001\t10001", "CapBnd:\t0000000000000000", "NoNewPrivs:\t1", "Seccomp:\t2"] {
        assert!(status.contains(line), "no {line} in {status}");
    }
    assert_eq!(pod.exec("echo $DB_PASSWORD_FILE"), "handfast:vault:kv/web/db#password", "not through handfast");
    assert_eq!(pod.inspect("app", "{{.HostConfig.ReadonlyRootfs}}"), "true");
}

#[test]
fn an_image_without_a_shell_gets_it_by_an_init_container() {
    let Some(node) = node() else { return };
    let mut spec = node.documents(&block(PAGE, "A wrapped app", "yaml", 1)).remove(0)["spec"].take();
    let secret = json!({ "name": "DB_PASSWORD_FILE", "value": "handfast:mock:db" });
    let context = json!({ "runAsUser": 10001, "runAsGroup": 10001 });
    complete(&mut spec, json!({ "containers": [{ "name": "app", "env": [secret], "securityContext": context }] }));
    let pod = node.start("installed", spec, &[], &[]);
    pod.runs();
    assert_eq!((pod.code("handfast"), pod.logs("handfast")), ("0".into(), <(String, String)>::default()));
    assert_eq!(pod.code("app"), "0");
    has_the_secret(&pod.logs("app").0);
}

#[test]
fn an_image_without_a_shell_gets_it_by_an_image_volume() {
    let Some(node) = node() else { return };
    let spec = node.documents(&block(PAGE, "A wrapped app", "yaml", 2)).remove(0)["spec"].take();
    let text = |pointer: &str| spec.pointer(pointer).and_then(Value::as_str).unwrap_or_else(|| panic!("no {pointer}"));
    let reference = text("/volumes/0/image/reference");
    node.podman().must(&["tag", "localhost/handfast:0.1.0", reference]);
    let mount = format!("type=image,source={reference},destination={}", text("/containers/0/volumeMounts/0/mountPath"));
    let command = spec["containers"][0]["command"].as_array().expect("a list").iter();
    let command: Vec<&str> = command.map(|word| word.as_str().expect("a word")).collect();
    let first = ["run", "--rm", "--network", "none", "--user", "10001:10001", "--mount", &mount];
    let image = ["--env", "DB_PASSWORD_FILE=handfast:mock:db", "gcr.io/distroless/static"];
    has_the_secret(&node.podman().must(&[&first[..], &image, &command].concat()));
}

/// The app is the probe, and has its secret as a descriptor.
#[track_caller]
fn has_the_secret(report: &str) {
    let report: Value = serde_json::from_str(report).unwrap_or_else(|error| panic!("{error}: {report}"));
    assert_eq!((&report["argv"], &report["environ"]["DB_PASSWORD_FILE"]), (&json!(["/app"]), &json!("/dev/fd/3")));
    assert_eq!(report["descriptors"][3]["content"], hex("mock-db"));
    assert_eq!(report["status"]["NoNewPrivs"], 1);
}

#[test]
fn a_secret_of_the_clusters_is_a_source() {
    let Some(node) = node() else { return };
    let password = canary();
    let mut spec = node.documents(&block(PAGE, "Kubernetes Secrets as the source", "yaml", 0)).remove(0)["spec"].take();
    let context = json!({ "runAsUser": 10001, "runAsGroup": 10001 });
    let app = json!({ "name": "app", "image": "registry.internal/web:1", "securityContext": context });
    complete(&mut spec, json!({ "containers": [app] }));
    let pod = node.start("secret", spec, &[], &[("source", "db-password", &password)]);
    pod.runs();
    pod.says("app", &format!("\n{password}\n"));
    assert_eq!(pod.exec("tr '\\0' '\\n' </proc/1/environ | grep ^DB_"), "DB_PASSWORD_FILE=/dev/fd/3");
    // As the page says: the source is there too, for the group.
    assert_eq!(pod.exec("cat /run/source/db-password"), password);
    assert_eq!(pod.exec("stat -L -c '%u %g %a' /run/source/db-password"), "0 10001 440");
}

fn read(name: &str) -> String {
    fs::read_to_string(markdown::root().join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// A fenced block of a page, below a heading.
fn block(page: &str, section: &str, language: &str, nth: usize) -> String {
    let blocks = markdown::page(page).blocks().into_iter();
    let found = blocks.filter(|block| block.section == section && block.language == language).nth(nth);
    found.unwrap_or_else(|| panic!("{page}: no {language} under `{section}`")).text()
}

fn replace(text: &str, from: &str, to: &str) -> String {
    assert!(text.contains(from), "no `{from}` in {text}");
    text.replace(from, to)
}

/// Adds what a fragment leaves to its reader; what it says itself stays. Elements of lists are known by their names.
fn complete(of: &mut Value, with: Value) {
    match (of, with) {
        (Value::Object(of), Value::Object(with)) => {
            for (key, value) in with {
                match of.get_mut(&key) {
                    Some(known) => complete(known, value),
                    None => drop(of.insert(key, value)),
                }
            }
        }
        (Value::Array(of), Value::Array(with)) => {
            for item in with {
                match of.iter_mut().find(|known| !item["name"].is_null() && known["name"] == item["name"]) {
                    Some(known) => complete(known, item),
                    None => of.push(item),
                }
            }
        }
        (of, with) => assert_eq!(*of, with, "the manifest says otherwise"),
    }
}
