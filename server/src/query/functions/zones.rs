//! Time zones by name: what stands behind a timestamp's time where it is no offset.
//!
//! Cassandra leaves this to the formatter of Java, which takes three sorts of names, each in its exact case: regions of the time zone database
//! (`Europe/Paris`), short names (`PST`) and long ones (`Pacific Standard Time`). A short or a long name stands for one region, whose summer time is kept
//! by the date and not by the name: `PST` in July is the same as `PDT`. Which region an ambiguous name means is of Java's choosing (17, in English), and was
//! asked for name by name: `zone_names.tsv` has a line for each region, and behind it the names that mean it.

use std::collections::HashMap;
use std::sync::LazyLock;

use jiff::Timestamp;
use jiff::tz::{TimeZone, TimeZoneDatabase};

/// The region of each short and long name.
static REGIONS: LazyLock<HashMap<&str, &str>> = LazyLock::new(|| {
    let mut regions = HashMap::new();
    for line in include_str!("zone_names.tsv").lines() {
        let (region, names) = line.split_once('\t').expect("a region has a name");
        regions.extend(names.split('\t').map(|name| (name, region)));
    }
    regions
});

/// The database that comes with the server, whatever the machine has.
static DATABASE: LazyLock<TimeZoneDatabase> = LazyLock::new(TimeZoneDatabase::bundled);

/// After so many days everything repeats: summer time begins by weekdays of a month.
const ERA_DAYS: i64 = 146_097;
const ERA_MILLIS: i64 = ERA_DAYS * 86_400_000;
/// 8000-01-01. From here on times are tried an era or more before; the years of jiff end with 9999.
const LATE_MILLIS: i64 = 190_288_396_800_000;
/// 0001-01-01. No zone has changed before.
const EARLY_MILLIS: i64 = -62_135_596_800_000;

/// Milliseconds since 1970 of what the clocks of a zone show, given as if it were UTC. What they skip is as much later, what they show twice is the first.
pub fn millis_of(local_millis: i64, name: &str) -> Option<i64> {
    let zone = zone(name)?;
    let eras = (local_millis
        .saturating_sub(LATE_MILLIS)
        .div_euclid(ERA_MILLIS)
        + 1)
    .max(0);
    let tried_millis = local_millis.max(EARLY_MILLIS) - eras * ERA_MILLIS;
    let tried = TimeZone::UTC.to_datetime(Timestamp::from_millisecond(tried_millis).ok()?);
    let moment = zone.to_ambiguous_timestamp(tried).compatible().ok()?;
    local_millis.checked_sub(tried_millis - moment.as_millisecond())
}

fn zone(name: &str) -> Option<TimeZone> {
    let region = REGIONS.get(name).copied().unwrap_or(name);
    // Java reads `Etc/GMT` and is at a loss about what is left.
    if region.len() > "Etc/GMT".len() && region.starts_with("Etc/GMT") {
        return None;
    }
    let zone = DATABASE.get(region).ok()?;
    (zone.iana_name() == Some(region)).then_some(zone)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2011-02-03 04:05 and 2011-07-03 04:05.
    const WINTER: i64 = 1_296_705_900_000;
    const SUMMER: i64 = 1_309_665_900_000;
    const HOUR: i64 = 3_600_000;

    #[test]
    fn a_short_name_is_a_region_and_the_date_decides_about_summer_time() {
        assert_eq!(millis_of(WINTER, "PST"), Some(WINTER + 8 * HOUR));
        assert_eq!(millis_of(SUMMER, "PST"), Some(SUMMER + 7 * HOUR));
        assert_eq!(millis_of(WINTER, "PDT"), Some(WINTER + 8 * HOUR));
        assert_eq!(millis_of(WINTER, "IST"), Some(WINTER));
        assert_eq!(
            millis_of(WINTER, "Pacific Standard Time"),
            millis_of(WINTER, "America/Los_Angeles")
        );
    }

    #[test]
    fn names_are_read_in_their_own_case() {
        for name in ["pst", "europe/paris", "Europe", "Etc/GMT+5", "XYZ", ""] {
            assert_eq!(millis_of(WINTER, name), None, "{name}");
        }
    }

    #[test]
    fn every_named_region_is_known() {
        for (name, region) in REGIONS.iter() {
            assert!(zone(name).is_some(), "{name} of {region}");
        }
    }

    #[test]
    fn far_years_have_the_summers_and_the_offsets_of_nearer_ones() {
        // 12345-07-01 02:30.
        let late = 327_419_029_800_000;
        assert_eq!(millis_of(late, "Europe/Paris"), Some(late - 2 * HOUR));
        // In the year -20000 the clocks of Paris went by its sun.
        let early = EARLY_MILLIS - 50 * ERA_MILLIS;
        assert_eq!(millis_of(early, "Europe/Paris"), Some(early - 561_000));
    }

    #[test]
    fn what_clocks_skip_is_later_and_what_they_show_twice_is_the_first() {
        // 2011-03-13 02:30 and 2011-11-06 01:30 in Los Angeles.
        assert_eq!(millis_of(1_299_983_400_000, "PT"), Some(1_300_012_200_000));
        assert_eq!(millis_of(1_320_543_000_000, "PT"), Some(1_320_568_200_000));
    }
}
