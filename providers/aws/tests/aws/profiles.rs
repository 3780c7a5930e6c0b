//! The shared files: the parts of a profile that are used, and those that are refused.

use handfast_core::Table;
use handfast_testkit::{Variables, run};

use crate::cloud::{Aws, error, error_text, instance, keys, secret};

const READ: &str = "cannot read the secret `web/db`";
const INSTEAD: &str = "use a role of the machine, the task or the pod; or `aws configure export-credentials --format env` where there is \
                       one who can log in, for keys in the environment";

/// An environment with this configuration file.
fn with(aws: &Aws, config: &str) -> Variables {
    let path = aws.files.write("config", config);
    aws.variables().with("AWS_CONFIG_FILE", path.to_str().expect("text")).with("AWS_PROFILE", "web")
}

#[test]
fn a_profile_that_needs_a_program_a_browser_or_a_person_is_refused_with_a_hint() {
    let aws = Aws::with_sts(vec![secret("there")], vec![keys("ASIA1")]);
    let role = "role_arn = arn:aws:iam::1:role/web\n";
    for (profile, why, hint) in [
        ("credential_process = /bin/keys\n", "`credential_process` is a program, and handfast starts none", INSTEAD),
        (
            "sso_session = corp\nsso_account_id = 1\n",
            "it is one of IAM Identity Center (SSO), whose login needs a browser",
            INSTEAD,
        ),
        ("sso_start_url = https://x\n", "it is one of IAM Identity Center (SSO), whose login needs a browser", INSTEAD),
        ("login_session = arn:aws:iam::1:user/web\n", "it is one of `aws login`, which needs a browser", INSTEAD),
        (
            &format!("{role}source_profile = base\nmfa_serial = arn:aws:iam::1:mfa/web\n"),
            "`mfa_serial` asks for a code, and nobody is there to type one",
            INSTEAD,
        ),
        (
            "aws_access_key_id = AKIA\n",
            "of `aws_access_key_id` and `aws_secret_access_key` one is missing",
            "a profile has both, or neither",
        ),
        (
            &format!("{role}credential_source = Lambda\n"),
            "`credential_source` is \"Lambda\"",
            "Environment, EcsContainer or Ec2InstanceMetadata",
        ),
        (role, "its role has neither `source_profile` nor `credential_source`", "no hint"),
        (&format!("{role}source_profile = web-2\n[profile web-2]\nregion = x\n"), "it has no keys", "no hint"),
        (&format!("{role}source_profile = none\n"), "there is none in `~`", "no hint"),
    ] {
        let variables = with(&aws, &format!("[profile web]\n{profile}"));
        let reported = error_text(&error(Table::default(), variables));
        let reported =
            reported.replace(aws.files.file("config").as_str(), "~").replace("web-2", "web").replace("`none`", "`web`");
        assert_eq!(reported, format!("Denied: {READ}: no AWS credentials in the profile `web`: {why} | {hint}"));
        assert!(aws.server.requests().is_empty());
    }
}

#[test]
fn a_roles_source_may_be_the_environment_and_a_missing_source_is_reported() {
    let config = "[profile web]\nrole_arn = arn:aws:iam::1:role/web\ncredential_source = Environment\n";
    let aws = Aws::with_sts(vec![secret("there")], vec![keys("ASIA1")]);
    // The way is configured, because the keys in the environment would come first.
    let pinned = || handfast_testkit::table([("profile", handfast_testkit::text("web"))]);
    let path = aws.files.write("config", config);
    let path = path.to_str().expect("text");
    run(async {
        let instance = instance(pinned(), aws.with_keys().with("AWS_CONFIG_FILE", path));
        assert_eq!(instance.value("aws:sm/web/db").await, b"there");
    });
    let (request, fields) = aws.sts_requests().remove(0);
    assert!(fields.iter().any(|field| field == "RoleArn=arn%3Aaws%3Aiam%3A%3A1%3Arole%2Fweb"), "{fields:?}");
    assert!(request.header("authorization").is_some_and(|text| text.contains("Credential=ASIAEXAMPLE/")));
    let reported = error_text(&error(pinned(), aws.variables().with("AWS_CONFIG_FILE", path)));
    let why = "its source is not there: `AWS_ACCESS_KEY_ID` is not set";
    assert_eq!(reported, format!("Denied: {READ}: no AWS credentials in the profile `web`: {why} | no hint"));
}

#[test]
fn a_profile_with_an_endpoint_is_refused() {
    let aws = Aws::with_store(vec![secret("there")]);
    let keys = "aws_access_key_id = AKIA\naws_secret_access_key = x\n";
    for (line, key) in [("endpoint_url = https://aws.internal\n", "endpoint_url"), ("services = own\n", "services")] {
        let config = format!("[profile web]\n{keys}{line}");
        // An endpoint in a setting or variable takes precedence.
        run(async {
            let instance = instance(Table::default(), with(&aws, &config));
            assert_eq!(instance.value("aws:sm/web/db").await, b"there");
        });
        let reported = error_text(&error(Table::default(), with(&aws, &config).with("AWS_ENDPOINT_URL", "")));
        assert_eq!(
            reported,
            format!(
                "Denied: {READ}: no AWS credentials in the profile `web`: it has `{key}`, which says where AWS is, and is not read \
                 from there | set `endpoint` in [providers.aws], or AWS_ENDPOINT_URL; or AWS_IGNORE_CONFIGURED_ENDPOINT_URLS to \
                 \"true\" for AWS' own names"
            )
        );
    }
}

