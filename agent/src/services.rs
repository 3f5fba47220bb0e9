//! The services of this host: what the supervisor decides is done here, and what it
//! needs to know is seen here.

mod containers;
mod drift;
mod files;
mod keep;
mod logs;
mod policy;
pub mod process;
mod runtime;
mod usage;

pub use files::{Contents, filled_in, mode_of, resolved, validate};
pub use keep::forget;
pub use runtime::{HOME_MODE, OUTPUT_FOLDER_MODE, by_root, user_default};

use crate::checks::CheckAsk;
use crate::clock::{self, Alarm};
use crate::executor::Executor;
use crate::gone::Standing;
use crate::orders::Orders;
use crate::spool::Spool;
use crate::vault::Vault;
use crate::view::View;
use files::Before;
use hostler_agent_core::desired::only_watch;
use hostler_agent_core::supervision::{Checked, Effect, FilesPut, Input, Key, Order, Outcome, Seen, Supervisor};
use hostler_proto::agent::spool_record::Body;
use hostler_proto::agent::{self as wire, from_agent};
use hostler_types::service::Runs;
use hostler_types::spec::Drift;
use hostler_types::{Act, Brake, BrakeKind, Name, ServiceAssignment, ServiceVerb, Timestamp};
use keep::Acts;
use runtime::{Runtime, unit_of};
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Notify, mpsc, oneshot, watch};
use tokio::task::{AbortHandle, JoinSet};
use tokio_util::sync::CancellationToken;
use tonic::transport::Channel;

/// Orders of people, and answers of the control plane: each is answered at once or
/// waits in the supervisor.
pub const QUEUE: usize = 64;

/// What others ask of services here.
pub enum Ask {
    /// From the control plane: what a service printed last.
    Order(wire::ServiceOrder),
    HealAnswer(wire::HealAnswer),
    /// What this host allows.
    Policy(wire::PolicyAsk),
    /// Somebody on this host, or a task.
    Act {
        verb: ServiceVerb,
        service: Name,
        by: String,
        reason: String,
        answer: oneshot::Sender<(Outcome, String)>,
    },
    Acts {
        service: String,
        answer: oneshot::Sender<Vec<Act>>,
    },
    Tail {
        service: Name,
        lines: u32,
        answer: oneshot::Sender<Result<Vec<String>, String>>,
    },
    /// By somebody on the host; nothing: not any more.
    Pause(Option<Brake>),
}

/// Fresh enough for a table; each service costs some tens of microseconds.
const MEASURE_EVERY: Duration = Duration::from_secs(15);
/// What is open and how files stand, which only the executor sees, is looked at once in
/// so many measures.
const OPEN_EACH: u64 = 4;

pub struct Services {
    pub state_dir: PathBuf,
    pub output: PathBuf,
    /// Where the content of services' files is kept, and what fetches it.
    pub files: PathBuf,
    pub channel: watch::Receiver<Option<Channel>>,
    pub executor: Executor,
    pub vault: Arc<Vault>,
    pub spool: Spool,
    pub view: Arc<View>,
    pub orders: watch::Receiver<Option<Arc<Orders>>>,
    pub standing: watch::Receiver<Standing>,
    pub checks: mpsc::Sender<CheckAsk>,
    pub checked: mpsc::Receiver<Checked>,
    /// The checks whose results are wanted.
    pub watched: watch::Sender<Arc<BTreeSet<Name>>>,
    pub asks: mpsc::Receiver<Ask>,
    pub to_control_plane: mpsc::Sender<from_agent::Message>,
    /// How a service stands has changed.
    pub news: Arc<Notify>,
}

struct Running {
    supervisor: Supervisor,
    runtime: Runtime,
    acts: Acts,
    /// What is under way, each ending in what it tells the supervisor.
    doing: JoinSet<Vec<Input>>,
    /// By replica: the program whose end is waited for.
    watching: BTreeMap<Key, (u32, AbortHandle)>,
    /// Whoever waits for the end of an order.
    waiting: BTreeMap<u64, oneshot::Sender<(Outcome, String)>>,
    orders_seen: u64,
    /// What runs as another than it should, by its key: to be stopped as that.
    last: BTreeMap<Name, Arc<ServiceAssignment>>,
    paused: Option<Brake>,
    /// What is wanted here was said too long ago.
    stale: bool,
    measured: u64,
}

