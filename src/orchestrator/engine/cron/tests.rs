use proptest::prelude::*;

use super::super::window::zone;
use super::*;

fn schedule(expression: &str) -> Schedule {
    Schedule::parse(expression, "trigger").unwrap_or_else(|e| panic!("{expression}: {e}"))
}

/// The next times after this one, shown in the zone.
fn times(expression: &str, zone_name: &str, after: &str, count: usize) -> Vec<String> {
    let zone = zone(zone_name).unwrap();
    let found = schedule(expression).missed(Timestamp::parse(after).unwrap(), Timestamp(i64::MAX), &zone, count).times;
    let show = |time: Timestamp| jiff::Timestamp::from_millisecond(time.0).unwrap().to_zoned(zone.clone()).strftime("%F %T%:z").to_string();
    found.into_iter().map(show).collect()
}

fn first(expression: &str, after: &str) -> String {
    times(expression, "UTC", after, 1)[0].trim_end_matches("+00:00").to_owned()
}

fn refusal(expression: &str) -> String {
    Schedule::parse(expression, "t").expect_err(expression).to_string()
}

#[test]
fn quartz_fields_mean_what_quartz_says() {
    let at = "2026-11-22T16:00:00Z"; // a Sunday
    for (expression, expected) in [
        ("0 0 10 ? * MON-FRI", "2026-11-23 10:00:00"),
        ("0 0 10 ? * 1", "2026-11-29 10:00:00"),
        ("0 0 10 ? * 7", "2026-11-28 10:00:00"),
        ("0 0 10 ? * L", "2026-11-28 10:00:00"),
        ("0 0 10 ? * FRI-SUN", "2026-11-27 10:00:00"),
        ("0 0 10 ? * 6L", "2026-11-27 10:00:00"),
        ("0 0 10 ? * 2#1", "2026-12-07 10:00:00"),
        ("0 0 10 ? * mon#1,6#1", "2026-12-04 10:00:00"),
        ("0 0 10 L * ?", "2026-11-30 10:00:00"),
        ("0 0 10 L-2 * ?", "2026-11-28 10:00:00"),
        ("0 0 10 L-3 2 ? 2028", "2028-02-26 10:00:00"),
        ("0 0 10 LW 1 ?", "2027-01-29 10:00:00"),
        ("0 0 10 28W * ?", "2026-11-27 10:00:00"),
        ("0 0 10 1W 8 ?", "2027-08-02 10:00:00"),
        ("0 0 10 15,L * ?", "2026-11-30 10:00:00"),
        ("0 5/20 * * * ?", "2026-11-22 16:05:00"),
        ("0 0 22-2 * * ?", "2026-11-22 22:00:00"),
        ("*/30 59 23 31 12 ? 2027-2030/2", "2027-12-31 23:59:00"),
        ("0 0 0 29 FEB ?", "2028-02-29 00:00:00"),
        ("0 0 0 * * *", "2026-11-23 00:00:00"),
        ("0 0 0 * * MON", "2026-11-23 00:00:00"),
    ] {
        assert_eq!(first(expression, at), expected, "{expression}");
    }
}

#[test]
fn an_error_names_its_field_and_its_column() {
    assert_eq!(refusal("0 0  25 * * ?"), "column 6, hours: \"25\" is not a number from 0 to 23");
    assert_eq!(refusal("0 0 1 ? * FOO"), "column 11, day of week: \"FOO\" is not a number from 1 to 7 or SUN to SAT");
    assert_eq!(refusal("0 */0 1 ? * 1"), "column 3, minutes: \"*/0\": a step is a number from 1 to 59");
    assert_eq!(refusal("0 ? 1 ? * 1"), "column 3, minutes: ? stands alone, and only for a day");
    assert_eq!(refusal("0 0 1 ? * 2#6"), "column 11, day of week: \"2#6\": after # comes a number from 1 to 5");
    assert_eq!(refusal("0 0 1 * * ? H"), "column 13, year: H is not for years");
    assert_eq!(refusal(&format!("0 0 1 {} * ?", "L,".repeat(150))), Error::TooLong.to_string());
    assert!(refusal("0 0 * * *").starts_with("has 5 fields"));
    assert_eq!((refusal("0 0 1 15 * MON"), refusal("0 0 1 ? * ?")), (Error::BothDays.to_string(), Error::BothDays.to_string()));
    assert_eq!(refusal("0 0 0 30 2 ?"), Error::NeverFires.to_string());
    assert_eq!(refusal("0 0 0 29 2 ? 2027"), Error::NeverFires.to_string());
}

#[test]
fn h_is_picked_by_the_trigger_and_stays_within_what_was_asked() {
    let minute = |id: &str, expression: &str| {
        let next = Schedule::parse(expression, id).unwrap().next_after(Timestamp(-1), &TimeZone::UTC).unwrap();
        next.0 / 60_000 % 60
    };
    assert_eq!(minute("a", "0 H * * * ?"), minute("a", "0 H * * * ?"));
    let picked: std::collections::BTreeSet<i64> = (0..100).map(|n| minute(&n.to_string(), "0 H * * * ?")).collect();
    assert!(picked.len() > 30, "{picked:?}");
    for id in 0..200 {
        let id = id.to_string();
        assert!((20..=29).contains(&minute(&id, "0 H(20-29) * * * ?")));
        assert!((0..15).contains(&minute(&id, "0 H/15 * * * ?")));
        let day = Schedule::parse("0 0 0 H 2 ?", &id).unwrap().next_after(Timestamp(0), &TimeZone::UTC).unwrap();
        assert!((31..31 + 28).contains(&(day.0 / 86_400_000)), "{day}");
    }
    let quarter = schedule("0 H/15 * * * ?").missed(Timestamp(0), Timestamp(3_600_000), &TimeZone::UTC, 10).times;
    assert!(quarter.len() == 4 && quarter.windows(2).all(|two| two[1].0 - two[0].0 == 900_000), "{quarter:?}");
}

