//! Pods of manifests, played by podman where a cluster would have kubelet, and judged by what came of them.
//!
//! podman 4.3 does not do all that kubelet does. What it leaves out is done here, and the rest of a manifest is played as it is:
//! - An `emptyDir` with `medium: Memory` would be a directory on disk. It becomes a tmpfs of that size.
//! - Secrets would be mounted without being decoded, projected tokens not at all. They become directories like kubelet's.
//! - `fsGroup` would be nobody's. It becomes a group of the processes, of those directories and of that tmpfs.
//! - Volumes and ConfigMaps would be all pods' together. Their names begin with the pod's.
//! - An init container that has ended would be started again, or removed. It is neither: `restartPolicy`, and an annotation.
//! - Nothing is pulled: `imagePullPolicy`.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::process::{Command, Output};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use handfast_testservers::Podman;
use serde_json::{Map, Value, json};

use crate::images::{busybox, static_program};
use crate::support::{Directory, Yaml};

/// The wrapped app: it prints its arguments and its secret.
const WEB: &str = "#!/bin/sh\necho \"$*\"\ncat \"$DB_PASSWORD_FILE\"\necho\nexec sleep infinity\n";

/// The images of the manifests, each with the files that it is made of.
const IMAGES: [(&str, &[&str], &str); 4] = [
    ("handfast:0.1.0", &["handfast"], "FROM scratch\nCOPY handfast /handfast\nENTRYPOINT [\"/handfast\"]\n"),
    (
        "docker.io/library/busybox:stable",
        &["busybox"],
        "FROM scratch\nCOPY busybox /bin/busybox\nRUN [\"/bin/busybox\", \"--install\", \"-s\", \"/bin\"]\n",
    ),
    (
        "registry.internal/web:1",
        &["web"],
        "FROM docker.io/library/busybox:stable\nCOPY --from=handfast:0.1.0 /handfast /handfast\nCOPY web /app/web\n",
    ),
    ("gcr.io/distroless/static", &["probe"], "FROM scratch\nCOPY probe /app\n"),
];

/// What pods run on.
pub struct Node {
    podman: Podman,
    yaml: Yaml,
}

/// The one of this process, with all images of the manifests.
pub fn node() -> Option<&'static Node> {
    static NODE: OnceLock<Option<Node>> = OnceLock::new();
    let start = || {
        let (podman, yaml) = (Podman::start()?, Yaml::find()?);
        let files = Directory::new();
        for name in ["handfast", "probe"] {
            fs::copy(static_program(name), files.path().join(name)).expect("it was built");
        }
        fs::copy(busybox().expect("podman's own image has it"), files.path().join("busybox")).expect("it was found");
        // The tools have everything that helps to debug them.
        let stripped = Command::new("strip").arg(files.path().join("probe")).status();
        assert!(stripped.is_ok_and(|status| status.success()), "cannot strip the probe");
        fs::set_permissions(files.write("web", WEB), Permissions::from_mode(0o755)).expect("it is ours");
        for (name, needs, lines) in IMAGES {
            // No more than it needs: the client compresses it all.
            let context = Directory::new();
            for file in needs {
                fs::copy(files.path().join(file), context.path().join(file)).expect("it is there");
            }
            context.write("Dockerfile", lines);
            podman.build(name, context.path());
        }
        Some(Node { podman, yaml })
    };
    // These first for their message, which every test needs.
    (Podman::can_start() && Yaml::find().is_some()).then(|| NODE.get_or_init(start).as_ref()).flatten()
}

/// A file that the cluster mounts: the volume, the name in it, the content.
pub type File<'a> = (&'a str, &'a str, &'a str);

impl Node {
    /// The engine.
    pub fn podman(&self) -> &Podman {
        &self.podman
    }

    /// The documents of a manifest.
    pub fn documents(&self, text: &str) -> Vec<Value> {
        self.yaml.parse(text).unwrap_or_else(|why| panic!("{why}"))
    }

