//! Checks the names of regions. A host name with a wrong region would be retried until the deadline, because its look-up fails.

use handfast_core::{Complaint, excerpt, nearest};

/// The regions, each with its place in AWS's consoles and price lists. An unknown region is accepted, because AWS adds some every
/// year.
const KNOWN: &[(&str, &str)] = &[
    ("us-east-1", "virginia"),
    ("us-east-2", "ohio"),
    ("us-west-1", "california"),
    ("us-west-2", "oregon"),
    ("us-gov-east-1", "govcloud (us-east)"),
    ("us-gov-west-1", "govcloud (us-west)"),
    ("af-south-1", "cape town"),
    ("ap-east-1", "hong kong"),
    ("ap-east-2", "taipei"),
    ("ap-northeast-1", "tokyo"),
    ("ap-northeast-2", "seoul"),
    ("ap-northeast-3", "osaka"),
    ("ap-south-1", "mumbai"),
    ("ap-south-2", "hyderabad"),
    ("ap-southeast-1", "singapore"),
    ("ap-southeast-2", "sydney"),
    ("ap-southeast-3", "jakarta"),
    ("ap-southeast-4", "melbourne"),
    ("ap-southeast-5", "malaysia"),
    ("ap-southeast-6", "new zealand"),
    ("ap-southeast-7", "thailand"),
    ("ca-central-1", "canada"),
    ("ca-west-1", "calgary"),
    ("cn-north-1", "beijing"),
    ("cn-northwest-1", "ningxia"),
    ("eu-central-1", "frankfurt"),
    ("eu-central-2", "zurich"),
    ("eu-north-1", "stockholm"),
    ("eu-south-1", "milan"),
    ("eu-south-2", "spain"),
    ("eu-west-1", "ireland"),
    ("eu-west-2", "london"),
    ("eu-west-3", "paris"),
    ("il-central-1", "tel aviv"),
    ("me-central-1", "uae"),
    ("me-south-1", "bahrain"),
    ("mx-central-1", "mexico"),
    ("sa-east-1", "paulo"),
];

/// The part before the number, which every region's name has.
const DIRECTIONS: &[&str] =
    &["north", "south", "east", "west", "central", "northeast", "northwest", "southeast", "southwest"];

/// The kind of server that requests go to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// AWS itself.
    Aws,
    /// A user's endpoint, where a region can have any name that is valid in a signature.
    Custom,
}

/// Checks that a text can be a region's name.
pub fn check(text: &str, target: Target) -> Result<(), Complaint> {
    let is_name = match target {
        Target::Aws => is_region(text),
        Target::Custom => {
            let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
            (1..=63).contains(&text.len()) && text.bytes().all(fits)
        }
    };
    if is_name {
        return Ok(());
    }
    let hint = match suggestion(text) {
        Some(region) => format!("did you mean `{region}`?"),
        None => "a region is such as `eu-west-1`".to_owned(),
    };
    Err(Complaint::new(format!("\"{}\" is no region", excerpt(text))).hint(hint))
}

/// Whether it is `<area>-<direction>-<number>`; there may be a second area, as in `us-gov-west-1`.
fn is_region(text: &str) -> bool {
    let parts: Vec<&str> = text.split('-').collect();
    let [areas @ .., direction, number] = &parts[..] else { return false };
    let is_area = |area: &&str| area.len() >= 2 && area.bytes().all(|byte| byte.is_ascii_lowercase());
    (1..=2).contains(&areas.len())
        && areas.iter().all(is_area)
        && DIRECTIONS.contains(direction)
        && (1..=2).contains(&number.len())
        && number.bytes().all(|byte| byte.is_ascii_digit())
}

/// The region that the user may have meant: in another spelling, by the name of one of its zones, or by its place.
fn suggestion(text: &str) -> Option<String> {
    let text = text.get(..64).unwrap_or(text).trim().to_ascii_lowercase();
    let spelled = text.replace(['_', ' ', '.'], "-");
    let zone = spelled.trim_end_matches(|last: char| last.is_ascii_lowercase());
    if let Some(region) = [&*spelled, zone].into_iter().find(|region| is_region(region)) {
        return Some(region.to_owned());
    }
    let by_place = KNOWN.iter().find(|(_, place)| text.contains(place)).map(|(region, _)| *region);
    by_place.or_else(|| nearest(&spelled, KNOWN.iter().map(|(region, _)| *region))).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_existing_region_has_a_valid_name() {
        let others = ["us-iso-east-1", "us-isob-east-1", "eu-isoe-west-1", "us-isof-south-1", "eusc-de-east-1"];
        for region in KNOWN.iter().map(|(region, _)| *region).chain(others) {
            assert_eq!(check(region, Target::Aws), Ok(()), "{region}");
        }
        assert_eq!(check("local", Target::Custom), Ok(()));
    }

    #[test]
    fn a_wrong_region_gets_a_suggestion() {
        for (text, meant) in [
            ("EU (Ireland)", "did you mean `eu-west-1`?"),
            ("Europe (Frankfurt)", "did you mean `eu-central-1`?"),
            ("US East (N. Virginia)", "did you mean `us-east-1`?"),
            ("eu_west_1", "did you mean `eu-west-1`?"),
            ("EU-WEST-1", "did you mean `eu-west-1`?"),
            ("eu-west-1a", "did you mean `eu-west-1`?"),
            ("us-gov-west-1b", "did you mean `us-gov-west-1`?"),
            ("eu-wset-1", "did you mean `eu-west-1`?"),
            ("eu-west", "did you mean `eu-west-1`?"),
            ("euwest1", "did you mean `eu-west-1`?"),
            ("", "a region is such as `eu-west-1`"),
            ("nowhere at all", "a region is such as `eu-west-1`"),
        ] {
            let complaint = check(text, Target::Aws).unwrap_err();
            assert_eq!(complaint.message, format!("\"{text}\" is no region"));
            assert_eq!(complaint.hint.as_deref(), Some(meant), "{text}");
        }
        assert!(check("EU (Ireland)", Target::Custom).is_err() && check("", Target::Custom).is_err());
    }
}