impl Services {
    pub async fn run(mut self, stop: CancellationToken, seed: u64) {
        let runtime = Runtime {
            executor: self.executor.clone(),
            vault: Arc::clone(&self.vault),
            output: self.output.clone(),
            contents: Contents::new(self.files.clone(), self.channel.clone()),
        };
        let rotating = tokio::spawn(logs::rotate(runtime.clone(), self.orders.clone(), stop.clone()));
        let mut running = Running {
            supervisor: Supervisor::new(seed, keep::load(&self.state_dir)),
            runtime,
            acts: Acts::open(&self.state_dir),
            doing: JoinSet::new(),
            watching: BTreeMap::new(),
            waiting: BTreeMap::new(),
            orders_seen: 0,
            last: BTreeMap::new(),
            paused: keep::load_pause(&self.state_dir),
            stale: false,
            measured: 0,
        };
        let connected = *self.standing.borrow_and_update() == Standing::Connected;
        self.step(&mut running, Input::Link { connected }).await;
        self.configure(&mut running).await;
        let (mut measured, mut alarm) = (Duration::ZERO, Alarm::unset());
        loop {
            let deadline = running.supervisor.next_deadline(clock::now());
            let measure = (!running.supervisor.is_empty()).then(|| measured.saturating_add(MEASURE_EVERY));
            // Each of these can be dropped half-way: none has taken anything then.
            tokio::select! {
                () = stop.cancelled() => break,
                () = alarm.until(deadline) => self.step(&mut running, Input::Tick).await,
                () = clock::sleep_until(measure), if measure.is_some() => {
                    measured = clock::now().monotonic;
                    self.measure(&mut running);
                    let signed_at = self.orders.borrow().as_ref().map(|orders| orders.signed_at);
                    if signed_at.is_some_and(|at| only_watch(at, clock::wall())) != running.stale {
                        self.brakes(&mut running).await;
                    }
                }
                changed = self.orders.changed() => match changed {
                    Ok(()) => self.configure(&mut running).await,
                    Err(_) => break,
                },
                Ok(()) = self.standing.changed() => {
                    let connected = *self.standing.borrow_and_update() == Standing::Connected;
                    self.bring_files(&mut running);
                    self.step(&mut running, Input::Link { connected }).await;
                }
                Some(checked) = self.checked.recv() => self.step(&mut running, Input::Checked(checked)).await,
                Some(ask) = self.asks.recv() => self.asked(&mut running, ask).await,
                Some(done) = running.doing.join_next() => {
                    for input in done.unwrap_or_default() {
                        self.step(&mut running, input).await;
                    }
                }
            }
        }
        running.doing.abort_all();
        rotating.abort();
    }

    async fn configure(&mut self, running: &mut Running) {
        let Some(orders) = self.orders.borrow_and_update().clone() else { return };
        self.brakes(running).await;
        let services = &orders.desired.services;
        let unwanted = containers::unwanted(running.last.values(), services);
        self.step(running, Input::Configure(services.clone())).await;
        self.bring_files(running);
        for key in unwanted {
            let runtime = running.runtime.clone();
            running.doing.spawn(async move {
                runtime.sweep_container(&key).await;
                Vec::new()
            });
        }
        running.last.retain(|name, _| running.supervisor.assignment(name).is_some());
        for service in services {
            // What runs now is stopped as what it was started as.
            if let Some(assigned) = running.supervisor.assignment(&service.name) {
                running.last.entry(service.name.clone()).or_insert_with(|| Arc::clone(assigned));
            }
        }
        let watched: BTreeSet<Name> =
            services.iter().flat_map(|one| one.live.iter().chain(&one.ready)).cloned().collect();
        self.watched.send_if_modified(|old| {
            let news = **old != watched;
            if news {
                *old = Arc::new(watched);
            }
            news
        });
    }

    /// Also for what does not run now: the host may be cut off when it is to.
    fn bring_files(&self, running: &mut Running) {
        let (orders, contents) = (self.orders.clone(), running.runtime.contents.clone());
        running.doing.spawn(async move {
            // The newest, also where others came since this was begun.
            let orders = orders.borrow().clone();
            if let Some(orders) = orders {
                let files = orders.desired.services.iter().flat_map(|service| &service.files);
                let wanted = files.map(|file| file.digest.clone()).collect();
                contents.keep_only(&wanted);
                contents.bring(&wanted).await;
            }
            Vec::new()
        });
    }

