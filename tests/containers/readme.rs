//! The README's `docker` commands, each as it stands there and with the store that it is about.

use handfast_testservers::{Directory, Docker, in_own_network};

use crate::shell::Shell;
use crate::stores::Stores;
use crate::{machine, markdown};

/// The app of the README: what it finds in its environment, and in the files that this names.
const APP: &str = "import os\nprint('uid', os.getuid())\nfor name, value in os.environ.items():\n    \
    print(name, value, open(value).read() if name.endswith('_FILE') else '')\n";

#[test]
fn each_docker_command_of_the_readme_hands_its_secrets_over() {
    if !machine::is_complete(&["busybox", "python3", "useradd"]) {
        return;
    }
    in_own_network(|| {
        let (Some(docker), Some(stores)) = (Docker::start(), Stores::start()) else { return };
        machine::build_own(&docker);
        machine::build_python(&docker);
        let readme = markdown::page("README.md").blocks();
        let dockerfile = readme.iter().find(|block| block.language == "dockerfile").expect("it shows one");
        let place = Directory::new();
        place.write("Dockerfile", dockerfile.text());
        place.write("app.py", APP);
        place.write("secret.txt", stores.secret("file:/run/source/db"));

        let shell = Shell::new(&docker, &stores.options(), stores.environment());
        let commands = readme.iter().map(markdown::Block::text).filter(|text| text.starts_with("docker "));
        let commands: Vec<String> = commands.collect();
        let mut handed_over = Vec::new();
        for command in &commands {
            let printed = shell.must(place.path(), command);
            for (variable, reference) in references(command) {
                let file = variable.trim_end_matches("_FILE").to_lowercase().replace('_', "-");
                let line = format!("{variable} /run/secrets/{file} {}", stores.secret(reference));
                assert!(printed.lines().any(|printed| printed == line), "{command}{printed}");
                handed_over.push(reference);
            }
            assert!(printed.contains("uid 10001\n"), "{command}{printed}");
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
