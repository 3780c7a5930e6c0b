//! What a region's name can be. A wrong one would be looked for in DNS until the deadline.

use handfast_core::{Complaint, excerpt, nearest};

/// The regions, each with the place that AWS' consoles and price lists call it by. Others are no error: AWS adds some every year.
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

/// What stands before the number of every region there is.
const DIRECTIONS: &[&str] =
    &["north", "south", "east", "west", "central", "northeast", "northwest", "southeast", "southwest"];

/// Where a region is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// At AWS.
    Aws,
    /// At an endpoint of the user's, where a region can have any name that a signature can hold.
    Elsewhere,
}

/// Whether a text can be a region's name.
pub fn check(text: &str, asked: Asked) -> Result<(), Complaint> {
    let is_name = match asked {
        Asked::Aws => is_region(text),
        Asked::Elsewhere => {
            let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
            (1..=63).contains(&text.len()) && text.bytes().all(fits)
        }
    };
    if is_name {
        return Ok(());
    }
    let hint = match meant(text) {
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

/// The region that somebody may have meant: in another spelling, by the name of one of its zones, or by its place.
fn meant(text: &str) -> Option<String> {
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
    fn every_region_there_is_has_a_regions_name() {
        let others = ["us-iso-east-1", "us-isob-east-1", "eu-isoe-west-1", "us-isof-south-1", "eusc-de-east-1"];
        for region in KNOWN.iter().map(|(region, _)| *region).chain(others) {
            assert_eq!(check(region, Asked::Aws), Ok(()), "{region}");
        }
        assert_eq!(check("local", Asked::Elsewhere), Ok(()));
    }

    #[test]
    fn of_what_is_none_the_region_that_was_meant_is_told() {
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
            let complaint = check(text, Asked::Aws).unwrap_err();
            assert_eq!(complaint.message, format!("\"{text}\" is no region"));
            assert_eq!(complaint.hint.as_deref(), Some(meant), "{text}");
        }
        assert!(check("EU (Ireland)", Asked::Elsewhere).is_err() && check("", Asked::Elsewhere).is_err());
    }
}
