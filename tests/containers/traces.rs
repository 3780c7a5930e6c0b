//! The search for secrets in all that the engine knows and keeps of containers and images.

use handfast_testservers::{Directory, Docker};

use crate::support::Ledger;

/// What is found in `docker inspect`, `history`, `export`, `diff` and `logs` of these containers and images, and then in
/// everything that the engine has on its disk: `NAME raw whole in PLACE`.
pub fn search(docker: &Docker, ledger: &Ledger, containers: &[String], images: &[&str]) -> Vec<String> {
    let mut found = Vec::new();
    let mut look = |words: &[&str]| {
        let output = docker.output(words);
        assert!(output.status.success(), "docker {words:?}: {}", String::from_utf8_lossy(&output.stderr));
        let place = format!("docker {}", words.join(" "));
        found.extend(ledger.find(&place, &output.stdout));
        found.extend(ledger.find(&place, &output.stderr));
    };
    for container in containers {
        for command in ["inspect", "diff", "logs", "export"] {
            look(&[command, container]);
        }
    }
    for image in images {
        look(&["inspect", image]);
        look(&["history", "--no-trunc", image]);
        look(&["save", image]);
    }
    found.extend(ledger.find_below(&docker.directory().join("data"), &[]));
    found
}

/// The usual wrong ways: the search finds each of them, in each of its places.
#[test]
fn the_search_finds_what_is_in_an_image_or_in_its_environment() {
    let Some(docker) = crate::images::engine() else { return };
    let mut ledger = Ledger::default();
    let [env, arg, copied, deleted, given, printed] =
        ["env", "arg", "copied", "deleted", "given", "printed"].map(|name| ledger.add(name));
    let context = Directory::new();
    context.write("copied", &copied);
    context.write("deleted", &deleted);
    let dockerfile = format!(
        "FROM {}\nARG TOKEN\nENV PASSWORD={env}\nCOPY copied deleted /\nRUN [\"/bin/busybox\", \"rm\", \"/deleted\"]\n\
         ENTRYPOINT []\n",
        crate::images::BUSYBOX
    );
    context.write("Dockerfile", dockerfile);
    docker.build("wrong", context.path(), &["--build-arg", &format!("TOKEN={arg}")]);
    let script = format!("echo \"$GIVEN\"; echo {printed} >/written");
    let words = ["--name", "wrong", "--env", &format!("GIVEN={given}"), "wrong", "sh", "-c", &script];
    assert_eq!(crate::container::run(docker, &words).code, 0);
    let found = search(docker, &ledger, &["wrong".into()], &["wrong"]);
    let everywhere = [
        "env raw whole in docker inspect wrong",
        "env raw whole in docker history --no-trunc wrong",
        "env raw whole in docker save wrong",
        "arg raw whole in docker history --no-trunc wrong",
        "arg raw whole in docker save wrong",
        "copied raw whole in docker export wrong",
        "copied raw whole in docker save wrong",
        "deleted raw whole in docker save wrong",
        "given raw whole in docker inspect wrong",
        "given raw whole in docker logs wrong",
        "printed raw whole in docker export wrong",
    ];
    for expected in everywhere {
        assert!(found.iter().any(|line| line == expected), "not found: {expected}\n{found:#?}");
    }
    for name in ["env", "arg", "copied", "deleted", "given", "printed"] {
        let on_disk =
            |line: &&String| line.starts_with(&format!("{name} raw whole in {}", docker.directory().display()));
        assert!(found.iter().find(on_disk).is_some(), "not found on the engine's disk: {name}\n{found:#?}");
    }
    docker.must(&["rm", "wrong"]);
    docker.must(&["rmi", "wrong"]);
}
