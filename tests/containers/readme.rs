//! The `docker` commands of the README and of docs/stores.md, each as it stands there and with the store that it is about.

use handfast_testservers::{Directory, Docker, in_own_network};

use crate::shell::Shell;
use crate::stores::Stores;
use crate::{machine, markdown};

/// The app of the README: who it is, and what it finds in its environment and in the files that the environment names.
const APP: &str = r"import os
print('uid', os.getuid())
print('pid', os.getpid())
print(open('/proc/self/status').read())
for name, value in os.environ.items():
    print(name, value, open(value).read() if name.endswith('_FILE') else '')
    if name.endswith('_FILE'):
        print(name, 'is of', os.stat(value).st_uid, 'with mode', oct(os.stat(value).st_mode & 0o777))
";

/// The README's table says so, of every app.
const STATE: [&str; 4] = ["uid 10001\n", "pid 1\n", "CapEff:\t0000000000000000\n", "NoNewPrivs:\t1\n"];

#[test]
fn each_docker_command_of_the_readme_and_the_stores_page_hands_its_secrets_over() {
    if !machine::is_complete(&["busybox", "python3", "useradd"]) {
        return;
    }
    in_own_network(|| {
        let (Some(docker), Some(stores)) = (Docker::start(), Stores::start()) else { return };
        machine::build_own(&docker);
        machine::build_python(&docker);
        let mut shown = markdown::page("README.md").blocks();
        shown.extend(markdown::page("docs/stores.md").blocks());
        let dockerfile = shown.iter().find(|block| block.language == "dockerfile").expect("it shows one");
        let place = Directory::new();
        place.write("Dockerfile", dockerfile.text());
        place.write("app.py", APP);
        place.write("secret.txt", stores.secret("file:/run/source/db"));

        let shell = Shell::new(&docker, &stores.options(), stores.environment());
        let commands = shown.iter().map(markdown::Block::text).filter(|text| text.starts_with("docker "));
        let commands: Vec<String> = commands.collect();
        let mut handed_over = Vec::new();
        for command in &commands {
            let printed = shell.must(place.path(), command);
            for (variable, reference) in references(command) {
                let file = variable.trim_end_matches("_FILE").to_lowercase().replace('_', "-");
                let line = format!("{variable} /run/secrets/{file} {}", stores.secret(reference));
                assert!(printed.lines().any(|printed| printed == line), "{command}{printed}");
                let state = format!("{variable} is of 10001 with mode 0o400");
                assert!(printed.lines().any(|printed| printed == state), "{command}{printed}");
                handed_over.push(reference);
            }
            for state in STATE {
                assert!(printed.contains(state), "no {state:?}: {command}{printed}");
            }
            for (name, value) in stores.environment() {
                let credential = ["VAULT_TOKEN", "AWS_SECRET_ACCESS_KEY", "AZURE_CLIENT_SECRET"].contains(&name);
                assert!(!credential || !printed.contains(&value), "the app has {name}: {command}{printed}");
            }
        }
        assert_eq!(handed_over, stores.secrets.each_ref().map(|(reference, _)| *reference));
        assert_eq!(stores.asked_azure(), 1);

        // As the README says of the first.
        let without = commands[0].replace("--tmpfs /run/secrets", "-e HANDFAST_DIR=");
        assert_ne!(without, commands[0]);
        let printed = shell.must(place.path(), &without);
        assert!(printed.contains("DB_PASSWORD_FILE /dev/fd/3 mock-db\n"), "{printed}");
    });
}

/// Each `NAME=handfast:REFERENCE`.
fn references(command: &str) -> Vec<(&str, &str)> {
    command.split_whitespace().filter_map(|word| word.split_once("=handfast:")).collect()
}
