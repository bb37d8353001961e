use serde_json::json;

use super::*;

fn window(value: Value) -> Window {
    Window::parse(&value).unwrap_or_else(|problems| panic!("{value}: {problems:?}"))
}

fn hours(start: &str, end: &str) -> Value {
    let part = |text: &str, at: usize| text.split(':').nth(at).unwrap().parse::<u64>().unwrap();
    json!({ "whitelist": [
        { "startHour": part(start, 0), "startMin": part(start, 1), "endHour": part(end, 0), "endMin": part(end, 1) }
    ]})
}

/// The next opening after a time with an offset, shown in the zone.
fn opening(value: Value, zone_name: &str, at: &str) -> String {
    let zone = zone(zone_name).unwrap();
    let at = Timestamp::parse(at).unwrap();
    let time = window(value).next_opening(at, &zone).unwrap().time(at);
    jiff::Timestamp::from_millisecond(time.0).unwrap().to_zoned(zone).strftime("%a %F %T%:z").to_string()
}

#[test]
fn skipped_days_do_not_add_another_one() {
    let at = "2015-02-25T21:45:00-08:00";
    for (days, expected) in [
        (json!([3]), "Tue 2015-03-03 06:00:00-08:00"),
        (json!([4]), "Wed 2015-03-04 06:00:00-08:00"),
        (json!([3, 5]), "Thu 2015-02-26 06:00:00-08:00"),
    ] {
        let mut value = hours("06:00", "10:00");
        value["days"] = days;
        assert_eq!(opening(value, DEFAULT_ZONE, at), expected);
    }
    assert_eq!(opening(json!({ "days": [1] }), DEFAULT_ZONE, "2015-02-25T01:00:00-08:00"), "Sun 2015-03-01 00:00:00-08:00");
}

#[test]
fn an_open_window_answers_now_to_the_end_of_its_last_minute() {
    let window = window(hours("10:00", "11:30"));
    let utc = TimeZone::UTC;
    let look = |at: &str| window.next_opening(Timestamp::parse(at).unwrap(), &utc).unwrap();
    assert_eq!(look("2020-01-01T11:30:59.999Z"), Opening::Now);
    assert_eq!(look("2020-01-01T11:31:00Z"), Opening::At(Timestamp::parse("2020-01-02T10:00:00Z").unwrap()));
    assert_eq!(look("2020-01-01T09:59:59.999Z"), Opening::At(Timestamp::parse("2020-01-01T10:00:00Z").unwrap()));
}

#[test]
fn a_span_over_midnight_is_open_on_both_sides_by_the_day_the_clock_shows() {
    let mut value = hours("22:00", "05:00");
    value["days"] = json!([6]);
    assert_eq!(opening(value.clone(), "UTC", "2026-11-20T05:01:00Z"), "Fri 2026-11-20 22:00:00+00:00");
    assert_eq!(opening(value, "UTC", "2026-11-21T00:00:00Z"), "Fri 2026-11-27 00:00:00+00:00");
    let within_an_hour = hours("10:30", "10:15");
    assert_eq!(opening(within_an_hour, "UTC", "2026-11-20T10:20:00Z"), "Fri 2026-11-20 10:30:00+00:00");
}

#[test]
fn spring_forward_a_span_in_the_gap_opens_the_next_day_and_one_that_leaves_it_opens_when_the_clock_has_jumped() {
    for (zone, before, start, end, expected) in [
        ("Europe/Berlin", "2026-03-29T00:00:00Z", "02:10", "02:50", "Mon 2026-03-30 02:10:00+02:00"),
        ("Europe/Berlin", "2026-03-29T00:00:00Z", "02:10", "04:00", "Sun 2026-03-29 03:00:00+02:00"),
        ("Europe/Berlin", "2026-03-28T23:00:00Z", "01:30", "04:00", "Sun 2026-03-29 01:30:00+01:00"),
        ("America/Los_Angeles", "2026-03-08T09:00:00Z", "02:00", "02:59", "Mon 2026-03-09 02:00:00-07:00"),
        ("America/Los_Angeles", "2026-03-08T09:00:00Z", "02:00", "03:00", "Sun 2026-03-08 03:00:00-07:00"),
        ("Australia/Lord_Howe", "2026-10-03T15:00:00Z", "02:05", "02:25", "Mon 2026-10-05 02:05:00+11:00"),
        ("Australia/Lord_Howe", "2026-10-03T15:00:00Z", "02:05", "02:35", "Sun 2026-10-04 02:30:00+11:00"),
    ] {
        assert_eq!(opening(hours(start, end), zone, before), expected, "{zone} {start}-{end}");
    }
}

#[test]
fn a_weekly_span_in_the_gap_waits_a_week() {
    let mut value = hours("02:10", "02:50");
    value["days"] = json!([1]);
    assert_eq!(opening(value, "Europe/Berlin", "2026-03-28T23:00:00Z"), "Sun 2026-04-05 02:10:00+02:00");
}

