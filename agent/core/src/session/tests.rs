use super::*;
use hostler_types::Now;
use proptest::prelude::*;

const DAY: Duration = Duration::from_secs(86_400);

fn start() -> Now {
    Now { monotonic: Duration::from_secs(100), wall: Timestamp::from_millis(1_800_000_000_000) }
}

fn validity(now: Now) -> Validity {
    Validity { not_before: now.wall, not_after: now.wall.plus(DAY * 7) }
}

fn session(seed: u64) -> Session {
    Session::new(start(), vec!["a:1".into(), "b:1".into()], validity(start()), seed)
}

fn welcome() -> Input {
    Input::Welcomed { heartbeat: Duration::from_secs(3), addresses: Vec::new(), server_wall: None }
}

fn refused(message: &str) -> Input {
    Input::Ended(Trouble::Refused(message.into()))
}

fn unreachable() -> Input {
    Input::Ended(Trouble::Passing("nothing answers".into()))
}

fn live(session: &mut Session, now: Now) {
    assert!(matches!(session.step(now, Input::Tick)[..], [Effect::Dial { .. }]));
    session.step(now, Input::Dialled);
    assert!(matches!(session.step(now, welcome())[..], [Effect::Connected { .. }]));
    assert!(session.is_live());
}

fn dials(effects: &[Effect]) -> Vec<String> {
    effects
        .iter()
        .filter_map(|effect| match effect {
            Effect::Dial { address } => Some(address.clone()),
            _ => None,
        })
        .collect()
}

/// Ticks at the session's own deadlines until it does something.
fn next_effects(session: &mut Session, now: &mut Now) -> Vec<Effect> {
    for _ in 0..1_000 {
        let deadline = session.next_deadline(*now).expect("a deadline");
        *now = now.plus(deadline.saturating_sub(now.monotonic));
        let effects = session.step(*now, Input::Tick);
        if !effects.is_empty() {
            return effects;
        }
    }
    panic!("spins without doing anything: {session:?}");
}

#[test]
fn it_dials_at_once_and_beats_while_it_lives() {
    let mut session = session(1);
    let mut now = start();
    live(&mut session, now);
    for _ in 0..10 {
        let before = now;
        assert_eq!(next_effects(&mut session, &mut now), [Effect::SendHeartbeat]);
        assert_eq!(now.monotonic - before.monotonic, Duration::from_secs(3));
        session.step(now, Input::Heard);
    }
}

#[test]
fn a_heartbeat_goes_a_little_early_where_the_host_is_awake_anyway() {
    let mut session = session(1);
    let mut now = start();
    live(&mut session, now);
    now = now.plus(Duration::from_millis(1_400));
    assert_eq!(session.step(now, Input::Awake), []);
    now = now.plus(Duration::from_millis(200));
    assert_eq!(session.step(now, Input::Awake), [Effect::SendHeartbeat]);
    session.step(now, Input::Heard);
    assert_eq!(session.step(now, Input::Awake), []);
    let before = now;
    assert_eq!(next_effects(&mut session, &mut now), [Effect::SendHeartbeat]);
    assert_eq!(now.monotonic - before.monotonic, Duration::from_secs(3));
}

#[test]
fn silence_of_nine_seconds_is_death() {
    let mut session = session(1);
    let mut now = start();
    live(&mut session, now);
    let dead = loop {
        let effects = next_effects(&mut session, &mut now);
        if effects != [Effect::SendHeartbeat] {
            break effects;
        }
    };
    assert_eq!(now.monotonic - start().monotonic, Duration::from_secs(9));
    assert!(
        matches!(&dead[..], [Effect::Disconnected { reason, .. }, Effect::Close, ..] if reason.contains("9 s")),
        "{dead:?}"
    );
}

#[test]
fn addresses_take_turns() {
    let mut session = session(3);
    let mut now = start();
    let mut seen = dials(&session.step(now, Input::Tick));
    for _ in 0..5 {
        let mut effects = session.step(now, unreachable());
        while dials(&effects).is_empty() {
            effects = next_effects(&mut session, &mut now);
        }
        seen.extend(dials(&effects));
    }
    assert_eq!(seen, ["a:1", "b:1", "a:1", "b:1", "a:1", "b:1"]);
}

#[test]
fn a_refusal_is_told_once_and_asked_about_seldom() {
    let mut session = session(5);
    let mut now = start();
    session.step(now, Input::Tick);
    assert!(session.step(now, refused("revoked")).contains(&Effect::Refused { message: "revoked".into() }));
    for _ in 0..5 {
        let before = now;
        assert_eq!(dials(&next_effects(&mut session, &mut now)).len(), 1);
        let waited = now.monotonic - before.monotonic;
        assert!((30..=90).contains(&waited.as_secs()), "{waited:?}");
        let told = session.step(now, refused("revoked"));
        assert!(!told.iter().any(|effect| matches!(effect, Effect::Refused { .. })), "{told:?}");
    }
    session.step(now, Input::Tick);
    next_effects(&mut session, &mut now);
    assert!(session.step(now, refused("another")).contains(&Effect::Refused { message: "another".into() }));
}

#[test]
fn goodbye_is_a_lower_bound() {
    for seed in 0..50 {
        let mut session = session(seed);
        let mut now = start();
        live(&mut session, now);
        session.step(now, Input::Goodbye { reason: "busy".into(), retry_after: Duration::from_secs(2) });
        next_effects(&mut session, &mut now);
        let waited = now.monotonic - start().monotonic;
        assert!((2_000..=7_000).contains(&waited.as_millis()), "{waited:?}");
    }
}

