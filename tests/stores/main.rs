//! Tests with a store, or a stand-in for one.

#[path = "../support/mod.rs"]
mod support;

mod aws_credentials;
mod aws_networks;
mod aws_secrets;
mod azure_policy;
mod azure_secrets;
mod check_online;
mod cloud_watch;
mod ends;
mod examples_aws;
mod examples_postgresql;
mod examples_vault;
mod fields;
mod keeping;
mod policy;
mod vault_changes;
mod vault_descriptors;
mod vault_earlier;
mod vault_keeping;
mod vault_leases;
mod vault_logins;
mod vault_names;
mod vault_outages;
mod vault_pages;
mod vault_secrets;
mod vault_tokens;
mod vault_watch;
