//! The tasks of this host: what the ledger decides is done here, and what it needs to
//! know is seen here.

mod alone;
mod bring;
mod firewall;
mod hands;
mod journal;
mod plugin;
mod reboot;

use crate::checks::CheckAsk;
use crate::executor::Executor;
use crate::gone::Standing;
use crate::orders::Orders;
use crate::plugins::Table;
use crate::services::{self, Contents};
use crate::spool::Spool;
use crate::vault::Vault;
use crate::view::View;
use crate::{clock, host};
use bring::Brings;
use firewall::Reach;
use hands::Hands;
use hostler_agent_core::alone::{self as core_alone, Alone};
use hostler_agent_core::tasks::{CheckStands, Effect, Fate, Found, Input, Kept, Ledger, Output};
use hostler_proto::agent::spool_record::Body;
use hostler_proto::agent::{self as wire, from_agent};
use hostler_types::{
    CheckState, Name, NodeId, Now, ServiceState, Stamp, Status, TaskId, TaskOffer, TaskReport, TaskState, Timestamp,
};
use journal::Journal;
use plugin::Plugins;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Notify, mpsc, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tonic::transport::Channel;

/// Each is answered within milliseconds; a control plane offers a host few at once.
pub const QUEUE: usize = 64;
/// Scripts that tasks run.
const SCRIPTS: &str = "scripts";
/// Between two looks at what a program prints.
const LIVE_EVERY: Duration = Duration::from_secs(1);

/// What the control plane asks of tasks here.
pub enum Ask {
    Offer(wire::TaskOffer),
    Cancel(wire::TaskCancel),
}

pub struct Worker {
    pub node: NodeId,
    pub state_dir: PathBuf,
    pub output: PathBuf,
    pub channel: watch::Receiver<Option<Channel>>,
    pub executor: Executor,
    pub vault: Arc<Vault>,
    pub spool: Spool,
    pub view: Arc<View>,
    pub orders: watch::Receiver<Option<Arc<Orders>>>,
    pub table: watch::Receiver<Table>,
    pub standing: watch::Receiver<Standing>,
    pub services: mpsc::Sender<services::Ask>,
    pub checks: mpsc::Sender<CheckAsk>,
    pub asks: mpsc::Receiver<Ask>,
    pub to_control_plane: mpsc::Sender<from_agent::Message>,
}

/// What came of something that was under way.
enum Came {
    Tell(Input),
    /// Its program runs.
    Runs(TaskId, u32),
    /// What a program has printed so far.
    Printed(TaskId, Output),
    Nothing,
}

struct Running {
    ledger: Ledger,
    alone: Alone,
    journal: Arc<Journal>,
    hands: Hands,
    doing: JoinSet<Came>,
    /// Whose program runs, and how much it had printed at the last look.
    printing: BTreeMap<TaskId, Printing>,
    looked: Duration,
    /// What the ends of programs bring, as long as their tasks are not over.
    brings: BTreeMap<(TaskId, u32), Brings>,
    /// The end of a task is kept, and its files may go.
    files: Arc<Notify>,
}

struct Printing {
    step: u32,
    length: u64,
}

impl Worker {
    pub async fn run(mut self, stop: CancellationToken) {
        let mut running = self.begin();
        // The agent may end at any time, and so may this.
        let restored = tokio::select! {
            () = stop.cancelled() => return,
            restored = self.restore(&mut running) => restored,
        };
        if let Err(error) = restored {
            tracing::error!(error, "what was kept of tasks can't be read, and so none is begun");
            return self.refuse_all(&running, &error, &stop).await;
        }
        self.send_files(&mut running).await;
        self.hold_schedules(&mut running).await;
        loop {
            let deadline = running.ledger.next_deadline();
            let due = running.alone.next_deadline(self.now());
            let look = (!running.printing.is_empty()).then(|| running.looked.saturating_add(LIVE_EVERY));
            // Each of these can be dropped half-way: none has taken anything then.
            tokio::select! {
                () = stop.cancelled() => break,
                () = clock::sleep_until(deadline), if deadline.is_some() => self.step(&mut running, Input::Tick).await,
                () = clock::sleep_until(due), if due.is_some() => {
                    self.alone(&mut running, core_alone::Input::Tick).await;
                }
                Ok(()) = self.standing.changed() => self.link_changed(&mut running).await,
                Ok(()) = self.orders.changed() => self.hold_schedules(&mut running).await,
                () = clock::sleep_until(look), if look.is_some() => look_at_output(&mut running),
                Some(ask) = self.asks.recv() => self.asked(&mut running, ask).await,
                Some(came) = running.doing.join_next() => self.came(&mut running, came.unwrap_or(Came::Nothing)).await,
            }
        }
        running.doing.abort_all();
    }

