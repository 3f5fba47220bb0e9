//! What is printed of a scalar reads back as the same scalar.

use hostler_types::cron::Cron;
use hostler_types::units::{format_duration, parse_duration, parse_share, parse_size, write_size};
use hostler_types::{Name, Selector};
use proptest::prelude::*;
use std::time::Duration;

fn field(least: u32, most: u32, names: &'static [&'static str]) -> BoxedStrategy<String> {
    let one = prop_oneof![
        (least..=most).prop_map(|number| number.to_string()),
        prop::sample::select(if names.is_empty() {
            vec![least.to_string()]
        } else {
            names.iter().map(|name| name.to_string()).collect()
        }),
    ];
    let range = (least..=most, least..=most).prop_map(|(a, b)| format!("{}-{}", a.min(b), a.max(b)));
    let step = (prop_oneof![Just("*".to_owned()), range.clone()], 1..=most.max(2) / 2)
        .prop_map(|(range, step)| format!("{range}/{step}"));
    let part = prop_oneof![one, range, step].boxed();
    prop_oneof![Just("*".to_owned()), prop::collection::vec(part, 1..4).prop_map(|parts| parts.join(","))].boxed()
}

fn term() -> impl Strategy<Value = String> {
    let key = prop_oneof!["[A-Za-z0-9_-]{1,20}", Just("os.id".to_owned())];
    let value = "[A-Za-z0-9._/:@+<>é-]{1,20}";
    let values = prop::collection::vec(value, 1..4);
    (key, value, values, " {0,2}", 0..7usize).prop_map(|(key, value, values, blank, which)| match which {
        0 => format!("{blank}{key}{blank}={blank}{value}"),
        1 => format!("{key}=={value}"),
        2 => format!("{key}{blank}!={blank}{value}{blank}"),
        3 => format!("{key} in{blank}({})", values.join(&format!("{blank},"))),
        4 => format!("{key} not  in ({blank}{})", values.join(", ")),
        5 => key,
        _ => format!("!{blank}{key}"),
    })
}

proptest! {
    #[test]
    fn durations(ms in prop_oneof![0..=u64::MAX / 2, 0..200_000u64, Just(86_400_000)]) {
        let span = Duration::from_millis(ms);
        prop_assert_eq!(parse_duration(&format_duration(span)), Ok(span));
    }

    #[test]
    fn written_durations(parts in prop::collection::vec((0..10_000u32, prop::sample::select(vec!["ms", "s", "m", "h", "d"])), 1..5)) {
        let text: String = parts.iter().map(|(count, unit)| format!("{count}{unit}")).collect();
        let span = parse_duration(&text).unwrap();
        prop_assert_eq!(parse_duration(&format_duration(span)), Ok(span));
    }

    #[test]
    fn sizes(bytes in prop_oneof![any::<u64>(), (0..20_000u64, 0..5u32).prop_map(|(count, unit)| count << (10 * unit)), 0..5000u64]) {
        prop_assert_eq!(parse_size(&write_size(bytes)), Ok(bytes));
    }

    #[test]
    fn written_sizes(whole in 0..5000u32, part in proptest::option::of("[0-9]{1,3}"), unit in prop::sample::select(vec!["B", "KiB", "MiB", "GiB", "TiB"])) {
        let text = part.map_or_else(|| format!("{whole}{unit}"), |part| format!("{whole}.{part}{unit}"));
        let bytes = parse_size(&text).unwrap();
        prop_assert_eq!(parse_size(&write_size(bytes)), Ok(bytes));
    }

    #[test]
    fn shares(whole in 0..=4_294_966u32, part in proptest::option::of("[0-9]{1,3}")) {
        let text = part.map_or_else(|| format!("{whole}%"), |part| format!("{whole}.{part}%"));
        let share = parse_share(&text).unwrap();
        let printed = share.to_string();
        prop_assert_eq!(parse_share(&printed), Ok(share));
        prop_assert_eq!(parse_share(&printed).unwrap().to_string(), printed);
    }

    #[test]
    fn cron_lines(
        fields in (
            field(0, 59, &[]),
            field(0, 23, &[]),
            field(1, 31, &[]),
            field(1, 12, &["jan", "Feb", "DEC"]),
            field(0, 7, &["sun", "Mon", "SAT"]),
        ),
        blanks in " {1,3}",
    ) {
        let (minute, hour, day, month, weekday) = fields;
        let text = [minute, hour, day, month, weekday].join(&blanks);
        if let Ok(cron) = Cron::parse(&text) {
            prop_assert_eq!(Cron::parse(&cron.to_string()), Ok(cron));
        } else {
            // Some of them never come, such as the 31st of February.
            prop_assert!(Cron::parse(&text).unwrap_err().to_string().contains("never comes"), "{}", text);
        }
    }

    #[test]
    fn selectors(terms in prop::collection::vec(term(), 1..5)) {
        let text = terms.join(",");
        let selector = Selector::parse(&text).unwrap();
        prop_assert_eq!(Selector::parse(&selector.to_string()), Ok(selector), "{}", text);
    }

    #[test]
    fn whatever_is_read_reads_again(text in "\\PC{0,12}|[a-z0-9,=!() .*/%-]{0,20}") {
        if let Ok(found) = Selector::parse(&text) {
            prop_assert_eq!(Selector::parse(&found.to_string()), Ok(found));
        }
        if let Ok(found) = Cron::parse(&text) {
            prop_assert_eq!(Cron::parse(&found.to_string()), Ok(found));
        }
        if let Ok(found) = parse_share(&text) {
            prop_assert_eq!(parse_share(&found.to_string()), Ok(found));
        }
        if let Ok(found) = parse_duration(&text) {
            prop_assert_eq!(parse_duration(&format_duration(found)), Ok(found));
        }
        if let Ok(found) = parse_size(&text) {
            prop_assert_eq!(parse_size(&write_size(found)), Ok(found));
        }
        if let Ok(found) = Name::new(text) {
            prop_assert_eq!(Name::new(found.to_string()), Ok(found));
        }
    }
}
