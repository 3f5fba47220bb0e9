//! A host that answers what a case says, and nothing else: no network, no file,
//! no clock of its own.

use crate::case::{Case, Recorded, calls};
use hostler_plugin_host::answer::{Answer, Instant};
use hostler_plugin_host::{Answering, Backend, Call, CallError, RunContext, Session, limits};
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

/// One case at a time: whoever runs cases sets the next one.
#[derive(Default)]
pub struct Replay {
    current: Mutex<Arc<Mutex<Script>>>,
}

/// A case's answers, and what became of them.
#[derive(Default)]
pub struct Script {
    now: Instant,
    answers: Vec<Answerable>,
    state: BTreeMap<String, Vec<u8>>,
    /// Drawn so far.
    random: usize,
    pub asked: Asked,
}

/// What a run asked for.
#[derive(Default)]
pub struct Asked {
    pub calls: Vec<Call>,
    /// Those that nothing was recorded for.
    pub unanswered: Vec<Call>,
}

struct Answerable {
    recorded: Arc<Recorded>,
    used: bool,
}

impl Replay {
    /// From now on this case is played.
    pub fn play(&self, case: &Case) -> Arc<Mutex<Script>> {
        let answers = case.answers.iter().map(|one| Answerable { recorded: one.clone(), used: false }).collect();
        let script = Script { now: case.now, answers, state: case.state.clone(), ..Script::default() };
        let script = Arc::new(Mutex::new(script));
        *self.current.lock().unwrap_or_else(PoisonError::into_inner) = script.clone();
        script
    }
}

impl Backend for Replay {
    fn session(&self, _: &RunContext) -> Box<dyn Session> {
        Box::new(Playing(self.current.lock().unwrap_or_else(PoisonError::into_inner).clone()))
    }
}

struct Playing(Arc<Mutex<Script>>);

impl Session for Playing {
    fn call(&mut self, call: Call) -> Answering<'_> {
        let answer = self.0.lock().unwrap_or_else(PoisonError::into_inner).answer(call);
        Box::pin(std::future::ready(answer))
    }
}

impl Script {
    fn answer(&mut self, call: Call) -> Result<Answer, CallError> {
        let (name, fields) = calls::written(&call);
        let answer = self.recorded(&name, &fields).or_else(|| self.own(&call)).unwrap_or_else(|| {
            self.asked.unanswered.push(call.clone());
            Err(CallError::other("test", "no answer was recorded"))
        });
        self.asked.calls.push(call);
        answer
    }

    /// The next one that fits; the last one again where all were given.
    fn recorded(&mut self, name: &str, fields: &Map<String, Value>) -> Option<Result<Answer, CallError>> {
        let fits = |one: &Answerable| one.recorded.call == name && calls::matches(&one.recorded.fields, fields);
        let next = self.answers.iter().position(|one| !one.used && fits(one));
        let at = next.or_else(|| self.answers.iter().rposition(fits))?;
        let found = self.answers.get_mut(at)?;
        found.used = true;
        Some(found.recorded.answer.clone())
    }

    /// What needs no recording: it comes from nowhere else.
    fn own(&mut self, call: &Call) -> Option<Result<Answer, CallError>> {
        Some(Ok(match call {
            Call::Now => Answer::Instant(self.now),
            Call::Random { count } => {
                let count = usize::try_from(*count).unwrap_or(usize::MAX).min(limits::RANDOM_BYTES_MAX);
                let from = self.random;
                self.random = from.wrapping_add(count);
                Answer::Bytes((from..from.wrapping_add(count)).map(|at| (at % 256) as u8).collect())
            }
            Call::KvGet { key } => Answer::Value(self.state.get(key).cloned()),
            Call::KvSet { key, value, .. } => {
                self.state.insert(key.clone(), value.0.clone());
                Answer::Done
            }
            Call::KvDelete { key } => {
                self.state.remove(key);
                Answer::Done
            }
            Call::KvCompareAndSet { key, old, new } => {
                let same = self.state.get(key) == old.as_ref().map(|old| &old.0);
                if same {
                    self.state.insert(key.clone(), new.0.clone());
                }
                Answer::Flag(same)
            }
            _ => return None,
        }))
    }

    /// The answers that nobody asked for.
    pub fn unused(&self) -> impl Iterator<Item = &Recorded> {
        self.answers.iter().filter(|one| !one.used).map(|one| &*one.recorded)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::case::read;
    use hostler_plugin_host::answer::HttpRequest;

    fn script(text: &str) -> Arc<Mutex<Script>> {
        Replay::default().play(&read("x", "x.yaml", text, "check").expect(text))
    }

    fn http(url: &str) -> Call {
        Call::Http(HttpRequest { url: url.into(), method: "GET".into(), ..HttpRequest::default() })
    }

    fn status(answer: Result<Answer, CallError>) -> u16 {
        match answer {
            Ok(Answer::Http(response)) => response.status,
            other => panic!("no response: {other:?}"),
        }
    }

    #[test]
    fn answers_come_in_their_order_and_the_last_one_stays() {
        let script = script(
            "answers:\n  - {call: http.send, with: {url: a}, answer: {status: 200}}\n  \
             - {call: http.send, with: {url: b}, answer: {status: 404}}\n  \
             - {call: http.send, with: {url: a}, answer: {status: 503}}\nexpect: {status: ok}",
        );
        let mut script = script.lock().expect("lock");
        assert_eq!(script.unused().count(), 3);
        let given: Vec<u16> = ["a", "a", "a", "b", "b"].map(|url| status(script.answer(http(url)))).into();
        assert_eq!(given, [200, 503, 503, 404, 404]);
        assert_eq!(script.unused().count(), 0);
        assert!(script.answer(http("c")).is_err());
        assert_eq!((script.asked.calls.len(), script.asked.unanswered.len()), (6, 1));
    }

    #[test]
    fn time_chance_and_state_need_no_recording() {
        let script = script("now: 2026-02-01T00:00:00Z\nstate: {last: \"7\"}\nexpect: {status: ok}");
        let mut script = script.lock().expect("lock");
        let mut ask = |call| script.answer(call).expect("answers");
        assert_eq!(ask(Call::Now), Answer::Instant(Instant { seconds: 1_769_904_000, nanoseconds: 0 }));
        assert_eq!(ask(Call::Random { count: 3 }), Answer::Bytes(vec![0, 1, 2]));
        assert_eq!(ask(Call::Random { count: 2 }), Answer::Bytes(vec![3, 4]));
        let get = || Call::KvGet { key: "last".into() };
        let swap = |old: &str| Call::KvCompareAndSet {
            key: "last".into(),
            old: Some(hostler_plugin_host::answer::Bytes(old.into())),
            new: hostler_plugin_host::answer::Bytes(b"8".to_vec()),
        };
        assert_eq!(ask(get()), Answer::Value(Some(b"7".to_vec())));
        assert_eq!(ask(swap("6")), Answer::Flag(false));
        assert_eq!(ask(swap("7")), Answer::Flag(true));
        assert_eq!(ask(get()), Answer::Value(Some(b"8".to_vec())));
        assert_eq!(ask(Call::KvDelete { key: "last".into() }), Answer::Done);
        assert_eq!(ask(get()), Answer::Value(None));
    }
}
