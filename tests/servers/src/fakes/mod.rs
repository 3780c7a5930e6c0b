//! Fakes of services that cannot run on a test machine: Kubernetes' token review, Google's endpoints, the clouds' metadata
//! services, and an issuer of tokens.

mod aws;
mod azure;
mod google;
mod issuer;
mod kubernetes;

pub use aws::AwsMetadata;
pub use azure::AzureMetadata;
pub use google::Google;
pub use issuer::Issuer;
pub use kubernetes::Kubernetes;
