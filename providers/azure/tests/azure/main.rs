//! Tests with the tests' own Azure, over TLS.

mod support;
mod texts;

mod addresses;
mod credentials;
mod economy;
mod keeping;
mod managed;
mod refusals;
mod secrets;
