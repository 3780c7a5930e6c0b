//! Images like those that the authors of programs publish, made of this machine's own programs and of what they load.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use handfast_testservers::{Directory, Docker};

use crate::images::static_program;
use crate::support::{self, find_program, require};

/// The image `handfast`, and `busybox` as its authors publish it.
pub fn build_own(docker: &Docker) {
    let context = Directory::new();
    fs::copy(static_program("handfast"), context.path().join("handfast")).expect("it was built");
    context.write("Dockerfile", "FROM scratch\nCOPY handfast /handfast\nENTRYPOINT [\"/handfast\"]\n");
    docker.build("handfast", context.path(), &[]);
    build(docker, "busybox", &[], "CMD [\"sh\"]\n");
}

/// `postgres`: its user is 999, its data directory is a volume, and its entrypoint starts as root.
pub fn build_postgres(docker: &Docker) {
    let bin = program("initdb").parent().expect("it is in a directory").to_owned();
    let version = bin.parent().and_then(Path::file_name).expect("a version").to_string_lossy().into_owned();
    let lib = Path::new("/usr/lib/postgresql").join(&version).join("lib");
    let mut files: Vec<PathBuf> = ["postgres", "initdb", "psql"].map(|name| bin.join(name)).into();
    files.extend(["plpgsql.so", "dict_snowball.so"].map(|name| lib.join(name)));
    files.extend([program("gosu"), Path::new("/usr/share/postgresql").join(version), "/usr/share/zoneinfo".into()]);
    let entrypoint = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/containers/postgres-entrypoint");
    let lines = format!(
        "COPY extra /usr/local/bin/docker-entrypoint.sh\n\
         RUN {} && mkdir -p /var/lib/postgresql/data /var/run/postgresql && chmod 2777 /var/run/postgresql && \
         chown -R 999:999 /var/lib/postgresql /var/run/postgresql && chmod 755 /usr/local/bin/docker-entrypoint.sh\n\
         ENV PGDATA=/var/lib/postgresql/data PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:{}\n\
         VOLUME /var/lib/postgresql/data\nENTRYPOINT [\"docker-entrypoint.sh\"]\nCMD [\"postgres\"]\n",
        account("postgres", 999, "/var/lib/postgresql"),
        bin.display()
    );
    build_with(docker, "postgres", &files, &lines, Path::new(entrypoint));
}

/// `redis`: its user is 999, and owns the volume.
pub fn build_redis(docker: &Docker) {
    let lines = format!("RUN {}\nVOLUME /data\n", account("redis", 999, "/data"));
    build(docker, "redis", &["redis-server", "redis-cli"].map(program), &lines);
}

/// `nginx`: its user is 101.
pub fn build_nginx(docker: &Docker) {
    let lines = format!("RUN {} && mkdir -p /var/log/nginx /var/lib/nginx\n", account("nginx", 101, "/nonexistent"));
    build(docker, "nginx", &[program("nginx")], &lines);
}

/// `python`, of which `python:3-slim` is another name: Debian's, with its whole library, and with `useradd`.
pub fn build_python(docker: &Docker) {
    let python = PathBuf::from("/usr/bin/python3");
    let script = "import sysconfig; print(sysconfig.get_path('stdlib'))";
    let library = Command::new(&python).args(["-I", "-c", script]).output().expect("Debian's python3 is there");
    let library = PathBuf::from(String::from_utf8_lossy(&library.stdout).trim());
    let modules = fs::read_dir(library.join("lib-dynload")).expect("it has some");
    let mut files: Vec<PathBuf> = modules.map(|entry| entry.expect("it is there").path()).collect();
    files.extend([python, library, program("useradd"), "/etc/login.defs".into()]);
    build(docker, "python", &files, "");
    docker.must(&["tag", "python", "python:3-slim"]);
}

/// `node`.
pub fn build_node(docker: &Docker) {
    let node = program("node");
    let lines = format!("ENV PATH=/usr/local/bin:/usr/bin:/bin:{}\n", node.parent().expect("absolute").display());
    build(docker, "node", &[node], &lines);
}