    fn begin(&self) -> Running {
        let hands = Hands {
            executor: self.executor.clone(),
            vault: Arc::clone(&self.vault),
            output: self.output.clone(),
            scripts: Contents::new(self.state_dir.join(SCRIPTS), self.channel.clone()),
            services: self.services.clone(),
            plugins: Plugins { table: self.table.clone(), orders: self.orders.clone() },
        };
        Running {
            ledger: Ledger::default(),
            alone: Alone::new(self.now(), self.node.clone(), alone::load(&self.state_dir)),
            journal: Arc::new(Journal::new(&self.state_dir)),
            hands,
            doing: JoinSet::new(),
            printing: BTreeMap::new(),
            looked: Duration::ZERO,
            brings: BTreeMap::new(),
            files: Arc::default(),
        }
    }

    /// What was done before is not known, and may not be done twice.
    async fn refuse_all(&mut self, running: &Running, error: &str, stop: &CancellationToken) {
        let words = format!("this host can't read what it kept of tasks, and so begins none: {error}");
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                Some(ask) = self.asks.recv() => {
                    if let Ask::Offer(wire::TaskOffer { id, .. }) = ask
                        && let Ok(id) = TaskId::parse(&id)
                    {
                        self.tell(running, &TaskReport::new(id, TaskState::Refused, clock::wall(), words.clone()));
                    }
                }
            }
        }
    }

    async fn restore(&self, running: &mut Running) -> Result<(), String> {
        let journal = Arc::clone(&running.journal);
        let loaded = tokio::task::spawn_blocking(move || journal.load(clock::wall())).await;
        let loaded = loaded.map_err(|error| error.to_string())?.map_err(|error| error.to_string())?;
        let (open, over) = (loaded.open, loaded.over);
        let uptime = Duration::from_millis(hostler_executor::clock::boottime_ms());
        let mut found = Found { open, over, boot: host::boot_id(), uptime, on_host: Vec::new() };
        // Nothing is left of tasks where there never was one.
        if !(found.open.is_empty() && found.over.is_empty()) {
            let brings = |id: &TaskId, step| {
                let record = found.open.iter().find(|record| record.offer.id == *id)?;
                record.fetch_of(step).map(Brings::new)
            };
            found.on_host = running.hands.on_host(brings).await;
        }
        self.step(running, Input::Restored(Box::new(found))).await;
        Ok(())
    }

    /// Also those that an agent before this one took.
    async fn send_files(&self, running: &mut Running) {
        let open: BTreeSet<TaskId> = running.ledger.reports().map(|report| report.id.clone()).collect();
        running.hands.sweep(|id| running.ledger.knows(id), |id| open.contains(id)).await;
        let sender = bring::Sender {
            hands: running.hands.clone(),
            journal: Arc::clone(&running.journal),
            channel: self.channel.clone(),
            spool: self.spool.clone(),
            wake: Arc::clone(&running.files),
        };
        running.doing.spawn(async move {
            sender.run().await;
            Came::Nothing
        });
    }

    async fn asked(&self, running: &mut Running, ask: Ask) {
        // Whoever rules by now, neither offers nor cancels count that are older.
        let corrected = self.what_holds(running).await;
        match ask {
            Ask::Offer(offer) => self.offered(running, offer, corrected).await,
            Ask::Cancel(wire::TaskCancel { id, stamp, words }) => {
                let Ok(id) = TaskId::parse(&id) else { return };
                let stamp = stamp.map(Stamp::from).unwrap_or_default();
                self.step(running, Input::Cancel { id, stamp, words }).await;
            }
        }
    }

    async fn offered(&self, running: &mut Running, offer: wire::TaskOffer, corrected: Timestamp) {
        let id = TaskId::parse(&offer.id);
        let offer = match (TaskOffer::try_from(offer), id) {
            (Ok(offer), _) => Box::new(offer),
            // Not kept: an agent that knows more may do it yet.
            (Err(error), Ok(id)) => {
                let report = TaskReport::new(id, TaskState::Refused, clock::wall(), error.to_string());
                return self.tell(running, &report);
            }
            (Err(error), Err(_)) => {
                return tracing::warn!(error = %error, "a task was offered that can't be read");
            }
        };
        tracing::info!(task = %offer.id, title = offer.title, by = offer.by, "a task is offered");
        self.step(running, Input::Offer { offer, corrected }).await;
    }

    /// Tells the ledger who rules and what holds new tasks back here; the time by the control
    /// plane's clock.
    async fn what_holds(&self, running: &mut Running) -> Timestamp {
        let ruled = self.orders.borrow().as_ref().map(|orders| orders.stamp);
        let brakes = self.view.lock().brakes.clone();
        if let Some(stamp) = ruled {
            self.step(running, Input::Ruled(stamp)).await;
        }
        self.step(running, Input::Brakes(brakes)).await;
        self.now().wall
    }

    /// By the control plane's clock.
    fn now(&self) -> Now {
        self.view.lock().corrected(clock::now())
    }

    async fn came(&self, running: &mut Running, came: Came) {
        match came {
            Came::Nothing => {}
            Came::Tell(input) => {
                if let Input::Ended { id, step, .. } = &input
                    && running.printing.get(id).is_some_and(|printing| printing.step == *step)
                {
                    running.printing.remove(id);
                }
                self.step(running, input).await;
            }
            Came::Runs(id, step) => {
                running.follow(id.clone(), step);
                self.step(running, Input::Began { id, step }).await;
            }
            Came::Printed(id, output) => {
                let bytes = output.cut_bytes + output.text.len() as u64;
                self.step(running, Input::Printed { id: id.clone(), bytes }).await;
                let reported = running.ledger.reports().find(|report| report.id == id).cloned();
                if let Some(mut report) = reported {
                    report.output = running.ledger.with_notes(&id, &output.text);
                    report.output_cut_bytes = output.cut_bytes;
                    self.tell(running, &report);
                }
            }
        }
    }

    async fn step(&self, running: &mut Running, input: Input) {
        let mut inputs = VecDeque::from([input]);
        while let Some(input) = inputs.pop_front() {
            let mut effects = running.ledger.step(clock::now(), input).into_iter().peekable();
            while let Some(effect) = effects.next() {
                let Effect::Keep(kept) = effect else {
                    inputs.extend(self.carry_out(running, effect).await);
                    continue;
                };
                let (id, begins) = (kept.id().clone(), effects.peek().and_then(|next| next.begun_by(&kept)));
                if let Err(words) = keep(running, kept).await
                    && let Some(step) = begins
                {
                    // Nothing is begun that is not on the disk. What ends or stops is done all the same.
                    drop(effects.next());
                    inputs.push_back(Input::Ended { id, step, fate: Fate::Failed(words), output: None });
                }
            }
        }
    }

    /// What is known at once is answered so.
    async fn carry_out(&self, running: &mut Running, effect: Effect) -> Option<Input> {
        let hands = running.hands.clone();
        let ended = |id, step, fate: Option<Fate>| match fate {
            Some(fate) => Came::Tell(Input::Ended { id, step, fate, output: None }),
            None => Came::Nothing,
        };
        match effect {
            Effect::Start { id, step, command } => {
                running.doing.spawn(async move {
                    match hands.start(&id, step, command).await {
                        Ok(()) => Came::Runs(id, step),
                        Err(unfit) => ended(id, step, unfit),
                    }
                });
            }
            Effect::Follow { id, step } => running.follow(id, step),
            Effect::Stop { id, step } => {
                let brings = running.brings(&id, step);
                running.doing.spawn(async move {
                    match hands.stop(&id, step, brings).await {
                        Some((fate, output)) => Came::Tell(Input::Ended { id, step, fate, output }),
                        None => Came::Nothing,
                    }
                });
            }
            Effect::Service { id, step, service, verb, by, reason } => {
                running.doing.spawn(async move { ended(id, step, hands.service(service, verb, by, reason).await) });
            }
            Effect::Packages { id, step, which } => {
                running.doing.spawn(async move {
                    match hands.upgrade(&id, which).await {
                        (Some(fate), output) => Came::Tell(Input::Ended { id, step, fate, output }),
                        (None, _) => Came::Nothing,
                    }
                });
            }
            Effect::User { id, step, user } => {
                running.doing.spawn(async move { ended(id, step, fate_of(hands.make_user(user).await)) });
            }
            Effect::File { id, step, file } => {
                running.doing.spawn(async move { ended(id, step, fate_of(hands.put_file(*file).await)) });
            }
            Effect::Firewall { id, step, rules, revert } => {
                let reach = self.reach();
                running
                    .doing
                    .spawn(async move { ended(id, step, fate_of(hands.try_firewall(&rules, revert, reach).await)) });
            }
            Effect::Plugin { id, step, action, ask } => {
                running.doing.spawn(async move {
                    match hands.ask_plugin(action, ask.clone()).await {
                        Some(said) => Came::Tell(Input::PluginSaid { id, step, ask, said }),
                        None => Came::Nothing,
                    }
                });
            }
            Effect::Reboot { id, step, when } => {
                running.doing.spawn(async move { ended(id, step, hands.reboot(when).await) });
            }
            Effect::LookAtService { id, step, service } => {
                return Some(Input::ServiceSeen { id, step, runs_for: self.runs_for(&service) });
            }
            Effect::LookAtCheck { id, step, check } => {
                let seen = self.check(&check);
                // A queue that is full means that many run anyway.
                drop(self.checks.try_send(CheckAsk::Probe(check)));
                return Some(Input::CheckSeen { id, step, seen });
            }
            Effect::Stale { id, words } => tracing::warn!(task = %id, words, "an offer is not taken"),
            Effect::Report(report) => self.tell(running, &report),
            Effect::End(report) => {
                tracing::info!(task = %report.id, state = %report.state, words = report.words, "a task is over");
                self.view.lock().tasks.remove(report.id.as_str());
                running.printing.remove(&report.id);
                running.brings.retain(|(id, _), _| *id != report.id);
                running.files.notify_one();
                if running.ledger.reports().next().is_none() {
                    running.hands.scripts.keep_only(&running.alone.contents());
                }
                self.spool.append(vec![Body::Task((&*report).into())]).await;
                // The report has the last of it.
                running.doing.spawn(async move {
                    hands.remove(hands.log_of(&report.id)).await;
                    Came::Nothing
                });
            }
            Effect::TellAgain(id) => self.tell_again(running, id).await,
            Effect::Forget(id) => {
                if let Err(error) = running.journal.forget(&id) {
                    tracing::warn!(task = %id, error = %error, "a task that is long over can't be forgotten");
                }
                running.doing.spawn(async move {
                    hands.remove(hands.log_of(&id)).await;
                    hands.remove(hands.upgrade_log_of(&id)).await;
                    Came::Nothing
                });
            }
            Effect::Keep(_) => {}
        }
        None
    }

    async fn tell_again(&self, running: &Running, id: TaskId) {
        let (journal, kept) = (Arc::clone(&running.journal), id.clone());
        let end = tokio::task::spawn_blocking(move || journal.end_of(&kept)).await.ok().flatten();
        let unknown = || TaskReport::new(id, TaskState::Interrupted, clock::wall(), "how it ended was not kept");
        self.spool.append(vec![Body::Task((&end.unwrap_or_else(unknown)).into())]).await;
    }

    /// Shown here, and to whoever is connected; who comes later sees it in the hello.
    fn tell(&self, running: &Running, report: &TaskReport) {
        let mut report = wire::TaskReport::from(report);
        let mut view = self.view.lock();
        if running.ledger.reports().any(|one| one.id.as_str() == report.id) {
            if let Some(before) = view.tasks.get(&report.id).filter(|_| report.output.is_empty()) {
                (report.output, report.output_cut_bytes) = (before.output.clone(), before.output_cut_bytes);
            }
            view.tasks.insert(report.id.clone(), report.clone());
        }
        drop(view);
        drop(self.to_control_plane.try_send(from_agent::Message::Task(report)));
    }

    /// Where the control plane was last.
    fn reach(&self) -> Reach {
        Reach { state_dir: self.state_dir.clone(), address: self.view.lock().link.address.clone() }
    }

    /// For how long its oldest program runs, if all of it does.
    fn runs_for(&self, service: &Name) -> Option<Duration> {
        let view = self.view.lock();
        let all: Vec<_> = view.services.values().filter(|seen| seen.standing.key.service == *service).collect();
        let runs = all.iter().all(|seen| seen.standing.state == ServiceState::Running);
        let pids: Option<Vec<u32>> = all.iter().map(|seen| seen.standing.pid).collect();
        drop(view);
        let ages: Option<Vec<Duration>> = pids.filter(|_| runs)?.into_iter().map(services::process::age).collect();
        ages?.into_iter().max()
    }

    fn check(&self, check: &Name) -> Option<CheckStands> {
        let view = self.view.lock();
        view.checks.get(check).map(|seen| stands(seen.state, &seen.report))
    }
}