    /// Starts a pod of this name, beside these other documents. Its init containers have ended by then.
    pub fn start(&self, name: &str, spec: Value, others: &[Value], files: &[File]) -> Pod<'_> {
        let metadata = json!({ "name": name });
        let pod = json!({ "apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec });
        self.play(others.iter().cloned().chain([pod]).collect(), files)
    }

    /// Plays a manifest, whose last document is the pod.
    pub fn play(&self, mut documents: Vec<Value>, files: &[File]) -> Pod<'_> {
        let (pod, others) = documents.split_last_mut().expect("there is a pod");
        assert_eq!(pod["kind"], "Pod", "{pod}");
        let name = pod["metadata"]["name"].as_str().expect("it has one").to_owned();
        let network = if pod["spec"]["hostNetwork"] == true { "host" } else { "none" };
        let (directories, played) = (Vec::new(), Err("not yet".into()));
        let mut started = Pod { podman: &self.podman, name, directories, played };
        started.do_as_kubelet(pod, files);
        others.iter_mut().for_each(|other| started.rename(&mut other["metadata"]));
        let manifest = Directory::new();
        let text: Vec<String> = documents.iter().map(Value::to_string).collect();
        let path = manifest.write("manifest.yaml", text.join("\n---\n"));
        let output = self.podman.output(&["play", "kube", "--network", network, &path.display().to_string()]);
        started.played = if output.status.success() { Ok(()) } else { Err(text_of(&output)) };
        started
    }
}

/// A pod, which ends with its value.
pub struct Pod<'node> {
    podman: &'node Podman,
    name: String,
    directories: Vec<Directory>,
    played: Result<(), String>,
}

