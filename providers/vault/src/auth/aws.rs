//! `aws`: proof of an AWS identity, by a request for its name that is signed here and sent by Vault (the method's "iam"
//! login).

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use handfast_core::{BoxFuture, Context, Environment, ErrorKind, ProviderError, SignedRequest};
use vaultrs::api::auth::aws::requests::IamLoginRequest;
use zeroize::Zeroizing;

use super::exchange::{attempt, exchange};
use super::given::Given;
use super::method::{Definition, Login, Method};
use crate::api::Api;

// Without a role, Vault takes the one with the identity's own name.
pub const DEFINITION: Definition =
    Definition { name: "aws", keys: &["mount", "role", "header_value"], needs: &[], read };

struct Aws {
    mount: String,
    role: Option<String>,
    region: Option<String>,
    /// Proves that the request was signed for this Vault: it is signed along with it.
    header_value: Option<String>,
}

const HEADER: &str = "X-Vault-AWS-IAM-Server-ID";

/// The provider whose identity is shown.
const IDENTITY: &str = "aws";

fn read(given: &Given<'_>) -> Box<dyn Method> {
    Box::new(Aws {
        mount: given.mount(),
        role: given.text("role", "VAULT_ROLE"),
        region: region(given.environment()).map(str::to_owned),
        header_value: given.written("header_value").map(str::to_owned),
    })
}

/// The region whose STS is to be asked. It must be the one that Vault asks, which is the global one unless Vault is configured
/// otherwise; so it is for us, unless there is none in this part of AWS, or AWS' own variable asks for the region's.
fn region(environment: &dyn Environment) -> Option<&str> {
    let region = environment.variable("AWS_REGION").or_else(|| environment.variable("AWS_DEFAULT_REGION"))?;
    let apart = ["cn-", "us-gov-", "us-iso", "eu-isoe-", "eusc-"].iter().any(|part| region.starts_with(part));
    let asked = environment.variable("AWS_STS_REGIONAL_ENDPOINTS") == Some("regional");
    (apart || asked).then_some(region)
}

impl Method for Aws {
    fn asks_others(&self) -> bool {
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
    let unfit =
        || ProviderError::new(ErrorKind::Denied, format!("{attempted}: the signed request has an unfit header"));
    let mut json = Zeroizing::new("{".to_owned());
    for (name, value) in &signed.headers {
        let value = std::str::from_utf8(value.expose()).map_err(|_| unfit())?;
        if json.len() > 1 {
            json.push(',');
        }
        for (text, end) in [(name.as_str(), ":"), (value, "")] {
            json.push_str(&Zeroizing::new(serde_json::to_string(text).map_err(|_| unfit())?));
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
    fn the_global_sts_is_asked_unless_there_is_none() {
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