fn fate_of(done: Result<Fate, hands::Unfit>) -> hands::Unfit {
    done.map_or_else(|unfit| unfit, Some)
}

/// One that just failed may pass until it has failed often enough: a step takes its last
/// run at its word.
fn stands(state: CheckState, report: &wire::CheckReport) -> CheckStands {
    let well = report.status == Status::Ok.word();
    let told = if state == CheckState::Passing && !well { report.status.clone() } else { state.to_string() };
    let words = if report.summary.is_empty() { told } else { format!("{told}: {}", report.summary) };
    let last_run = Timestamp::from_millis(report.last_run_ms).minus(Duration::from_micros(report.duration_us));
    CheckStands { passing: well && state == CheckState::Passing, last_run, words }
}

impl Running {
    fn brings(&mut self, id: &TaskId, step: u32) -> Option<Brings> {
        let fetch = self.ledger.fetch_of(id, step)?;
        Some(self.brings.entry((id.clone(), step)).or_insert_with(|| Brings::new(fetch)).clone())
    }

    fn follow(&mut self, id: TaskId, step: u32) {
        self.printing.insert(id.clone(), Printing { step, length: 0 });
        let (hands, brings) = (self.hands.clone(), self.brings(&id, step));
        self.doing.spawn(async move {
            match hands.follow(&id, step, brings).await {
                Some((fate, output)) => Came::Tell(Input::Ended { id, step, fate, output }),
                None => Came::Nothing,
            }
        });
    }
}

