use std::process::Command;

use super::*;

/// The profiles of both files, as text.
fn read(config: &str, credentials: &str) -> BTreeMap<String, BTreeMap<String, String>> {
    let mut all = BTreeMap::new();
    parse(config, File::Configuration, &mut all);
    parse(credentials, File::Credentials, &mut all);
    let plain = |profile: Profile| profile.into_iter().map(|(key, value)| (key, value.to_string())).collect();
    all.into_iter().map(|(name, profile)| (name, plain(profile))).collect()
}

/// Profile, key and value.
type Settings = &'static [(&'static str, &'static str, &'static str)];

/// Files with different ways of writing, and the resulting profiles, keys and values.
const FILES: &[(&str, &str, Settings)] = &[
    (
        "[default]\n  region = eu-west-1\n  role_arn = arn\n",
        "",
        &[("default", "region", "eu-west-1"), ("default", "role_arn", "arn")],
    ),
    ("[profile \"web app\"]\nregion = eu-west-1\n", "", &[("web app", "region", "eu-west-1")]),
    ("[profile 'web app']\nregion = eu-west-1\n", "", &[("web app", "region", "eu-west-1")]),
    ("[profile\tweb]\nregion=eu-west-1\n", "", &[("web", "region", "eu-west-1")]),
    ("[profile   web]\nregion: eu-west-1\n", "", &[("web", "region", "eu-west-1")]),
    ("[profile web]\nrole_arn: arn:aws:iam::1:role/web\n", "", &[("web", "role_arn", "arn:aws:iam::1:role/web")]),
    (
        "[profile web]\nrole_arn = arn:aws:iam::1:role/web\r\nregion\t=\teu-west-1\r\n",
        "",
        &[("web", "role_arn", "arn:aws:iam::1:role/web"), ("web", "region", "eu-west-1")],
    ),
    ("[default]\ns3 =\n  region = none\nregion = eu-west-1\n", "", &[("default", "region", "eu-west-1")]),
    (
        "  [default]\n  s3 =\n    region = none\n\n    more = none\n  region = eu-west-1\n",
        "",
        &[("default", "region", "eu-west-1")],
    ),
    ("[web]\nregion = none\n[profileweb]\nregion = none\n[profile web app]\nregion = none\n", "", &[]),
    ("[sso-session x]\nregion = none\n[services y]\nssm =\n  endpoint_url = none\n", "", &[]),
    (
        "",
        "[web]\nAWS_ACCESS_KEY_ID = id\naws_secret_access_key = a=b/c+d#e\n",
        &[("web", "aws_access_key_id", "id"), ("web", "aws_secret_access_key", "a=b/c+d#e")],
    ),
    ("", "[web app]\naws_access_key_id: id\n", &[("web app", "aws_access_key_id", "id")]),
    ("[profile web]\nregion = eu-west-1\n", "[web]\nregion = eu-west-2\n", &[("web", "region", "eu-west-2")]),
    ("# a comment\n[default]\n; another\nregion = eu-west-1\n", "", &[("default", "region", "eu-west-1")]),
    ("[default]\nregion =\naws_session_token =\nrole_arn=\nmfa_serial:\ncredential_process =  \n", "", &[]),
];

#[test]
fn both_files_are_read_as_aws_own_tools_read_them() {
    for (config, credentials, expected) in FILES {
        let found = read(config, credentials);
        let found: Vec<_> = found
            .iter()
            .flat_map(|(name, profile)| {
                profile.iter().map(|(key, value)| (name.as_str(), key.as_str(), value.as_str()))
            })
            .collect();
        let mut expected = expected.to_vec();
        expected.sort_unstable();
        assert_eq!(found, expected, "{config}{credentials}");
    }
}

#[test]
fn a_comment_after_a_value_is_removed_as_the_format_requires() {
    let found = read("[default]\nregion = eu-west-1 # mine\n", "");
    assert_eq!(found["default"]["region"], "eu-west-1");
}

#[test]
fn a_profile_without_settings_is_one() {
    assert!(read("[profile web]\n", "").contains_key("web"));
}

#[test]
fn a_file_that_is_not_utf_8_is_reported() {
    for (bytes, why) in [
        (&b"\xef\xbb\xbf[default]\n"[..], Some("it begins with a byte order mark")),
        (b"\xff\xfe[\0d\0", Some("it is UTF-16")),
        (b"\xfe\xff\0[\0d", Some("it is UTF-16")),
        (b"[\0d\0", Some("it is no text")),
        (b"[default]\n", None),
    ] {
        assert_eq!(unreadable(bytes), why);
    }
}

/// Compares with botocore, which is in moto's directory: its settings must contain all of ours.
#[test]
#[allow(clippy::disallowed_methods)]
fn botocore_reads_the_same_settings() {
    const READ: &str = "import json, sys\nfrom botocore.session import Session\n\
        profiles = Session().full_config['profiles']\n\
        texts = {p: {k: v for k, v in s.items() if isinstance(v, str) and v} for p, s in profiles.items()}\n\
        print(json.dumps({p: s for p, s in texts.items() if s}))";
    let moto = std::env::var_os("HANDFAST_MOTO").map(std::path::PathBuf::from);
    let Some(python) = moto.map(|moto| moto.with_file_name("venv").join("bin/python")).filter(|path| path.exists())
    else {
        eprintln!("HANDFAST_MOTO is not set: botocore is not asked");
        return;
    };
    let directory = std::env::temp_dir().join(format!("handfast-shared-files-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    let (config_file, credentials_file) = (directory.join("config"), directory.join("credentials"));
    for (config, credentials, _) in FILES {
        std::fs::write(&config_file, config).unwrap();
        std::fs::write(&credentials_file, credentials).unwrap();
        let output = Command::new(&python)
            .args(["-c", READ])
            .env("AWS_CONFIG_FILE", &config_file)
            .env("AWS_SHARED_CREDENTIALS_FILE", &credentials_file)
            .output()
            .unwrap();
        assert!(output.status.success(), "{config}{credentials}: {}", String::from_utf8_lossy(&output.stderr));
        let theirs: BTreeMap<String, BTreeMap<String, String>> = serde_json::from_slice(&output.stdout).unwrap();
        let mut ours = read(config, credentials);
        ours.retain(|_, profile| !profile.is_empty());
        assert_eq!(ours, theirs, "{config}{credentials}");
    }
    std::fs::remove_dir_all(&directory).unwrap();
}
