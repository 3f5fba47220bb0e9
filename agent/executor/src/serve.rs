//! Requests in, answers out: judged, carried out one at a time for each unit, and
//! answered by their id.

use crate::judge::{Refusal, Seen, judge, verb};
use crate::policy::Policy;
use crate::protocol::{Act, Answer, Decoder, Done, FrameError, Outcome, Request, encode};
use crate::{act, clock};
use hostler_types::terminal::sanitize;
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::rc::Rc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::sync::{Mutex, mpsc};
use tokio::task::JoinSet;

/// More at once are more than an agent has services to look after in a bad hour.
const AT_ONCE_MAX: usize = 256;
const READ_BYTES: usize = 16 * 1024;
/// Answers that wait to be read: small ones, and then whoever asks is waited for.
const ANSWERS_MAX: usize = 64;

pub struct Server {
    pub hand: act::Hand,
    pub policy_file: PathBuf,
    pub agent_file: PathBuf,
    turns: RefCell<BTreeMap<String, Rc<Mutex<()>>>>,
    problem: RefCell<Option<String>>,
}

impl Server {
    pub fn new(hand: act::Hand, policy_file: PathBuf, agent_file: PathBuf) -> Self {
        Self { hand, policy_file, agent_file, turns: RefCell::default(), problem: RefCell::default() }
    }

    /// Read anew each time: what an administrator forbids is forbidden at once.
    fn policy(&self) -> Policy {
        let (policy, problem) = Policy::load(&self.policy_file, &self.agent_file);
        let problem = problem.map(|problem| problem.to_string());
        if *self.problem.borrow() != problem {
            if let Some(problem) = &problem {
                eprintln!("hostler-executor: {problem}");
            }
            self.problem.replace(problem);
        }
        policy
    }

    /// Until the other half is gone. Ids begin anew with every connection: nobody
    /// else can speak on this one.
    pub async fn serve(self: Rc<Self>, stream: UnixStream) -> Result<(), String> {
        let (mut from, to) = stream.into_split();
        let (answers, waiting) = mpsc::channel(ANSWERS_MAX);
        let writer = tokio::task::spawn_local(write(to, waiting));
        let mut decoder = Decoder::<Request>::default();
        let mut bytes = vec![0; READ_BYTES];
        let last = Cell::new(0);
        let mut tasks = JoinSet::new();
        loop {
            let length = from.read(&mut bytes).await.map_err(|error| format!("read from the agent: {error}"))?;
            if length == 0 {
                break;
            }
            decoder.feed(bytes.get(..length).unwrap_or_default());
            loop {
                while tasks.try_join_next().is_some() {}
                match decoder.take() {
                    Ok(None) => break,
                    Ok(Some(request)) => {
                        let answered = self.turned_down(&request, &last, tasks.len());
                        let (server, answers) = (Rc::clone(&self), answers.clone());
                        tasks.spawn_local(async move {
                            let id = request.id;
                            let outcome = match answered {
                                None => server.carry_out(request).await,
                                Some(outcome) => outcome,
                            };
                            let _ = answers.send(Answer { id, outcome }).await;
                        });
                    }
                    Err(FrameError::Unreadable { id, source }) => {
                        eprintln!("hostler-executor: a request could not be read: {source}");
                        let words = format!("{source}: is the agent newer than its executor?");
                        let outcome = Outcome::Refused { rule: "malformed".into(), words };
                        let _ = answers.send(Answer { id: id.unwrap_or(0), outcome }).await;
                    }
                    Err(error) => return Err(format!("{error}: the agent is cut off")),
                }
            }
        }
        // Nobody is there for the answers; what was begun is finished all the same.
        while tasks.join_next().await.is_some() {}
        drop(answers);
        let _ = writer.await;
        Ok(())
    }

    /// Why it is not carried out, if it is not.
    fn turned_down(&self, request: &Request, last: &Cell<u64>, at_once: usize) -> Option<Outcome> {
        let seen = Seen { last_id: last.get(), now_ms: clock::boottime_ms() };
        last.set(seen.last_id.max(request.id));
        if let Err(Refusal { rule, words }) = judge(&self.policy(), request, seen) {
            eprintln!("hostler-executor: refused {} ({rule}): {}", verb(&request.act), sanitize(&words));
            return Some(Outcome::Refused { rule: rule.into(), words });
        }
        (at_once >= AT_ONCE_MAX).then(|| {
            let words = format!("{AT_ONCE_MAX} requests are being carried out: wait for their answers");
            Outcome::Failed { words }
        })
    }

    async fn carry_out(&self, request: Request) -> Outcome {
        if request.act == Act::Policy {
            let (policy, problem) = Policy::load(&self.policy_file, &self.agent_file);
            let policy = Some(Box::new(policy.told(problem.map(|problem| problem.to_string()))));
            return Outcome::Done(Done { policy, ..Done::default() });
        }
        let turn = key(&request.act).map(|key| Rc::clone(self.turns.borrow_mut().entry(key).or_default()));
        let done = async {
            match &turn {
                Some(turn) => {
                    let _mine = turn.lock().await;
                    // It may have waited for long.
                    if request.expires_at_ms <= clock::boottime_ms() {
                        let words = format!("request {} expired while another on the same was carried out", request.id);
                        return Outcome::Refused { rule: "expired".into(), words };
                    }
                    self.hand.carry_out(request.act).await
                }
                None => self.hand.carry_out(request.act).await,
            }
        };
        let outcome = done.await;
        drop(turn);
        self.turns.borrow_mut().retain(|_, turn| Rc::strong_count(turn) > 1);
        outcome
    }
}

/// What only one at a time may change.
fn key(act: &Act) -> Option<String> {
    match act {
        Act::StartProcess { unit, .. }
        | Act::Start { unit }
        | Act::Stop { unit }
        | Act::Restart { unit }
        | Act::Reload { unit }
        | Act::ResetFailed { unit }
        | Act::WriteUnit { unit, .. }
        | Act::RemoveUnit { unit }
        | Act::DropIn { unit, .. } => Some(unit.clone()),
        Act::StartContainer { name, .. } | Act::StopContainer { name, .. } => Some(name.clone()),
        Act::PullImage { image } => Some(format!("image {image}")),
        Act::PutFile { path, .. }
        | Act::MakeFolder { path, .. }
        | Act::RotateOutput { path, .. }
        | Act::RemoveOutput { path }
        | Act::TakeFile { copy: path, .. } => Some(path.display().to_string()),
        Act::TryFirewall { .. } | Act::KeepFirewall => Some("the firewall".into()),
        Act::MakeUser { .. } | Act::InstallPackages { .. } | Act::UpgradePackages { .. } | Act::Reboot => {
            Some("the host".into())
        }
        Act::Kill { .. }
        | Act::Tail { .. }
        | Act::Inspect { .. }
        | Act::Open { .. }
        | Act::Listener { .. }
        | Act::LookAtFiles { .. }
        | Act::List
        | Act::Policy
        | Act::LetPlugin { .. }
        | Act::KillContainer { .. }
        | Act::InspectContainer { .. }
        | Act::ContainerTail { .. } => None,
    }
}

async fn write(mut to: tokio::net::unix::OwnedWriteHalf, mut answers: mpsc::Receiver<Answer>) {
    while let Some(answer) = answers.recv().await {
        let frame = encode(&answer).or_else(|error| {
            let outcome = Outcome::Failed { words: format!("the answer is {error}") };
            encode(&Answer { id: answer.id, outcome })
        });
        let Ok(frame) = frame else { continue };
        if to.write_all(&frame).await.is_err() {
            return;
        }
    }
}