fn look_at_output(running: &mut Running) {
    running.looked = clock::now().monotonic;
    for (id, printing) in &mut running.printing {
        let length = std::fs::metadata(running.hands.log_of(id)).map(|one| one.len()).unwrap_or_default();
        if length != std::mem::replace(&mut printing.length, length) {
            let (hands, id) = (running.hands.clone(), id.clone());
            running.doing.spawn(async move {
                match hands.output(&id).await {
                    Some(output) => Came::Printed(id, output),
                    None => Came::Nothing,
                }
            });
        }
    }
}

async fn keep(running: &Running, kept: Kept) -> Result<(), String> {
    let (journal, id) = (Arc::clone(&running.journal), kept.id().clone());
    let done = tokio::task::spawn_blocking(move || journal.keep(&kept)).await;
    let error = match done {
        Ok(Ok(())) => return Ok(()),
        Ok(Err(error)) => error.to_string(),
        Err(error) => error.to_string(),
    };
    tracing::error!(task = %id, error, "a task can't be written down");
    Err(format!("it can't be written down on this host, and so it is not done: {error}"))
}

/// Removes what belongs to the node that this host was before.
pub fn forget(state_dir: &Path) -> io::Result<()> {
    alone::forget(state_dir)?;
    journal::forget(state_dir)
}

#[cfg(test)]
mod tests;