    /// What the control plane holds back, what somebody on the host does, and the age of
    /// what is known to be wanted.
    async fn brakes(&mut self, running: &mut Running) {
        let orders = self.orders.borrow().clone();
        let stale = orders.as_ref().is_some_and(|orders| only_watch(orders.signed_at, clock::wall()));
        let mut brakes = orders.map(|orders| orders.desired.brakes.clone()).unwrap_or_default();
        brakes.extend(running.paused.clone());
        running.stale = stale;
        brakes.extend(stale.then(|| Brake {
            kind: BrakeKind::Stale,
            check: None,
            until: None,
            words: "desired state is older than 30 days, so this host only watches".to_owned(),
        }));
        self.view.lock().brakes.clone_from(&brakes);
        self.step(running, Input::Brakes(brakes)).await;
    }

    async fn step(&mut self, running: &mut Running, input: Input) {
        let now = clock::now();
        watch_program(running, &input);
        let effects = running.supervisor.step(now, input);
        if effects.is_empty() {
            return self.show(running);
        }
        // Known before anything is done, on whatever the disk makes of it: once for all.
        if effects.contains(&Effect::Keep) {
            self.keep(running).await;
        }
        let mut acts: Vec<Act> = Vec::new();
        for effect in effects {
            match effect {
                Effect::Record(act) => acts.push(*act),
                effect => self.carry_out(running, effect),
            }
        }
        self.show(running);
        if !acts.is_empty() {
            self.record(running, acts).await;
        }
    }

    fn carry_out(&mut self, running: &mut Running, effect: Effect) {
        let runtime = running.runtime.clone();
        let assigned = |running: &Running, key: &Key| running.supervisor.assignment(&key.service).cloned();
        match effect {
            Effect::Look { key } => {
                let service = assigned(running, &key);
                running.doing.spawn(async move {
                    let mut inputs = Vec::new();
                    if let Some(service) = service.as_deref().filter(|one| matches!(one.runs, Runs::Unit { .. })) {
                        inputs.extend(runtime.put_drop_in(service).await);
                    }
                    let seen = runtime.look(&key, service.as_deref()).await;
                    inputs.push(Input::Looked { key, seen });
                    inputs
                });
            }
            Effect::Start { key, op } => {
                let Some(service) = assigned(running, &key) else { return };
                running.last.insert(key.service.clone(), Arc::clone(&service));
                let had = running.supervisor.had(&key.service);
                let before = match service.drift {
                    Drift::Alarm => Before::Left(running.supervisor.placed(&key.service)),
                    Drift::Repair => Before::Unknown,
                };
                running.doing.spawn(async move {
                    let mut inputs = Vec::new();
                    if !service.files.is_empty() || !service.packages.is_empty() {
                        let put = runtime.put_files(&service, &before).await;
                        if !files::stands(&service, &put, &had) {
                            let result = put.trouble.map_or(Ok(None), |trouble| Err(files::at_start(trouble)));
                            return vec![Input::Started { key, op, result }];
                        }
                        inputs.push(Input::FilesPut { service: key.service.clone(), put });
                    }
                    let result = match runtime.put_unit_to_start(&service).await {
                        Ok(put) => {
                            inputs.extend(put);
                            runtime.start(&key, &service).await
                        }
                        Err(trouble) => Err(trouble),
                    };
                    inputs.push(Input::Started { key: key.clone(), op, result: result.clone() });
                    if result == Ok(None) && runtime::is_own(Some(&service)) {
                        let (end, _) = runtime.ended(&key, Some(&service)).await;
                        inputs.push(Input::Ended { key, pid: None, end });
                    }
                    inputs
                });
            }
            Effect::Stop { key, op } => {
                let now = assigned(running, &key);
                let service = running.last.get(&key.service).cloned().or_else(|| now.clone());
                running.doing.spawn(async move {
                    let result = runtime.stop(&key, service.as_deref()).await;
                    let other = service.filter(|one| unit_of(&key, Some(one)) != unit_of(&key, now.as_deref()));
                    if let Some(service) = other.filter(|_| result.is_ok()) {
                        runtime.leave(&service).await;
                    }
                    vec![Input::Stopped { key, op, result }]
                });
            }
            Effect::Reload { key } => {
                let service = assigned(running, &key);
                running.doing.spawn(async move {
                    let result = runtime.reload(&key, service.as_deref()).await;
                    vec![Input::Reloaded { key, result }]
                });
            }
            Effect::PutFiles { service: name, op } => {
                let Some(service) = running.supervisor.assignment(&name).cloned() else { return };
                let before = Before::Stands(running.supervisor.placed(&name));
                running.doing.spawn(async move {
                    let put = runtime.put_files(&service, &before).await;
                    vec![Input::FilesPut { service: name, put: FilesPut { op: Some(op), ..put } }]
                });
            }
            Effect::PutUnit { service: name } => {
                let Some(service) = running.supervisor.assignment(&name).cloned() else { return };
                running.doing.spawn(async move {
                    let put = runtime.put_unit(&service).await;
                    vec![Input::UnitPut { service: name, put }]
                });
            }
            // A queue that is full means that many run anyway.
            Effect::Probe { check } => drop(self.checks.try_send(CheckAsk::Probe(check))),
            Effect::Forgive { check, until } => drop(self.checks.try_send(CheckAsk::Forgive(check, until))),
            Effect::Ask { id, service, check, step } => {
                let (service, check) = (service.to_string(), check.to_string());
                let ask = wire::HealAsk { id, service, check, step: step.to_owned() };
                // What is not sent is asked again.
                drop(self.to_control_plane.try_send(from_agent::Message::HealAsk(ask)));
            }
            Effect::Answer { id, outcome, words } => {
                if let Some(answer) = running.waiting.remove(&id) {
                    drop(answer.send((outcome, words)));
                }
            }
            Effect::Left(service) => {
                running.last.remove(&service.name);
                running.doing.spawn(async move {
                    runtime.leave(&service).await;
                    Vec::new()
                });
            }
            Effect::Keep | Effect::Record(_) => {}
        }
    }

