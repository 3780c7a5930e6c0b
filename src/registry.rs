//! The providers that are compiled in. Only this file names the provider crates.
#![forbid(unsafe_code)]

use handfast_core::{Context, Definition, Identities, Place, Problem};

/// The providers, by name.
pub const DEFINITIONS: &[&Definition] = &[
    #[cfg(feature = "aws")]
    &handfast_aws::DEFINITION,
    #[cfg(feature = "azure")]
    &handfast_azure::DEFINITION,
    &handfast_file::DEFINITION,
    &handfast_mock::DEFINITION,
    #[cfg(feature = "vault")]
    &handfast_vault::DEFINITION,
];

/// Why a documented provider is not compiled in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Absence {
    /// The end of a sentence whose subject is the provider.
    pub why: &'static str,
    /// How to get the provider.
    pub hint: Option<&'static str>,
}

impl Absence {
    /// The problem of a setting that names the provider. `what` begins the sentence.
    pub fn problem(self, place: &Place, what: &str) -> Problem {
        Problem { place: place.clone(), message: format!("{what} {}", self.why), hint: self.hint.map(str::to_owned) }
    }
}

/// The provider with this name.
pub fn find(name: &str) -> Option<&'static Definition> {
    DEFINITIONS.iter().copied().find(|definition| definition.name == name)
}

/// Why [`find`] does not know the name of a documented provider. Such a provider is absent from the schema, and an error names it
/// when it is used.
pub fn absence(name: &str) -> Option<Absence> {
    match name {
        "aws" | "azure" | "vault" => Some(Absence {
            why: "is not in this build",
            hint: Some("build handfast with the feature of that name, or take the one that is shipped, which has all"),
        }),
        "exec" => Some(Absence { why: "is not in this version", hint: None }),
        _ => None,
    }
}

/// The identities that providers can prove, for the providers that log in with the identity of another.
pub fn identities(context: &Context) -> Identities {
    DEFINITIONS.iter().filter_map(|definition| Some((definition.name, definition.identity?(context.clone())))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_provider_that_is_not_here_is_told_with_the_way_to_it() {
        for name in ["aws", "azure", "vault"] {
            let absence = absence(name).expect("a handfast may be built without it");
            let problem = absence.problem(&Place::CommandLine, &format!("`{name}:a`: the provider `{name}`"));
            assert_eq!(problem.message, format!("`{name}:a`: the provider `{name}` is not in this build"));
            assert_eq!(
                problem.hint.as_deref(),
                Some("build handfast with the feature of that name, or take the one that is shipped, which has all")
            );
        }
        assert_eq!(absence("exec"), Some(Absence { why: "is not in this version", hint: None }));
        assert_eq!(absence("mock").or(absence("Vault")).or(absence("")), None);
    }

    #[test]
    fn each_provider_that_is_here_is_found_and_they_stand_by_name() {
        assert!(DEFINITIONS.is_sorted_by_key(|definition| definition.name));
        assert!(DEFINITIONS.iter().all(|definition| find(definition.name).is_some()));
        assert!(find("exec").is_none());
    }
}
