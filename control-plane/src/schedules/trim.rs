//! Drops what is long over: fires that nobody looks at any more.

use super::carry::drop_all;
use super::ends::KEPT_FOR;
use crate::app::App;
use crate::clock;
use crate::records::schedules::{due_of, ends_of, fires_prefix};
use hostler_types::{Name, Timestamp};
use std::time::Duration;

/// Of one schedule: most of a week of an hourly one.
pub const FIRES_KEPT: usize = 200;
/// A look at some schedules holds nothing up for long.
const AT_ONCE: usize = 50;
const DAILY: Duration = Duration::from_secs(86_400);

#[derive(Debug, Default)]
pub struct Trimming {
    /// When all of them were looked at last, by a clock that does not jump.
    all: Option<Duration>,
}

impl Trimming {
    /// Looks at a few; whether there are more.
    pub async fn some(&mut self, app: &App) -> bool {
        let now = clock::now();
        let (names, more) = {
            let mut inside = app.schedules.inside();
            if self.all.is_none_or(|all| now.monotonic.saturating_sub(all) >= DAILY) {
                self.all = Some(now.monotonic);
                let all: Vec<Name> = inside.slots.keys().cloned().collect();
                inside.to_trim.extend(all);
            }
            let names: Vec<Name> = inside.to_trim.iter().take(AT_ONCE).cloned().collect();
            for name in &names {
                inside.to_trim.remove(name);
            }
            (names, !inside.to_trim.is_empty())
        };
        for name in names {
            for (prefix, most) in [(fires_prefix(&name), FIRES_KEPT), (ends_of(&name), usize::MAX)] {
                let Ok(found) = app.store.scan(&prefix, None).await else { continue };
                let old = old(found.entries.iter().map(|(key, _)| key.as_ref()), most, now.wall);
                // `None`: it stops, and the next start looks again.
                let _ = drop_all(app, old).await;
            }
        }
        more
    }
}

/// Of keys in their order, oldest first.
fn old<'a>(keys: impl ExactSizeIterator<Item = &'a str>, most: usize, now: Timestamp) -> Vec<String> {
    let too_many = keys.len().saturating_sub(most);
    let long_ago = |key: &str| due_of(key).is_some_and(|(_, due)| now.since(due) >= KEPT_FOR);
    let old = keys.enumerate().filter(|(index, key)| *index < too_many || long_ago(key));
    old.map(|(_, key)| key.to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::records::schedules::fire_key;

    #[test]
    fn old_ones_go_and_so_do_too_many() {
        let name = Name::new("patch").expect("a name");
        let now = Timestamp::from_millis(100 * 86_400_000);
        let days_ago = |days: u64| fire_key(&name, now.minus(DAILY * u32::try_from(days).expect("few")));
        let keys = [days_ago(40), days_ago(30), days_ago(29), days_ago(0)];
        assert_eq!(old(keys.iter().map(String::as_str), FIRES_KEPT, now), keys[..2]);
        let hourly = |hour: u64| fire_key(&name, now.minus(Duration::from_secs(3_600 * (300 - hour))));
        let keys: Vec<String> = (0..300).map(hourly).collect();
        assert_eq!(old(keys.iter().map(String::as_str), FIRES_KEPT, now), keys[..100]);
    }
}