    /// Beside everything else: a host with many services has many files to read.
    fn measure(&self, running: &mut Running) {
        let (view, runtime) = (Arc::clone(&self.view), running.runtime.clone());
        running.measured += 1;
        let open = running.measured % OPEN_EACH == 1;
        for looking in running.supervisor.to_look_at().into_iter().filter(|_| open) {
            let runtime = runtime.clone();
            running.doing.spawn(async move { runtime.look_at_files(looking).await.into_iter().collect() });
        }
        running.doing.spawn(async move {
            let pids = view.lock().pids();
            let opened = if open { runtime.open(pids.iter().map(|(_, pid)| *pid).collect()).await } else { Vec::new() };
            let now_ms = clock::wall().as_millis();
            let measured = tokio::task::spawn_blocking(move || {
                let measure = |(key, pid)| {
                    let open = opened.iter().find(|one| one.pid == pid).copied();
                    Some((key, usage::measure(pid, now_ms)?, open))
                };
                pids.into_iter().filter_map(measure).collect::<Vec<_>>()
            });
            let measured = measured.await.unwrap_or_default();
            view.lock().set_usage(measured);
            Vec::new()
        });
    }

    async fn keep(&self, running: &Running) {
        let (state_dir, kept) = (self.state_dir.clone(), running.supervisor.kept());
        let saved = tokio::task::spawn_blocking(move || keep::save(&state_dir, kept)).await;
        if let Ok(Err(error)) = saved {
            tracing::error!(error = %error, "what is known of services can't be kept; a restart of the agent looks at them anew");
        }
    }

    async fn record(&self, running: &mut Running, acts: Vec<Act>) {
        for act in &acts {
            tracing::info!(service = %act.service, replica = act.replica, act = act.id, "{act}");
        }
        if let Err(error) = running.acts.add(&acts) {
            tracing::warn!(error = %error, "an act can't be written down here; the control plane hears of it");
        }
        self.spool.append(acts.iter().map(|act| Body::Act(act.into())).collect()).await;
    }

    fn show(&self, running: &mut Running) {
        let news = running.supervisor.news(clock::now());
        let mut view = self.view.lock();
        let mut told = false;
        for (service, standings) in news {
            told |= view.set_service(&service, standings);
        }
        if told {
            self.news.notify_one();
        }
    }

