//! The hosts of the requests, as recorded by a proxy that refuses all connections, because the tests cannot reach AWS's own
//! hosts.

use std::net::TcpListener;

use handfast_core::Table;
use handfast_testkit::{Outside, Variables, configure, run, table, text};
use handfast_testservers::{Directory, Server, write_answer};

use crate::cloud::instance;

/// A proxy that refuses all connections, and a directory for files.
struct Refusing {
    proxy: Server,
    files: Directory,
}

impl Refusing {
    fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("there is a free port");
        let proxy = Server::serve(listener, None, |_, stream| write_answer(stream, 403, &[], b""));
        Self { proxy, files: Directory::new() }
    }

    /// The hosts of the requests for these references.
    fn hosts(&self, region: Option<&str>, variables: Variables, references: &[&str]) -> Vec<String> {
        self.proxy.forget();
        let address = self.proxy.address();
        let settings: Table = match region {
            Some(region) => table([("proxy", text(&address)), ("region", text(region))]),
            None => table([("proxy", text(&address))]),
        };
        let variables = variables
            .with_credential("AWS_ACCESS_KEY_ID", "AKIA")
            .with_credential("AWS_SECRET_ACCESS_KEY", "x")
            .with("AWS_EC2_METADATA_DISABLED", "true");
        run(async {
            let instance = instance(settings, variables);
            for reference in references {
                let _ = instance.error(reference).await;
            }
        });
        self.proxy.requests().into_iter().map(|request| format!("{} {}", request.method, request.path)).collect()
    }
}

const BOTH: &[&str] = &["aws:sm/web/db", "aws:ssm/prod/db"];

#[test]
fn host_names_depend_on_the_partition_and_on_fips_and_dual_stack() {
    let proxy = Refusing::new();
    // Secrets Manager has the same host name for IPv4 and IPv6.
    for (region, fips, dual_stack, secrets, parameters) in [
        ("eu-west-1", "", "", "secretsmanager.eu-west-1.amazonaws.com", "ssm.eu-west-1.amazonaws.com"),
        ("us-east-1", "true", "", "secretsmanager-fips.us-east-1.amazonaws.com", "ssm-fips.us-east-1.amazonaws.com"),
        ("eu-west-1", "", "true", "secretsmanager.eu-west-1.amazonaws.com", "ssm.eu-west-1.api.aws"),
        ("us-east-1", "true", "true", "secretsmanager-fips.us-east-1.amazonaws.com", "ssm-fips.us-east-1.api.aws"),
        ("us-gov-west-1", "", "", "secretsmanager.us-gov-west-1.amazonaws.com", "ssm.us-gov-west-1.amazonaws.com"),
        (
            "us-gov-west-1",
            "true",
            "",
            "secretsmanager-fips.us-gov-west-1.amazonaws.com",
            "ssm.us-gov-west-1.amazonaws.com",
        ),
        ("cn-north-1", "", "", "secretsmanager.cn-north-1.amazonaws.com.cn", "ssm.cn-north-1.amazonaws.com.cn"),
        ("us-iso-east-1", "", "", "secretsmanager.us-iso-east-1.c2s.ic.gov", "ssm.us-iso-east-1.c2s.ic.gov"),
    ] {
        let variables =
            Variables::default().with("AWS_USE_FIPS_ENDPOINT", fips).with("AWS_USE_DUALSTACK_ENDPOINT", dual_stack);
        let expected = [secrets, parameters].map(|host| format!("CONNECT {host}:443"));
        assert_eq!(proxy.hosts(Some(region), variables, BOTH), expected, "{region} {fips} {dual_stack}");
    }
}

#[test]
fn the_region_comes_from_an_arn_or_the_settings_or_a_variable_or_the_profile() {
    let proxy = Refusing::new();
    let config = proxy.files.write("config", "[default]\nregion = eu-north-1\n[profile web]\nregion = eu-south-1\n");
    let of = |variables: &[(&str, &str)]| {
        let all = Variables::default().with("AWS_CONFIG_FILE", config.to_str().expect("text"));
        variables.iter().fold(all, |all, (name, value)| all.with(name, value))
    };
    let arn = "aws:sm/arn:aws:secretsmanager:ap-east-1:123456789012:secret:web/db-AbCdEf";
    let all = &[("AWS_REGION", "eu-west-1"), ("AWS_DEFAULT_REGION", "eu-west-2"), ("AWS_PROFILE", "web")];
    for (setting, variables, reference, region) in [
        (Some("eu-central-1"), &all[..], arn, "ap-east-1"),
        (Some("eu-central-1"), all, "aws:sm/web/db", "eu-central-1"),
        (None, all, "aws:sm/web/db", "eu-west-1"),
        (None, &all[1..], "aws:sm/web/db", "eu-west-2"),
        (None, &all[2..], "aws:sm/web/db", "eu-south-1"),
        (None, &[], "aws:sm/web/db", "eu-north-1"),
    ] {
        let expected = [format!("CONNECT secretsmanager.{region}.amazonaws.com:443")];
        assert_eq!(proxy.hosts(setting, of(variables), &[reference]), expected);
    }
}

#[test]
fn a_vpc_endpoint_replaces_its_own_service_only() {
    let proxy = Refusing::new();
    let vpce = "vpce-0123456789abcdef0-abcdefgh.secretsmanager.us-east-1.vpce.amazonaws.com";
    // The SDKs refuse FIPS together with an endpoint. handfast uses FIPS only for services without a configured endpoint.
    for (fips, parameters) in [("false", "ssm.us-east-1.amazonaws.com"), ("true", "ssm-fips.us-east-1.amazonaws.com")] {
        let variables = Variables::default()
            .with("AWS_ENDPOINT_URL_SECRETS_MANAGER", &format!("https://{vpce}"))
            .with("AWS_USE_FIPS_ENDPOINT", fips);
        let expected = [vpce, parameters].map(|host| format!("CONNECT {host}:443"));
        assert_eq!(proxy.hosts(Some("us-east-1"), variables, BOTH), expected);
    }
}

#[test]
fn an_invalid_region_is_reported_before_any_request_and_white_space_is_removed() {
    let outside =
        |name: &str, value: &str| Outside { variables: Variables::default().with(name, value), ..Outside::default() };
    let missing = |name: &str, value: &str| {
        configure(&handfast_aws::DEFINITION, Table::default(), &outside(name, value)).missing()
    };
    for name in ["AWS_REGION", "AWS_DEFAULT_REGION"] {
        assert!(missing(name, " eu-west-1\r\n").is_empty() && missing(name, "\n").is_empty());
        let [complaint] = &missing(name, "eu-west-1a\n")[..] else { panic!("one complaint") };
        assert_eq!(complaint.message, format!("`{name}`: \"eu-west-1a\" is no region"));
        assert_eq!(complaint.hint.as_deref(), Some("did you mean `eu-west-1`?"));
    }
}
