//! An identity provider's token, as pods in EKS have it (IRSA)
//! (docs.aws.amazon.com/sdkref/latest/guide/feature-assume-role-credentials.html).

use handfast_core::ProviderError;

use super::keys::Found;
use super::resources::{Resources, denied};
use super::settings::Role;
use super::sts;

pub async fn find(resources: &Resources) -> Result<Found, ProviderError> {
    let (file, role) = match (resources.variable("AWS_WEB_IDENTITY_TOKEN_FILE"), resources.variable("AWS_ROLE_ARN")) {
        (Some(file), role) => (file, role),
        (None, Some(_)) => {
            return Ok(Found::Incomplete("`AWS_ROLE_ARN` is set and `AWS_WEB_IDENTITY_TOKEN_FILE` is not".into()));
        }
        (None, None) => return Ok(Found::NotSetUp("`AWS_WEB_IDENTITY_TOKEN_FILE` is not set".into())),
    };
    let arn = role.ok_or_else(|| {
        denied("no AWS credentials: `AWS_WEB_IDENTITY_TOKEN_FILE` is set and `AWS_ROLE_ARN` is not")
            .hint("set the role that the token is for: EKS sets both, from the service account's annotation")
    })?;
    let role = Role { arn, external_id: None, session_name: resources.settings.session_name() };
    sts::assume_with_token(resources, file, &role).await.map(Found::Keys)
}
