//! The AWS identity that other providers log in with. It has no settings: its keys come from the same ways as this provider's.

use std::rc::Rc;
use std::sync::Arc;

use handfast_core::{BoxFuture, Context, ErrorKind, Problems, ProviderError, SignedRequest, Table, excerpt};
use handfast_http::{Client, Once};

use crate::credentials::{Credentials, Settings};
use crate::endpoints::{Endpoints, partition};
use crate::settings::options;
use crate::signature::Post;

/// Signs with the keys of the environment, the shared files or the metadata services.
pub struct Identity {
    context: Context,
    credentials: Once<Rc<Credentials>>,
}

impl Identity {
    /// The identity in this environment. Nothing is read before the first request.
    pub fn new(context: Context) -> Self {
        Self { context, credentials: Once::default() }
    }

    async fn credentials(&self) -> Result<Rc<Credentials>, ProviderError> {
        self.credentials.get(|_| true, async { self.read().map(Rc::new) }).await
    }

    fn read(&self) -> Result<Credentials, ProviderError> {
        let (table, environment) = (Table::default(), &*self.context.environment);
        let (mut problems, mut missing) = (Problems::default(), Vec::new());
        let options = options(&[], environment, &mut problems);
        let endpoints = Endpoints::read(&table, environment, &mut problems, &mut missing);
        let settings = Settings::read(&table, environment, endpoints.target(), &mut problems, &mut missing);
        if let Some(complaint) = missing.into_iter().next() {
            return Err(complaint.into_error(ErrorKind::Denied));
        }
        let client = Arc::new(Client::new(options, &self.context)?);
        Ok(Credentials::new(settings, endpoints, self.context.clone(), client))
    }
}

impl handfast_core::Identity for Identity {
    /// A request for STS' `GetCallerIdentity` (docs.aws.amazon.com/STS/latest/APIReference/API_GetCallerIdentity.html).
    fn sign_request<'a>(
        &'a self,
        region: Option<&'a str>,
        headers: &'a [(&'a str, &'a str)],
    ) -> BoxFuture<'a, Result<SignedRequest, ProviderError>> {
        Box::pin(async move {
            let (host, region) = endpoint(region)?;
            let (url, body) = (format!("https://{host}/"), "Action=GetCallerIdentity&Version=2011-06-15");
            let keys = self.credentials().await?.unexpired().await?;
            let lower: Vec<_> = headers.iter().map(|(name, value)| (name.to_ascii_lowercase(), *value)).collect();
            let mut all = vec![("content-type", "application/x-www-form-urlencoded; charset=utf-8")];
            all.extend(lower.iter().map(|(name, value)| (name.as_str(), *value)));
            let post = Post { url: &url, headers: &all, body, region, service: "sts" };
            let headers = post.sign(&keys.for_sdk()?, self.context.clock.now())?;
            Ok(SignedRequest { url, headers, body: body.to_owned() })
        })
    }
}

/// The host of STS, and the region for the signature (docs.aws.amazon.com/general/latest/gr/sts.html).
fn endpoint(region: Option<&str>) -> Result<(String, &str), ProviderError> {
    let Some(region) = region else { return Ok(("sts.amazonaws.com".to_owned(), "us-east-1")) };
    if region.is_empty()
        || !region.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
    {
        let message = format!("cannot sign as an AWS identity: \"{}\" is no region", excerpt(region));
        return Err(ProviderError::new(ErrorKind::Denied, message).hint("AWS_REGION is such as \"eu-west-1\""));
    }
    let domain = partition(region).domain;
    Ok((format!("sts.{region}.{domain}"), region))
}

#[cfg(test)]
mod tests {
    use handfast_core::Identity as _;
    use handfast_testkit::{Outside, Variables, run};

    use super::*;

    fn signed(variables: Variables, region: Option<&str>) -> Result<SignedRequest, ProviderError> {
        let variables = variables.with("AWS_EC2_METADATA_DISABLED", "true");
        let context = Outside { variables, ..Outside::default() }.context();
        run(async { Identity::new(context).sign_request(region, &[]).await })
    }

    fn keys() -> Variables {
        Variables::default()
            .with_credential("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
            .with_credential("AWS_SECRET_ACCESS_KEY", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY\n")
    }

    fn names(request: &SignedRequest) -> Vec<&str> {
        request.headers.iter().map(|(name, _)| name.as_str()).collect()
    }

    #[test]
    fn the_request_is_for_the_global_or_a_regional_sts() {
        for (region, url, scope) in [
            (None, "https://sts.amazonaws.com/", "/us-east-1/sts/aws4_request"),
            (Some("eu-west-1"), "https://sts.eu-west-1.amazonaws.com/", "/eu-west-1/sts/aws4_request"),
            (Some("cn-north-1"), "https://sts.cn-north-1.amazonaws.com.cn/", "/cn-north-1/sts/aws4_request"),
            (Some("us-gov-west-1"), "https://sts.us-gov-west-1.amazonaws.com/", "/us-gov-west-1/sts/"),
            (Some("us-isof-south-1"), "https://sts.us-isof-south-1.csp.hci.ic.gov/", "/us-isof-south-1/sts/"),
        ] {
            let request = signed(keys(), region).unwrap();
            assert_eq!(request.url, url);
            assert_eq!(names(&request), ["authorization", "content-type", "host", "x-amz-date"]);
            let authorization = String::from_utf8(request.headers[0].1.expose().to_vec()).unwrap();
            assert!(authorization.contains(scope), "{authorization}");
            assert!(!authorization.contains("EXAMPLEKEY"));
        }
    }

    #[test]
    fn a_session_token_is_signed_and_sent() {
        let request = signed(keys().with_credential("AWS_SESSION_TOKEN", "token"), None).unwrap();
        let expected = ["authorization", "content-type", "host", "x-amz-date", "x-amz-security-token"];
        assert_eq!(names(&request), expected);
        assert_eq!(request.headers[4].1.expose(), b"token");
    }

    #[test]
    fn without_keys_or_with_an_invalid_region_nothing_is_signed() {
        let error = signed(Variables::default(), None).err().unwrap();
        assert_eq!((error.kind, error.message.contains("`AWS_ACCESS_KEY_ID` is not set")), (ErrorKind::Denied, true));
        let half = Variables::default().with_credential("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE");
        let error = signed(half, None).err().unwrap();
        assert!(error.message.contains("`AWS_SECRET_ACCESS_KEY` is not"), "{error}");
        for region in ["", "eu west", "x/../y", "evil.example.org#"] {
            assert!(signed(keys(), Some(region)).err().unwrap().message.contains("is no region"));
        }
    }
}