#[test]
fn it_renews_at_half_life_while_connected() {
    let mut session = session(1);
    let mut now = start();
    live(&mut session, now);
    now = now.plus(DAY * 4);
    let effects = session.step(now, Input::Heard);
    assert!(effects.contains(&Effect::Renew { address: "a:1".into() }), "{effects:?}");
    assert!(!session.step(now, Input::Heard).iter().any(|effect| matches!(effect, Effect::Renew { .. })));
    session.step(now, Input::Renewed { validity: validity(now), addresses: Vec::new() });
    assert!(session.is_live(), "the stream stays");
    assert!(!session.step(now, Input::Heard).iter().any(|effect| matches!(effect, Effect::Renew { .. })));
}

#[test]
fn an_expired_certificate_is_renewed_before_anything_else() {
    let mut now = start().plus(DAY * 8);
    let mut session = Session::new(now, vec!["a:1".into(), "b:1".into()], validity(start()), 1);
    assert_eq!(session.step(now, Input::Tick), [Effect::Renew { address: "a:1".into() }]);
    let failed = Input::RenewalFailed(Trouble::Passing("nothing answers".into()));
    session.step(now, failed);
    assert_eq!(next_effects(&mut session, &mut now), [Effect::Renew { address: "b:1".into() }]);
    let effects = session.step(now, Input::Renewed { validity: validity(now), addresses: vec!["c:1".into()] });
    assert_eq!(effects, [Effect::Dial { address: "c:1".into() }]);
}

#[test]
fn a_server_that_finds_it_expired_is_believed() {
    let mut session = session(1);
    let mut now = start();
    session.step(now, Input::Tick);
    session.step(now, Input::Ended(Trouble::Expired("it has expired".into())));
    assert_eq!(next_effects(&mut session, &mut now), [Effect::Renew { address: "a:1".into() }]);
}

#[test]
fn skew_is_measured_at_the_middle_of_the_round_trip() {
    let mut session = session(1);
    let now = start();
    live(&mut session, now);
    let later = now.plus(Duration::from_millis(100));
    let server_wall = now.wall.plus(Duration::from_millis(50)).minus(Duration::from_millis(12));
    session.step(later, Input::HeartbeatAcked { sent: now.monotonic, server_wall });
    assert_eq!(session.skew(), Some(Skew { millis: 12 }));
    let late = now.plus(Duration::from_secs(5));
    session.step(late, Input::HeartbeatAcked { sent: now.monotonic, server_wall });
    assert_eq!(session.skew(), Some(Skew { millis: 12 }), "a slow answer says nothing");
}

#[test]
fn a_host_whose_clock_is_wrong_knows_it_with_the_welcome() {
    let mut session = session(1);
    let now = start();
    session.step(now, Input::Tick);
    session.step(now, Input::Dialled);
    let server_wall = Some(now.wall.minus(Duration::from_secs(77)));
    session.step(now, Input::Welcomed { heartbeat: Duration::ZERO, addresses: Vec::new(), server_wall });
    assert_eq!(session.skew(), Some(Skew { millis: 77_000 }));
}

proptest! {
    /// However long the control plane was away: it is dialled within 5 s of its
    /// return, and never in a tight loop.
    #[test]
    fn back_soon_after_it_is_back(seed: u64, away_ms in 0u64..200_000) {
        let mut session = session(seed);
        let mut now = start();
        live(&mut session, now);
        let back = now.plus(Duration::from_millis(away_ms));
        let mut effects = session.step(now, unreachable());
        let mut tries = 0u64;
        loop {
            if !dials(&effects).is_empty() {
                if now.monotonic >= back.monotonic {
                    break;
                }
                tries += 1;
                effects = session.step(now, unreachable());
            } else {
                effects = next_effects(&mut session, &mut now);
            }
        }
        let late = now.monotonic - back.monotonic;
        prop_assert!(late <= Duration::from_secs(3), "{:?}", late);
        prop_assert!(tries <= 60 + away_ms / 500, "{} tries in {} ms", tries, away_ms);
    }

    /// Any order of inputs: no panic, no silence for ever, never two connections.
    #[test]
    fn any_history_keeps_going(seed: u64, inputs in prop::collection::vec((0u8..10, 0u64..20_000), 1..120)) {
        let mut session = session(seed);
        let mut now = start();
        let mut open = false;
        for (kind, wait_ms) in inputs {
            now = now.plus(Duration::from_millis(wait_ms));
            let input = match kind {
                0 => Input::Dialled,
                1 => welcome(),
                2 => Input::Heard,
                3 => Input::HeartbeatAcked { sent: now.monotonic, server_wall: now.wall },
                4 => Input::Goodbye { reason: "stops".into(), retry_after: Duration::from_secs(1) },
                5 => unreachable(),
                6 => refused("revoked"),
                7 => Input::Renewed { validity: validity(now), addresses: vec!["z:1".into()] },
                8 => Input::RenewalFailed(Trouble::Passing("no".into())),
                _ => Input::Tick,
            };
            for effect in session.step(now, input) {
                match effect {
                    Effect::Dial { .. } => {
                        prop_assert!(!open, "dialled beside an open connection");
                        open = true;
                    }
                    Effect::Close => open = false,
                    _ => {}
                }
            }
            prop_assert!(session.next_deadline(now).is_some());
        }
    }
}
