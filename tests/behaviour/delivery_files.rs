//! The set of files: kubelet's layout, owners and modes with each set of rights, and a second start that replaces it.

use std::fs;
use std::os::unix::fs::symlink;

use crate::support::{Directory, Run, hex, needs_root, tree};
use serde_json::Value;

/// Delivers as root for 1000:1001 unless told; without what the app sees.
fn init(directory: &Directory, toml: &str) -> Run {
    Run::command("init").config(toml).args(["--dir", directory.text(), "--user", "1000:1001"])
}

fn secrets(names: &[&str], keys: &str) -> String {
    names.iter().map(|name| format!("[secrets.{name}]\nfrom = \"mock:{name}\"\n{keys}\n")).collect()
}

#[test]
fn the_layout_is_kubelets() {
    needs_root!();
    let directory = Directory::in_memory();
    assert_eq!(init(&directory, &secrets(&["a", "b"], "")).confine(&["--umask", "077"]).start().code, 0);
    assert_eq!(
        tree(directory.path()),
        [
            "./ 755 0:0",
            "..data -> ..handfast_N 0:0",
            "..handfast/ 1755 0:0",
            "..handfast/lock 600 0:0 ",
            "..handfast_N/ 755 0:0",
            "..handfast_N/..handfast 400 0:0 ",
            "..handfast_N/a 400 1000:1001 mock-a",
            "..handfast_N/b 400 1000:1001 mock-b",
            "a -> ..data/a 0:0",
            "b -> ..data/b 0:0",
        ]
    );
}

#[test]
fn each_secret_may_have_an_owner_and_a_mode() {
    needs_root!();
    let directory = Directory::tmpfs("mode=3777,gid=2000");
    let toml = "[files]\nmode = \"0440\"\n[secrets.a]\nfrom = \"mock:a\"\n\
                [secrets.b]\nfrom = \"mock:b\"\nmode = \"0404\"\n\
                [secrets.c]\nfrom = \"mock:c\"\nowner = \"5:6\"\nfile = \"other\"\n\
                [secrets.d]\nfrom = \"mock:d\"\nowner = \"7:8\"\nmode = \"0444\"\n";
    let outcome = init(&directory, toml).start();
    assert_eq!(outcome.code, 0, "{outcome:?}");
    let files: Vec<String> = tree(directory.path()).into_iter().filter(|line| line.contains("N/")).skip(1).collect();
    assert_eq!(
        files,
        [
            "..handfast_N/..handfast 400 0:2000 ",
            "..handfast_N/a 440 1000:2000 mock-a",
            "..handfast_N/b 404 1000:2000 mock-b",
            "..handfast_N/d 444 7:8 mock-d",
            "..handfast_N/other 440 5:6 mock-c",
        ]
    );
}

#[test]
fn every_field_is_a_file_of_its_own() {
    needs_root!();
    let directory = Directory::in_memory();
    let value = r#"{"user":"root","port":5432,"tls":{"ca":"x"},"a.b_c-d":"\u00e9\n"}"#;
    let toml = format!(
        "[providers.mock]\nvalues = {{ db = '{value}' }}\n\
         [secrets.plain]\nfrom = \"mock:db#*\"\n[secrets.named]\nfrom = \"mock:db#*\"\nfile = \"db-*.txt\"\nmode = \"0440\"\n"
    );
    let outcome = init(&directory, &toml).start();
    assert_eq!(outcome.code, 0, "{outcome:?}");
    let fields = [("a.b_c-d", "\\xc3\\xa9\\n"), ("port", "5432"), ("tls", "{\\\"ca\\\":\\\"x\\\"}"), ("user", "root")];
    let lines = tree(directory.path());
    for (name, text) in fields {
        for (file, mode) in [(name.to_owned(), 400), (format!("db-{name}.txt"), 440)] {
            let line = format!("..handfast_N/{file} {mode} 1000:1001 {text}");
            assert!(lines.contains(&line), "no {line}: {lines:?}");
            assert!(lines.contains(&format!("{file} -> ..data/{file} 0:0")), "{lines:?}");
        }
    }
    assert_eq!(lines.len(), 6 + 16);
}

#[test]
fn a_second_start_replaces_the_whole_set_and_nothing_else() {
    needs_root!();
    let directory = Directory::in_memory();
    assert_eq!(init(&directory, &secrets(&["a", "b", "c"], "")).start().code, 0);
    directory.write("others-file", "kept");
    fs::create_dir(directory.path().join("others-directory")).expect("it is ours");
    symlink("/nonexistent", directory.path().join("others-link")).expect("it is ours");
    symlink("..data/b", directory.path().join("others-alias")).expect("it is ours");
    let toml = "[providers.mock]\nvalues = { b = \"new\", d = \"\" }\n".to_owned() + &secrets(&["b", "d"], "");
    assert_eq!(init(&directory, &toml).start().code, 0);
    assert_eq!(
        tree(directory.path()),
        [
            "./ 755 0:0",
            "..data -> ..handfast_N 0:0",
            "..handfast/ 1755 0:0",
            "..handfast/lock 600 0:0 ",
            "..handfast_N/ 755 0:0",
            "..handfast_N/..handfast 400 0:0 ",
            "..handfast_N/b 400 1000:1001 new",
            "..handfast_N/d 400 1000:1001 ",
            "b -> ..data/b 0:0",
            "d -> ..data/d 0:0",
            "others-alias -> ..data/b 0:0",
            "others-directory/ 755 0:0",
            "others-file 644 0:0 kept",
            "others-link -> /nonexistent 0:0",
        ]
    );
}