/// AWS's own tools use a profile's endpoint, wherever the keys come from.
#[test]
fn a_profiles_endpoint_is_refused_for_keys_of_another_source_too() {
    const ADDRESS: &str = "set `endpoint` in [providers.aws], or AWS_ENDPOINT_URL; or AWS_IGNORE_CONFIGURED_ENDPOINT_URLS to \"true\" for AWS' \
                           own names";
    let aws = Aws::with_store(vec![secret("there")]);
    let address = aws.server.address();
    let here = ["AWS_ENDPOINT_URL_SECRETS_MANAGER", "AWS_ENDPOINT_URL_STS"];
    let variables = |line: &str| {
        let path = aws.files.write("config", format!("[default]\nregion = us-east-1\n{line}\n"));
        let variables = aws.with_keys().with("AWS_CONFIG_FILE", path.to_str().expect("text"));
        here.iter().fold(variables.with("AWS_ENDPOINT_URL", ""), |variables, name| variables.with(name, &address))
    };
    for (line, key, hint) in [
        ("endpoint_url = https://aws.internal", "endpoint_url", ADDRESS),
        ("services = own", "services", ADDRESS),
        ("use_fips_endpoint = true", "use_fips_endpoint", "set AWS_USE_FIPS_ENDPOINT to what is meant"),
        ("use_dualstack_endpoint = TRUE", "use_dualstack_endpoint", "set AWS_USE_DUALSTACK_ENDPOINT to what is meant"),
    ] {
        let reported = error_text(&error(Table::default(), variables(line)));
        let why = format!("the profile `default` has `{key}`, which says where AWS is, and is not read from there");
        assert_eq!(reported, format!("Denied: {READ}: {why} | {hint}"));
        assert!(aws.server.requests().is_empty());
    }
    let said_elsewhere = [
        ("endpoint_url = https://aws.internal\nignore_configured_endpoint_urls = true", ("X", "")),
        (
            "endpoint_url = https://aws.internal\nservices = own\nuse_fips_endpoint = true",
            ("AWS_ENDPOINT_URL", &*address),
        ),
        ("use_fips_endpoint = true", ("AWS_USE_FIPS_ENDPOINT", "true")),
        ("use_dualstack_endpoint = true", ("AWS_USE_DUALSTACK_ENDPOINT", "false")),
        ("use_fips_endpoint = false\nuse_dualstack_endpoint = no", ("X", "")),
    ];
    for (line, (name, value)) in said_elsewhere {
        let value =
            run(async { instance(Table::default(), variables(line).with(name, value)).value("aws:sm/web/db").await });
        assert_eq!(value, b"there", "{line}");
    }
    // Faults in files that are not needed do not matter.
    run(async {
        let instance = instance(Table::default(), variables("").with("AWS_CONFIG_FILE", "/proc/self/mem"));
        assert_eq!(instance.value("aws:sm/web/db").await, b"there");
    });
}

#[test]
fn a_profile_with_only_a_region_is_skipped() {
    let aws = Aws::with_store(vec![secret("there")]);
    let reported = error_text(&error(Table::default(), with(&aws, "[profile web]\nregion = us-east-1\n")));
    assert!(reported.contains("; profile: the profile `web` has neither keys nor a role; container: "), "{reported}");
}

#[test]
fn unreadable_files_are_reported() {
    let aws = Aws::with_store(vec![secret("there")]);
    let variables = aws.variables().with("AWS_CONFIG_FILE", "/proc/self/mem");
    let reported = error_text(&error(Table::default(), variables));
    assert!(reported.starts_with(&format!("Denied: {READ}: cannot read AWS' profiles: ")), "{reported}");
    let reported = error_text(&error(Table::default(), aws.variables()));
    assert!(reported.contains("profile: no profile `default` in any file: `HOME` is not set; "), "{reported}");
    assert!(
        reported.ends_with("| set up one of these; which one is to be taken can be pinned by `auth = { method = … }`"),
        "{reported}"
    );
}

#[test]
fn a_variable_that_names_a_missing_profile_is_refused_whatever_is_set_up() {
    let aws = Aws::with_store(vec![secret("there")]);
    let config = aws.files.write("config", "[profile web]\nregion = eu-west-1\n[profile team]\n");
    let with = |name: &str, profile: &str| {
        aws.with_keys().with("AWS_CONFIG_FILE", config.to_str().expect("text")).with(name, profile)
    };
    for (variable, profile, hint) in [
        ("AWS_PROFILE", "wbe", "did you mean `web`?"),
        (
            "AWS_DEFAULT_PROFILE",
            "production",
            "mount the file that has it, or unset AWS_DEFAULT_PROFILE for another way to credentials",
        ),
        ("AWS_PROFILE", "default", "mount the file that has it, or unset AWS_PROFILE for another way to credentials"),
    ] {
        let reported = error_text(&error(Table::default(), with(variable, profile)))
            .replace(aws.files.file("config").as_str(), "~");
        let why = format!("no AWS credentials: `{variable}` is \"{profile}\", and there is no such profile in `~`");
        assert_eq!(reported, format!("Denied: {READ}: {why} | {hint}"));
    }
    assert!(aws.server.requests().is_empty());
    // The configured way does not use the files. White space around a name is removed.
    let pinned = handfast_testkit::table([(
        "auth",
        handfast_core::Value::Table(handfast_testkit::table([("method", handfast_testkit::text("env"))])),
    )]);
    run(async {
        assert_eq!(instance(pinned, with("AWS_PROFILE", "wbe")).value("aws:sm/web/db").await, b"there");
        assert_eq!(instance(Table::default(), with("AWS_PROFILE", " team\n")).value("aws:sm/web/db").await, b"there");
    });
}