    async fn asked(&mut self, running: &mut Running, ask: Ask) {
        match ask {
            Ask::HealAnswer(wire::HealAnswer { id, allowed, words }) => {
                self.step(running, Input::HealAnswer { id, allowed, words }).await;
            }
            Ask::Order(order) => self.ordered(running, order),
            Ask::Policy(wire::PolicyAsk { id }) => {
                let (executor, out) = (self.executor.clone(), self.to_control_plane.clone());
                running.doing.spawn(async move {
                    let answer = policy::answer(id, &executor).await;
                    drop(out.try_send(from_agent::Message::PolicyAnswer(answer)));
                    Vec::new()
                });
            }
            Ask::Act { verb, service, by, reason, answer } => {
                running.orders_seen += 1;
                let id = running.orders_seen;
                running.waiting.insert(id, answer);
                let order = Order { id, service, verb, by, reason };
                self.step(running, Input::Order(order)).await;
            }
            Ask::Pause(brake) => {
                if let Err(error) = keep::save_pause(&self.state_dir, brake.as_ref()) {
                    tracing::error!(error = %error, "the pause can't be kept: it ends when the agent does");
                }
                running.paused = brake;
                self.brakes(running).await;
            }
            Ask::Acts { service, answer } => drop(answer.send(running.acts.of(&service))),
            Ask::Tail { service, lines, answer } => self.tail(running, &service, lines, move |lines| {
                drop(answer.send(lines));
            }),
        }
    }

    fn ordered(&self, running: &mut Running, order: wire::ServiceOrder) {
        let wire::ServiceOrder { id, service, verb, tail_lines, .. } = order;
        let out = self.to_control_plane.clone();
        let answer = move |result: Result<Vec<String>, (&str, String)>| {
            let (outcome, words, tail) = match result {
                Ok(tail) => ("done", String::new(), tail),
                Err((outcome, words)) => (outcome, words, Vec::new()),
            };
            let answer = wire::ServiceAnswer { id, outcome: outcome.to_owned(), words, tail };
            drop(out.try_send(from_agent::Message::ServiceAnswer(answer)));
        };
        let Ok(name) = Name::new(&service) else { return answer(Err(("refused", format!("{service:?} is no name")))) };
        if tail_lines == 0 {
            return answer(Err(("refused", format!("this agent does {verb:?} to a service only as a task"))));
        }
        self.tail(running, &name, tail_lines, move |lines| answer(lines.map_err(|words| ("failed", words))));
    }

    fn tail(
        &self,
        running: &mut Running,
        service: &Name,
        lines: u32,
        answer: impl FnOnce(Result<Vec<String>, String>) + Send + 'static,
    ) {
        let Some(assignment) = running.supervisor.assignment(service).cloned() else {
            return answer(Err(format!("service {service} is not assigned to this node")));
        };
        let runtime = running.runtime.clone();
        running.doing.spawn(async move {
            let mut all = Vec::new();
            for replica in 0..assignment.replicas {
                let key = Key { service: assignment.name.clone(), replica };
                let tail = runtime.tail(&key, Some(&assignment), lines).await;
                let several = assignment.replicas > 1;
                all.extend(tail.into_iter().map(|line| if several { format!("{replica}: {line}") } else { line }));
            }
            answer(Ok(all));
            Vec::new()
        });
    }
}

/// From the moment at which a program is known, its end is waited for.
fn watch_program(running: &mut Running, input: &Input) {
    let (key, pid) = match input {
        Input::Started { key, result: Ok(Some(pid)), .. }
        | Input::Looked { key, seen: Seen::Running { pid: Some(pid), .. } }
        | Input::Appeared { key, pid: Some(pid) } => (key.clone(), *pid),
        Input::Stopped { key, .. } => {
            if let Some((_, watching)) = running.watching.remove(key) {
                watching.abort();
            }
            return;
        }
        _ => return,
    };
    if running.watching.get(&key).is_some_and(|(watched, _)| *watched == pid) {
        return;
    }
    let service = running.supervisor.assignment(&key.service).cloned();
    let runtime = running.runtime.clone();
    let watched = key.clone();
    let watching = running.doing.spawn(async move {
        process::ended(pid).await;
        let (end, next) = runtime.ended(&key, service.as_deref()).await;
        let mut inputs = vec![Input::Ended { key: key.clone(), pid: Some(pid), end }];
        if next.is_some() {
            inputs.push(Input::Appeared { key, pid: next });
        }
        inputs
    });
    if let Some((_, before)) = running.watching.insert(watched, (pid, watching)) {
        before.abort();
    }
}

/// How a replica stands, on the wire.
pub fn report(standing: &hostler_agent_core::supervision::Standing, usage: Option<wire::Usage>) -> wire::ServiceReport {
    wire::ServiceReport {
        service: standing.key.service.to_string(),
        replica: standing.key.replica,
        state: standing.state.word().to_owned(),
        since_ms: standing.since.as_millis(),
        pid: standing.pid.unwrap_or(0),
        started_ms: standing.started.map_or(0, Timestamp::as_millis),
        restarts: standing.restarts,
        words: standing.words.clone(),
        stopped: standing.stopped,
        usage,
    }
}
