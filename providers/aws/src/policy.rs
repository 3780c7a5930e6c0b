//! The IAM policy with the least rights that references need
//! (docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_grammar.html).

use std::collections::{BTreeMap, BTreeSet};

use handfast_core::Locator;

use crate::endpoints::partition;
use crate::locator::{self, Arn, Item, Parameter, REFERENCE, Secret, without_suffix};

/// The known details of a secret or parameter for the policy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Details {
    /// The account's number, of twelve digits.
    pub account: Option<u64>,
    /// The six characters that AWS has added to the secret's name.
    pub suffix: Option<[u8; 6]>,
    /// Whether the encryption key is AWS's own, which everybody who may read the secret may use.
    pub is_default_key: bool,
}

/// The grants of a policy.
#[derive(Default)]
struct Grants {
    secrets: BTreeSet<String>,
    /// How many secrets could be fetched in a batch, by region.
    in_batches: BTreeMap<String, usize>,
    parameters: BTreeSet<String>,
    paths: BTreeSet<String>,
    /// The services that decrypt with KMS, as host names.
    decrypting: BTreeSet<String>,
}

/// The policy that these locators need. `details` has the known details of each.
pub fn json(region: Option<&str>, locators: &[&Locator], details: impl Fn(&Locator) -> Details) -> String {
    let mut grants = Grants::default();
    for locator in locators {
        let details = details(locator);
        match locator::parse(locator) {
            Ok(Item::Secret(secret)) => grants.secret(&secret, region, details),
            Ok(Item::Parameter(parameter)) => grants.parameter(&parameter, region, details),
            Ok(Item::Below(path)) => grants.below(&path, region, details),
            // `Configured::check` has refused such locators before.
            Err(_) => {}
        }
    }
    grants.text()
}

impl Grants {
    fn secret(&mut self, secret: &Secret, region: Option<&str>, details: Details) {
        let region = secret.region.as_deref().or(region);
        self.named_secret(&secret.id, region, details);
        if secret.is_current() {
            *self.in_batches.entry(region.unwrap_or("*").to_owned()).or_default() += 1;
        }
    }

    fn named_secret(&mut self, id: &str, region: Option<&str>, details: Details) {
        let suffix = details.suffix.map_or("??????".to_owned(), |suffix| suffix.map(char::from).iter().collect());
        self.secrets.insert(match Arn::parse(id) {
            Some(_) if without_suffix(id).is_some() => id.to_owned(),
            Some(_) => format!("{id}-{suffix}"),
            None => format!("{}:secret:{id}-{suffix}", start("secretsmanager", region, details)),
        });
        if !details.is_default_key {
            self.decrypt("secretsmanager", region);
        }
    }

    fn parameter(&mut self, parameter: &Parameter, region: Option<&str>, details: Details) {
        let region = parameter.region.as_deref().or(region);
        self.parameters.insert(match Arn::parse(&parameter.name) {
            Some(_) => parameter.name.clone(),
            None => format!("{}:parameter/{}", start("ssm", region, details), parameter.name.trim_start_matches('/')),
        });
        match parameter.name.strip_prefix(REFERENCE) {
            Some(secret) => self.named_secret(secret, region, details),
            None => self.decrypt("ssm", region),
        }
    }

    fn below(&mut self, path: &str, region: Option<&str>, details: Details) {
        let own = format!("{}:parameter{}", start("ssm", region, details), path.trim_end_matches('/'));
        self.paths.insert(format!("{own}/*"));
        if path != "/" {
            self.paths.insert(own);
        }
        self.decrypt("ssm", region);
    }

    fn decrypt(&mut self, service: &str, region: Option<&str>) {
        let domain = region.map_or("amazonaws.com", |region| partition(region).domain);
        self.decrypting.insert(format!("{service}.{}.{domain}", region.unwrap_or("*")));
    }

    fn text(self) -> String {
        let any = || BTreeSet::from(["*".to_owned()]);
        let batches = if self.in_batches.values().any(|count| *count > 1) { any() } else { BTreeSet::new() };
        let keys = if self.decrypting.is_empty() { BTreeSet::new() } else { any() };
        let statements = [
            ("secretsmanager:GetSecretValue", self.secrets, None),
            // AWS does not allow a narrower resource. A batch returns only the secrets that the statement above allows.
            ("secretsmanager:BatchGetSecretValue", batches, None),
            ("ssm:GetParameters", self.parameters, None),
            ("ssm:GetParametersByPath", self.paths, None),
            ("kms:Decrypt", keys, Some(self.decrypting)),
        ];
        let statements: Vec<String> = statements
            .into_iter()
            .filter(|(_, resources, _)| !resources.is_empty())
            .map(|(action, resources, by)| statement(action, &resources, by.as_ref()))
            .collect();
        format!("{{\n  \"Version\": \"2012-10-17\",\n  \"Statement\": [\n{}\n  ]\n}}\n", statements.join(",\n"))
    }
}