#[test]
fn an_entry_of_anothers_with_a_needed_name_is_73_and_untouched() {
    needs_root!();
    for plant in
        ["echo mine >db", "mkdir db", "ln -s /etc/passwd db", "ln -s ..data/other db", "mkfifo db", "mkdir ..data"]
    {
        let directory = Directory::in_memory();
        assert_eq!(init(&directory, &secrets(&["a"], "")).start().code, 0);
        if plant.ends_with("..data") {
            directory.shell(None, "rm ..data");
        }
        directory.shell(None, plant);
        let before = fs::read_dir(directory.path()).expect("it is there").count();
        let outcome = init(&directory, &secrets(&["a", "db"], "")).start();
        outcome.refused(73, "of uid 0 that handfast did not make");
        outcome.says("hint: give each set of secrets a directory of its own");
        assert_eq!(fs::read_dir(directory.path()).expect("it is there").count(), before);
    }
}

#[test]
fn a_missing_optional_secret_leaves_no_file_no_descriptor_and_no_variable() {
    let directory = Directory::in_memory();
    let toml = "[providers.mock]\nvalues = { here = \"x\" }\n\
                [secrets.a]\nfrom = \"mock:here\"\npath_env = \"A_FILE\"\n\
                [secrets.b]\nfrom = \"mock:gone\"\npath_env = \"B_FILE\"\noptional = true\n\
                [secrets.c]\nfrom = \"mock:gone\"\nfd = 5\npath_env = \"C_FILE\"\nfd_env = \"C_FD\"\noptional = true\n\
                [secrets.d]\nfrom = \"mock:here\"\nfd = 6\nfd_env = \"D_FD\"\n\
                [secrets.e]\nfrom = \"mock:gone#x\"\noptional = true\n";
    let run =
        || Run::new().config(toml).args(["--dir", directory.text()]).env("B_FILE", "/from/outside").env("C_FD", "5");
    let app = run().start().ran();
    let numbers: Vec<&Value> = app["descriptors"].as_array().expect("a list").iter().map(|one| &one["fd"]).collect();
    assert_eq!(numbers, [0, 1, 2, 6]);
    assert_eq!((&app["HANDFAST_FDS"], &app["environ"]["D_FD"]), (&"d:6".into(), &"6".into()));
    assert_eq!(app["environ"]["A_FILE"], format!("{}/a", directory.text()));
    for variable in ["B_FILE", "C_FILE", "C_FD"] {
        assert_eq!(app["environ"][variable], Value::Null, "{variable}");
    }
    assert!(!directory.names().iter().any(|name| name == "b" || name == "e"), "{:?}", directory.names());
    // With nothing there at all, an earlier set goes too.
    let nothing =
        "[providers.mock]\nvalues = {}\n[secrets.a]\nfrom = \"mock:a\"\noptional = true\npath_env = \"A_FILE\"\n";
    let app = Run::new().config(nothing).args(["--dir", directory.text()]).start().ran();
    assert_eq!((&app["environ"]["A_FILE"], &app["HANDFAST_FDS"]), (&Value::Null, &Value::Null));
    assert!(!directory.names().iter().any(|name| name == "a"), "{:?}", directory.names());
    // Anything but "not found" is a failure all the same.
    let denied = "[providers.mock]\nfail = \"denied\"\n[secrets.a]\nfrom = \"mock:a\"\noptional = true\n";
    Run::new().config(denied).start().refused(77, "mock:a");
}

#[test]
fn values_arrive_byte_for_byte() {
    let source = Directory::new();
    let mut large: Vec<u8> = (0..1_u32 << 20).map(|number| (number.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    large[5] = 0;
    let values: [(&str, &[u8]); 6] = [
        ("empty", b""),
        ("nul", b"a\0b\0"),
        ("invalid", b"\xff\xfe\x80"),
        ("newline", b"x\n"),
        ("crlf", b"\r\n\r\n"),
        ("large", &large),
    ];
    for files in [true, false] {
        let directory = Directory::in_memory();
        let mut run = if files { Run::new().args(["--dir", directory.text()]) } else { Run::new() };
        for (name, value) in &values {
            run = run.args(["--secret", &format!("{name}=file:{}", source.write(name, value).display())]);
        }
        let app = run.start().ran();
        for (name, value) in &values {
            let content = if files {
                &app["CREDENTIALS_DIRECTORY"]["entries"][name]["content"]
            } else {
                let list = app["HANDFAST_FDS"].as_str().expect("text");
                let number =
                    list.split(',').find_map(|pair| pair.strip_prefix(&format!("{name}:"))).expect("it is listed");
                let all = app["descriptors"].as_array().expect("a list");
                &all.iter().find(|one| one["fd"] == number.parse::<u32>().expect("a number")).expect("it is open")["content"]
            };
            assert!(*content == hex(value), "{name} in a file: {files}");
        }
    }
}
