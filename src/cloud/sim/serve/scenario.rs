//! Scenarios in the box of `bellrock sim`, by name. Documents like anybody's own: a good place to copy from.

use crate::cloud::sim::Scenario;

/// What `bellrock sim` begins with when nobody says otherwise.
pub const DEFAULT: &str = "fleet";

/// The names.
pub const NAMES: [&str; 3] = ["fleet", "redeploy", "broken"];

/// The scenario of this name.
pub fn named(name: &str) -> Option<Scenario> {
    let document = match name {
        "fleet" => include_str!("scenarios/fleet.json"),
        "redeploy" => include_str!("scenarios/redeploy.json"),
        "broken" => include_str!("scenarios/broken.json"),
        _ => return None,
    };
    Some(serde_json::from_str(document).expect("a test reads every document in the box"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cloud::sim::Region;
    use crate::model::Timestamp;

    #[test]
    fn every_scenario_in_the_box_can_be_read_and_built() {
        for name in NAMES {
            let scenario = named(name).unwrap_or_else(|| panic!("{name} is not in the box"));
            Region::new(0, Timestamp(0)).load(&scenario).unwrap_or_else(|e| panic!("{name}: {e}"));
        }
        assert!(NAMES.contains(&DEFAULT) && named("nobody").is_none());
    }
}