fn statement(action: &str, resources: &BTreeSet<String>, by: Option<&BTreeSet<String>>) -> String {
    let condition = by.map(|hosts| {
        // An unknown region becomes `*`.
        let operator = if hosts.iter().any(|host| host.contains('*')) { "StringLike" } else { "StringEquals" };
        let hosts = list(hosts, "          ");
        format!(",\n      \"Condition\": {{\n        \"{operator}\": {{\n          \"kms:ViaService\": {hosts}\n        }}\n      }}")
    });
    format!(
        "    {{\n      \"Effect\": \"Allow\",\n      \"Action\": \"{action}\",\n      \"Resource\": {}{}\n    }}",
        list(resources, "      "),
        condition.unwrap_or_default()
    )
}

/// One text, or several, each on its own line. None contains a quotation mark, because [`locator::parse`] refuses it.
fn list(texts: &BTreeSet<String>, indent: &str) -> String {
    let quoted: Vec<String> = texts.iter().map(|text| format!("\"{text}\"")).collect();
    match &quoted[..] {
        [one] => one.clone(),
        _ => format!("[\n{indent}  {}\n{indent}]", quoted.join(&format!(",\n{indent}  "))),
    }
}

/// The start of an ARN, up to its account.
fn start(service: &str, region: Option<&str>, details: Details) -> String {
    let account = details.account.map_or("*".to_owned(), |account| format!("{account:012}"));
    let partition = region.map_or("aws", |region| partition(region).name);
    format!("arn:{partition}:{service}:{}:{account}", region.unwrap_or("*"))
}

#[cfg(test)]
mod tests {
    use handfast_core::SecretRef;

    use super::*;

    fn policy(region: Option<&str>, references: &[(&str, Details)]) -> String {
        let known: BTreeMap<Locator, Details> =
            references.iter().map(|(text, details)| (SecretRef::parse(text).unwrap().locator, *details)).collect();
        json(region, &known.keys().collect::<Vec<_>>(), |locator| known[locator])
    }

    #[test]
    fn secrets_have_their_six_characters_and_batches_any_resource() {
        let none = Details::default();
        let text = policy(
            Some("eu-west-1"),
            &[("aws:sm/web/db#password", none), ("aws:sm/web/api", none), ("aws:ssm/prod/web/*", none)],
        );
        let expected = r#"{
  "Version": "2012-10-17",
  "Statement": [
    {
      "Effect": "Allow",
      "Action": "secretsmanager:GetSecretValue",
      "Resource": [
        "arn:aws:secretsmanager:eu-west-1:*:secret:web/api-??????",
        "arn:aws:secretsmanager:eu-west-1:*:secret:web/db-??????"
      ]
    },
    {
      "Effect": "Allow",
      "Action": "secretsmanager:BatchGetSecretValue",
      "Resource": "*"
    },
    {
      "Effect": "Allow",
      "Action": "ssm:GetParametersByPath",
      "Resource": [
        "arn:aws:ssm:eu-west-1:*:parameter/prod/web",
        "arn:aws:ssm:eu-west-1:*:parameter/prod/web/*"
      ]
    },
    {
      "Effect": "Allow",
      "Action": "kms:Decrypt",
      "Resource": "*",
      "Condition": {
        "StringEquals": {
          "kms:ViaService": [
            "secretsmanager.eu-west-1.amazonaws.com",
            "ssm.eu-west-1.amazonaws.com"
          ]
        }
      }
    }
  ]
}
"#;
        assert_eq!(text, expected);
    }

    #[test]
    fn details_make_the_policy_narrower() {
        let details = Details { account: Some(123_456_789_012), suffix: Some(*b"AbCdEf"), is_default_key: true };
        let text = policy(Some("us-gov-west-1"), &[("aws:sm/web/db", details)]);
        assert!(
            text.contains("\"arn:aws-us-gov:secretsmanager:us-gov-west-1:123456789012:secret:web/db-AbCdEf\""),
            "{text}"
        );
        assert!(!text.contains("kms:Decrypt") && !text.contains("Batch"), "{text}");
    }

    #[test]
    fn an_unknown_region_is_any_region() {
        let none = Details::default();
        let text =
            policy(None, &[("aws:ssm/prod/db?version=3", none), ("aws:ssm/aws/reference/secretsmanager/web", none)]);
        for part in [
            "\"arn:aws:ssm:*:*:parameter/prod/db\"",
            "\"arn:aws:ssm:*:*:parameter/aws/reference/secretsmanager/web\"",
            "\"Resource\": \"arn:aws:secretsmanager:*:*:secret:web-??????\"",
            "StringLike",
            "\"ssm.*.amazonaws.com\"",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
    }
}
