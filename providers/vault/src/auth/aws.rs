//! `aws`: an AWS identity (the method's "iam" login). The AWS provider signs a request for the identity's name, and Vault sends
//! it to AWS.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use handfast_core::{BoxFuture, Context, Environment, ErrorKind, ProviderError, SignedRequest};
use vaultrs::api::auth::aws::requests::IamLoginRequest;
use zeroize::Zeroizing;

use super::exchange::{attempt, exchange};
use super::method::{Definition, Login, Method};
use super::settings::AuthSettings;
use crate::api::Api;

// Without a role, Vault uses the role with the identity's own name.
pub const DEFINITION: Definition =
    Definition { name: "aws", keys: &["mount", "role", "header_value"], needs: &[], read };

struct Aws {
    mount: String,
    role: Option<String>,
    region: Option<String>,
    /// A header that is signed too, so that the request cannot be used to log in to another Vault.
    header_value: Option<String>,
}

const HEADER: &str = "X-Vault-AWS-IAM-Server-ID";

/// The provider that signs the request.
const IDENTITY: &str = "aws";

fn read(settings: &AuthSettings<'_>) -> Box<dyn Method> {
    Box::new(Aws {
        mount: settings.mount(),
        role: settings.text("role", "VAULT_ROLE"),
        region: region(settings.environment()).map(str::to_owned),
        header_value: settings.string("header_value").map(str::to_owned),
    })
}

/// The region of the STS endpoint. It must be the endpoint that Vault uses, which is the global one unless Vault is configured
/// otherwise. So this is the global endpoint too, unless this part of AWS has none, or AWS's own variable selects the regional
/// one.
fn region(environment: &dyn Environment) -> Option<&str> {
    let region = environment.variable("AWS_REGION").or_else(|| environment.variable("AWS_DEFAULT_REGION"))?;
    let has_no_global = ["cn-", "us-gov-", "us-iso", "eu-isoe-", "eusc-"].iter().any(|part| region.starts_with(part));
    let is_selected = environment.variable("AWS_STS_REGIONAL_ENDPOINTS") == Some("regional");
    (has_no_global || is_selected).then_some(region)
}

impl Method for Aws {
    fn uses_other_servers(&self) -> bool {
        true
    }

    fn identity_of(&self) -> Option<&'static str> {
        Some(IDENTITY)
    }

    fn login<'a>(&'a self, api: &'a Api, context: &'a Context) -> BoxFuture<'a, Result<Login, ProviderError>> {
        Box::pin(async move {
            let header = self.header_value.as_deref().map(|value| (HEADER, value));
            let identity = context.identities.of(IDENTITY)?;
            let signed = identity.sign_request(self.region.as_deref(), header.as_slice()).await?;
            let attempted = attempt(DEFINITION.name, &self.mount);
            let login = IamLoginRequest {
                mount: self.mount.clone(),
                role: self.role.clone(),
                iam_http_request_method: "POST".to_owned(),
                iam_request_url: STANDARD.encode(&signed.url),
                iam_request_body: STANDARD.encode(&signed.body),
                iam_request_headers: STANDARD.encode(&*headers(&signed, &attempted)?),
            };
            exchange(api, &login, DEFINITION.name, &self.mount).await
        })
    }
}

/// The headers as a JSON object.
fn headers(signed: &SignedRequest, attempted: &str) -> Result<Zeroizing<String>, ProviderError> {
    let invalid =
        || ProviderError::new(ErrorKind::Denied, format!("{attempted}: the signed request has an unfit header"));
    let mut json = Zeroizing::new("{".to_owned());
    for (name, value) in &signed.headers {
        let value = std::str::from_utf8(value.expose()).map_err(|_| invalid())?;
        if json.len() > 1 {
            json.push(',');
        }
        for (text, end) in [(name.as_str(), ":"), (value, "")] {
            json.push_str(&Zeroizing::new(serde_json::to_string(text).map_err(|_| invalid())?));
            json.push_str(end);
        }
    }
    json.push('}');
    Ok(json)
}

#[cfg(test)]
mod tests {
    use handfast_testkit::Variables;

    #[test]
    fn the_global_sts_is_used_unless_there_is_none() {
        let of = |region: &str, kind: &str| {
            let variables = Variables::default().with("AWS_REGION", region).with("AWS_STS_REGIONAL_ENDPOINTS", kind);
            super::region(&variables).map(str::to_owned)
        };
        assert_eq!(of("eu-west-1", ""), None);
        assert_eq!(of("eu-west-1", "legacy"), None);
        assert_eq!(of("eu-west-1", "regional").as_deref(), Some("eu-west-1"));
        assert_eq!(of("cn-north-1", "").as_deref(), Some("cn-north-1"));
        assert_eq!(of("us-gov-west-1", "legacy").as_deref(), Some("us-gov-west-1"));
        let older = Variables::default().with("AWS_DEFAULT_REGION", "us-iso-east-1");
        assert_eq!(super::region(&older), Some("us-iso-east-1"));
    }
}