#[test]
fn fall_back_a_time_that_comes_twice_is_open_twice_and_a_jump_into_a_span_opens_it() {
    for (zone, at, start, end, expected) in [
        ("Europe/Berlin", "2026-10-25T00:00:00Z", "02:30", "02:40", "Sun 2026-10-25 02:30:00+02:00"),
        ("Europe/Berlin", "2026-10-25T00:45:00Z", "02:30", "02:40", "Sun 2026-10-25 02:30:00+01:00"),
        ("Europe/Berlin", "2026-10-25T00:45:00Z", "01:00", "02:15", "Sun 2026-10-25 02:00:00+01:00"),
        ("America/Los_Angeles", "2026-11-01T08:50:00Z", "01:10", "01:20", "Sun 2026-11-01 01:10:00-08:00"),
        ("Australia/Lord_Howe", "2026-04-04T14:59:00Z", "01:40", "01:50", "Sun 2026-04-05 01:40:00+10:30"),
    ] {
        assert_eq!(opening(hours(start, end), zone, at), expected, "{zone} {start}-{end}");
    }
}

/// Minute by minute, by the clock alone: slow, and nothing to get wrong.
fn first_open_minute(window: &Window, zone: &TimeZone, at: Timestamp) -> Option<Timestamp> {
    let minutes = (at.0..at.0 + 16 * 86_400_000).step_by(60_000);
    minutes.map(Timestamp).find(|time| window.is_open(&jiff::Timestamp::from_millisecond(time.0).unwrap().to_zoned(zone.clone())))
}

#[test]
fn the_opening_is_the_first_open_minute_through_every_jump_of_the_clock() {
    let windows = [hours("02:10", "02:50"), hours("23:30", "00:20"), hours("00:00", "00:10"), hours("01:55", "02:05")];
    let jumps = [
        ("Europe/Berlin", "2026-03-29T01:00:00Z"),
        ("Europe/Berlin", "2026-10-25T01:00:00Z"),
        ("America/Los_Angeles", "2026-03-08T10:00:00Z"),
        ("America/Los_Angeles", "2026-11-01T09:00:00Z"),
        ("Australia/Lord_Howe", "2026-04-04T15:00:00Z"),
        ("Australia/Lord_Howe", "2026-10-03T15:30:00Z"),
        ("America/Havana", "2026-03-08T05:00:00Z"),
        ("America/Havana", "2026-11-01T05:00:00Z"),
        ("Pacific/Apia", "2011-12-30T10:00:00Z"),
    ];
    for (name, jump) in jumps {
        let zone = zone(name).unwrap();
        let jump = Timestamp::parse(jump).unwrap();
        for value in &windows {
            for days in [json!([]), json!([1, 6, 7])] {
                let mut value = value.clone();
                value["days"] = days;
                let window = window(value.clone());
                for minutes in (-180..180).step_by(29) {
                    let at = Timestamp(jump.0 + minutes * 60_000);
                    let opening = window.next_opening(at, &zone).map(|o| o.time(at));
                    assert_eq!(opening.ok(), first_open_minute(&window, &zone, at), "{name} {value} at {at}");
                }
            }
        }
    }
}

#[test]
fn the_zone_is_the_windows_own_or_the_one_given() {
    let mut value = hours("09:00", "10:00");
    let berlin = zone("Europe/Berlin").unwrap();
    let at = Timestamp::parse("2026-01-01T09:30:00Z").unwrap();
    let closed = look(json!({ "restrictedExecutionWindow": value.clone() }).as_object().unwrap(), at, &berlin).unwrap();
    value["timezone"] = json!("UTC");
    let open = look(json!({ "restrictedExecutionWindow": value }).as_object().unwrap(), at, &berlin).unwrap();
    assert_eq!((closed, open), (Opening::At(Timestamp::parse("2026-01-02T08:00:00Z").unwrap()), Opening::Now));
}

#[test]
fn a_person_can_skip_the_rest_of_the_wait_and_no_window_at_all_is_an_error() {
    let utc = TimeZone::UTC;
    assert_eq!(look(json!({ "skipRemainingWait": true }).as_object().unwrap(), Timestamp(0), &utc), Ok(Opening::Now));
    assert!(look(&Map::new(), Timestamp(0), &utc).is_err());
    assert!(Window::parse(&json!({ "days": [], "whitelist": [] })).is_err());
}

#[test]
fn all_problems_are_told_at_once_with_their_places() {
    let value = json!({
        "days": [0, 1, "8"],
        "whitelist": [{ "startHour": 24, "endMin": 60 }, 7],
        "jitter": { "enabled": true, "minDelay": 10, "maxDelay": 5 },
        "timezone": "Mars/Olympus",
    });
    let paths: Vec<String> = Window::parse(&value).unwrap_err().into_iter().map(|p| p.path).collect();
    let expected = ["/days/0", "/days/2", "/whitelist/0/startHour", "/whitelist/0/endMin", "/whitelist/1", "/jitter/minDelay", "/timezone"];
    assert_eq!(paths, expected);
}

#[test]
fn jitter_is_a_function_of_its_seed_within_both_ends() {
    let jittered = |min: u64, max: u64, skip: bool| {
        window(json!({ "days": [1], "jitter": { "enabled": true, "minDelay": min, "maxDelay": max, "skipManual": skip } }))
    };
    let delays: Vec<u64> = (0..400).map(|n| jittered(3, 9, false).delay_s(seed::of(&n.to_string()), true).unwrap()).collect();
    assert_eq!((delays.iter().min(), delays.iter().max()), (Some(&3), Some(&9)));
    assert_eq!(jittered(3, 9, false).delay_s(5, false), jittered(3, 9, false).delay_s(5, false));
    assert_eq!((jittered(0, 0, false).delay_s(1, false), jittered(3, 9, true).delay_s(1, true)), (None, None));
    assert!(jittered(3, 9, true).delay_s(1, false).is_some());
}