#[test]
fn a_listed_time_in_the_spring_gap_fires_when_the_clock_has_jumped() {
    for expression in ["0 30 2 * * ?", "0 30 2,14 * * ?"] {
        let fired = times(expression, "Europe/Berlin", "2026-03-28T20:00:00Z", 1);
        assert_eq!(fired, ["2026-03-29 03:00:00+02:00"], "{expression}");
    }
    assert_eq!(
        times("0 5,10 2 * * ?", "Australia/Lord_Howe", "2026-10-03T15:00:00Z", 2),
        ["2026-10-04 02:30:00+11:00", "2026-10-05 02:05:00+11:00"]
    );
}

#[test]
fn a_listed_time_that_comes_twice_in_autumn_fires_the_first_time_only() {
    for expression in ["0 30 1 * * ?", "0 30 1,13 * * ?"] {
        let fired = times(expression, "America/Los_Angeles", "2026-11-01T04:00:00Z", 2);
        assert_eq!(fired[0], "2026-11-01 01:30:00-07:00", "{expression}");
        assert!(!fired[1].contains("01:30:00-08:00") || fired[1].starts_with("2026-11-02"), "{expression}: {fired:?}");
    }
}

#[test]
fn times_by_step_follow_the_wall_clock_over_both_jumps() {
    assert_eq!(
        times("0 0/30 * * * ?", "Europe/Berlin", "2026-03-29T00:29:00Z", 2),
        ["2026-03-29 01:30:00+01:00", "2026-03-29 03:00:00+02:00"]
    );
    let autumn = times("0 0/30 * * * ?", "Europe/Berlin", "2026-10-25T00:00:00Z", 4);
    let hours: Vec<&str> = autumn.iter().map(|time| &time[11..]).collect();
    assert_eq!(hours, ["02:30:00+02:00", "02:00:00+01:00", "02:30:00+01:00", "03:00:00+01:00"]);
}

#[test]
fn missed_times_are_counted_up_to_a_bound() {
    let hourly = schedule("0 0 * * * ?");
    let day = |n: i64| Timestamp(n * 86_400_000);
    let few = hourly.missed(day(0), Timestamp(3 * 3_600_000), &TimeZone::UTC, 10);
    assert_eq!((few.times.len(), few.more), (3, false));
    let many = hourly.missed(day(0), day(365), &TimeZone::UTC, 5);
    assert_eq!((many.times.len(), many.more), (5, true));
}

proptest! {
    #[test]
    fn the_next_time_is_later_and_fits_by_the_wall_clock(minutes in 0_i64..60 * 24 * 400, step in 1_u8..30, which in 0_usize..3) {
        let zone = zone(["Europe/Berlin", "America/Los_Angeles", "Australia/Lord_Howe"][which]).unwrap();
        let at = Timestamp(1_770_000_000_000 + minutes * 60_000 + 321);
        let next = schedule(&format!("0 0/{step} * * * ?")).next_after(at, &zone).unwrap();
        let fits = |time: Timestamp| {
            let wall = jiff::Timestamp::from_millisecond(time.0).unwrap().to_zoned(zone.clone());
            wall.second() == 0 && wall.minute() % i8::try_from(step).unwrap() == 0
        };
        let minute = Timestamp(at.0 / 60_000 * 60_000 + 60_000);
        let expected = (0..).map(|n| Timestamp(minute.0 + n * 60_000)).find(|time| fits(*time)).unwrap();
        prop_assert_eq!(next, expected);
    }

    #[test]
    fn no_text_is_a_panic(text in "[0-9A-Za-z*?/,#() -]{0,40}|([0-9*?HLW/#-]{1,5} ){5,6}[0-9*?L#]{1,3}") {
        if let Ok(schedule) = Schedule::parse(&text, "t") {
            let at = Timestamp(1_770_000_000_000);
            prop_assert!(schedule.next_after(at, &TimeZone::UTC).is_none_or(|next| next > at));
        }
    }
}

#[test]
fn the_last_of_many_times_is_the_last_one() {
    let zone = zone("Europe/Berlin").unwrap();
    let after = Timestamp::parse("2026-03-01T00:00:00Z").unwrap();
    for (expression, days) in
        [("* * * * * ?", 2), ("0 0/7 * * * ?", 40), ("0 30 2 * * ?", 300), ("0 0 0 29 2 ?", 900), ("0 0 0 29 2 ?", 90)]
    {
        let until = Timestamp(after.0 + days * 86_400_000 + 1234);
        let all = schedule(expression).missed(after, until, &zone, usize::MAX).times;
        assert_eq!(schedule(expression).last(after, until, &zone), all.last().copied(), "{expression}");
        if let Some(last) = all.last() {
            assert_eq!(schedule(expression).last(after, *last, &zone), Some(*last), "{expression}: a border belongs to it");
        }
    }
}
