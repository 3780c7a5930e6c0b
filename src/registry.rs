//! The providers that are compiled in. No other file names a provider crate, or asks which there are.
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

/// Why a provider of the contract is not among them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Absence {
    /// The end of a sentence about it.
    pub why: &'static str,
    /// What to do about it.
    pub hint: Option<&'static str>,
}

impl Absence {
    /// The problem of whoever names it: `what` begins the sentence.
    pub fn problem(self, place: &Place, what: &str) -> Problem {
        Problem { place: place.clone(), message: format!("{what} {}", self.why), hint: self.hint.map(str::to_owned) }
    }
}

/// The provider of that name.
pub fn find(name: &str) -> Option<&'static Definition> {
    DEFINITIONS.iter().copied().find(|definition| definition.name == name)
}

/// Why [`find`] does not know a name that the contract has: named when used, absent from the schema.
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

/// The identities that providers have, for those that log in with another's.
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