impl Pod<'_> {
    fn do_as_kubelet(&mut self, pod: &mut Value, files: &[File]) {
        pod["metadata"]["annotations"]["io.podman.annotations.init.container.type"] = json!("always");
        let spec = &mut pod["spec"];
        spec["restartPolicy"] = json!("Never");
        let context = spec.get_mut("securityContext").and_then(Value::as_object_mut);
        let group = context.and_then(|context| {
            let group = context.remove("fsGroup")?;
            context.insert("supplementalGroups".to_owned(), json!([group]));
            group.as_u64()
        });
        let user = spec.pointer("/containers/0/securityContext/runAsUser").and_then(Value::as_u64);
        let mut in_memory = Vec::new();
        for volume in lists(spec, &["volumes"]) {
            let name = volume["name"].as_str().expect("it has one").to_owned();
            let volume = volume.as_object_mut().expect("it has a name");
            let memory = volume.get("emptyDir").is_some_and(|volume| volume["medium"] == "Memory");
            if memory {
                in_memory.push(self.make_tmpfs(&name, volume["emptyDir"]["sizeLimit"].as_str(), group));
            } else if let Some(secret) = volume.remove("secret") {
                let mode = secret["defaultMode"].as_u64().unwrap_or(0o644) | if group.is_some() { 0o440 } else { 0 };
                self.mount(volume, &name, files, (0, group.unwrap_or(0), mode));
            } else if volume.remove("projected").is_some() {
                self.mount(volume, &name, files, (user.unwrap_or(0), 0, 0o600));
            } else if let Some(map) = volume.get_mut("configMap") {
                self.rename(map);
            }
        }
        lists(spec, &["volumes"]).for_each(|volume| self.rename(volume));
        for container in lists(spec, &["initContainers", "containers"]) {
            container["imagePullPolicy"] = json!("Never");
            lists(container, &["volumeMounts"]).for_each(|mount| self.rename(mount));
        }
        if !in_memory.is_empty() {
            self.podman.hold(&self.full("holder"), &in_memory.iter().map(String::as_str).collect::<Vec<_>>());
        }
    }

    /// Pages are counted, since podman takes `size` for a quota of the disk's.
    fn make_tmpfs(&self, name: &str, size: Option<&str>, group: Option<u64>) -> String {
        let size = size.and_then(|size| size.strip_suffix("Mi")).expect("each has a limit, in MiB");
        let pages = size.parse::<u64>().expect("a number") * 256;
        let rights = group.map_or("mode=0777".to_owned(), |group| format!("mode=2777,gid={group}"));
        let options = format!("o=nr_blocks={pages},{rights}");
        let name = self.full(name);
        let words = ["volume", "create", "--opt", "type=tmpfs", "--opt", "device=tmpfs", "--opt", &options, &name];
        self.podman.must(&words);
        name
    }

    /// Files of this owner, group and mode behind `..data`, which changes when they do.
    fn mount(&mut self, volume: &mut Map<String, Value>, name: &str, files: &[File], rights: (u64, u64, u64)) {
        let directory = Directory::in_memory();
        let id = |number: u64| Some(u32::try_from(number).expect("ids are small"));
        fs::create_dir(directory.path().join("..2026_01_01")).expect("it is ours");
        symlink("..2026_01_01", directory.path().join("..data")).expect("it is ours");
        for (_, file, content) in files.iter().filter(|(volume, ..)| *volume == name) {
            let path = directory.write(&format!("..data/{file}"), content);
            chown(&path, id(rights.0), id(rights.1)).expect("root may");
            fs::set_permissions(&path, Permissions::from_mode(id(rights.2).expect("a mode"))).expect("root may");
            symlink(format!("..data/{file}"), directory.path().join(file)).expect("it is ours");
        }
        assert!(directory.names().len() > 2, "nothing is in the volume {name}");
        volume.insert("hostPath".to_owned(), json!({ "path": directory.text(), "type": "Directory" }));
        self.directories.push(directory);
    }

    /// It did start: all init containers ended with 0.
    #[track_caller]
    pub fn runs(&self) {
        let logs = || text_of(&self.podman.output(&["logs", &self.full("handfast")]));
        assert!(self.played.is_ok(), "{:?}: {}", self.played, logs());
    }

    /// It did not, since an init container ended with this code and this error.
    #[track_caller]
    pub fn refused(&self, container: &str, code: &str, error: &str) {
        assert!(self.played.is_err(), "it was started");
        assert_eq!(self.inspect(container, "{{.State.ExitCode}}"), code, "{:?}", self.played);
        assert!(self.logs(container).1.contains(error), "{:?}", self.logs(container));
        assert_eq!(self.inspect("app", "{{.State.Status}}"), "created");
    }

    /// What a container has written to standard output and standard error.
    pub fn logs(&self, container: &str) -> (String, String) {
        let output = self.podman.output(&["logs", &self.full(container)]);
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (text(&output.stdout), text(&output.stderr))
    }

    /// Waits until a container has written this to standard output, and nothing else.
    #[track_caller]
    pub fn says(&self, container: &str, text: &str) {
        let deadline = Instant::now() + Duration::from_secs(20);
        while self.logs(container).0 != text {
            assert!(Instant::now() < deadline, "not {text:?}, but {:?}", self.logs(container));
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// The code of a container's end, for which this waits.
    pub fn code(&self, container: &str) -> String {
        self.podman.must(&["wait", &self.full(container)])
    }

    /// A property of a container's.
    pub fn inspect(&self, container: &str, format: &str) -> String {
        self.podman.must(&["inspect", "--format", format, &self.full(container)])
    }

    /// What a script prints that is started in the app's container, beside the app.
    pub fn exec(&self, script: &str) -> String {
        text_of(&self.podman.output(&["exec", &self.full("app"), "sh", "-c", script])).trim().to_owned()
    }

    fn rename(&self, named: &mut Value) {
        named["name"] = json!(self.full(named["name"].as_str().expect("it has a name")));
    }

    /// The name that podman has for one of its containers, and of its volumes.
    fn full(&self, name: &str) -> String {
        format!("{}-{name}", self.name)
    }
}

impl Drop for Pod<'_> {
    fn drop(&mut self) {
        // What is left of it goes with podman: its removal would take seconds.
        for words in [&["pod", "kill", &self.name][..], &["kill", &self.full("holder")]] {
            self.podman.output(words);
        }
    }
}

/// The elements of those of these lists that are there.
fn lists<'a>(spec: &'a mut Value, names: &'a [&str]) -> impl Iterator<Item = &'a mut Value> {
    let lists = spec.as_object_mut().expect("it has containers").iter_mut();
    lists.filter(|(name, _)| names.contains(&name.as_str())).filter_map(|(_, list)| list.as_array_mut()).flatten()
}

fn text_of(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}