/// `eclipse-temurin:17-jre`: as much of this machine's Java as Spring needs.
pub fn build_java(docker: &Docker) {
    let directory = support::Directory::on_disk();
    let java = directory.path().join("java");
    let modules = "java.desktop,java.logging,java.management,java.naming,java.sql,jdk.httpserver,jdk.unsupported";
    let mut jlink = Command::new(program("jlink"));
    jlink.args(["--add-modules", modules, "--strip-debug", "--output"]).arg(&java);
    let output = jlink.output().expect("jlink starts");
    assert!(output.status.success(), "{output:?}");
    let parts = ["lib", "lib/server"].map(|name| fs::read_dir(java.join(name)).expect("each Java has it"));
    let parts = parts.into_iter().flatten().map(|entry| entry.expect("it is there").path());
    let mut files: Vec<PathBuf> = parts.filter(|path| path.extension().is_some_and(|end| end == "so")).collect();
    files.extend([java.join("bin/java"), java.clone()]);
    let lines = format!("RUN ln -s {}/bin/java /usr/local/bin/java\n", java.display());
    build(docker, "eclipse-temurin:17-jre", &files, &lines);
}

/// Whether all that the images are made of is here.
pub fn is_complete(names: &[&str]) -> bool {
    let missing = names.iter().find(|name| find_program(name).is_none());
    require(missing.is_none(), &format!("{} (see PROGRAMS in tests/run)", missing.unwrap_or(&"")))
}

fn build(docker: &Docker, name: &str, files: &[PathBuf], lines: &str) {
    build_with(docker, name, files, lines, Path::new("/dev/null"));
}

/// busybox as a shell, root's account, these files with the libraries that they need, under their own names, and more lines of
/// the Dockerfile, which find one more file as `extra`.
fn build_with(docker: &Docker, name: &str, files: &[PathBuf], lines: &str, extra: &Path) {
    let context = Directory::new();
    let mut tar = Command::new("tar");
    tar.args(["--create", "--dereference", "--hard-dereference", "--directory=/", "--exclude=__pycache__"]);
    tar.args(["--exclude=/*/python3*/test", "--exclude=/*/python3*/config-*", "--exclude=/usr/share/postgresql/*/man"]);
    tar.arg(format!("--file={}", context.file("files.tar"))).args(["--absolute-names", "--files-from=/dev/null"]);
    let output = tar.args(with_libraries(files)).output().expect("tar starts");
    assert!(output.status.success(), "{output:?}");
    fs::copy(program("busybox"), context.path().join("busybox")).expect("it was found");
    context.write("extra", fs::read(extra).expect("it is there"));
    let dockerfile = format!(
        "FROM scratch\nADD files.tar /\nCOPY busybox /bin/busybox\nRUN [\"/bin/busybox\", \"--install\", \"-s\", \"/bin\"]\n\
         RUN mkdir -p /etc /root /run /usr/local/bin && mkdir -m 1777 /tmp && {}\n{lines}",
        account("root", 0, "/root")
    );
    context.write("Dockerfile", dockerfile);
    docker.build(name, context.path(), &[]);
}

fn account(name: &str, id: u32, home: &str) -> String {
    format!(
        "echo '{name}:x:{id}:{id}::{home}:/bin/sh' >>/etc/passwd && echo '{name}:x:{id}:' >>/etc/group && \
         mkdir -p {home} && chown {id}:{id} {home}"
    )
}

fn with_libraries(files: &[PathBuf]) -> BTreeSet<PathBuf> {
    let mut all: BTreeSet<PathBuf> = files.iter().cloned().collect();
    for file in files.iter().filter(|file| file.is_file()) {
        let output = Command::new("ldd").arg(file).output().expect("ldd starts");
        // Nothing of a file that is static.
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        all.extend(text.split_whitespace().filter(|word| word.starts_with('/')).map(PathBuf::from));
    }
    all
}

fn program(name: &str) -> PathBuf {
    find_program(name).unwrap_or_else(|| panic!("no {name}"))
}
