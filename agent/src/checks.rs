//! Running checks: the timetable says when, the plugin host runs, health judges;
//! what changed is in the spool, fsynced, before anybody sees it.

mod trials;
mod watch;

pub use trials::TrialEnd;
pub use watch::{Order, Watch};

use crate::clock::{self, Alarm};
use crate::orders::Orders;
use crate::plugins::{Readiness, Running, Slot, Table};
use crate::spool::Spool;
use crate::vault::Vault;
use crate::view::View;
use crate::{logging, memory};
use hostler_agent_core::clockwatch::ClockWatch;
use hostler_agent_core::health::Outcome;
use hostler_agent_core::supervision::Checked;
use hostler_agent_core::timetable::RunId;
use hostler_plugin_host::{LogLevel, LogLine, LogSink, Run, RunContext, RunRequest, Work};
use hostler_proto::agent::spool_record::Body;
use hostler_types::{EventKind, Name, Status};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Notify, mpsc, watch as latest};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use trials::Said;
pub use trials::Trials;

/// Most wait for a network; each holds an instance's memory while it does.
const RUNS_AT_ONCE: usize = 32;
/// Each may be as large as a plugin is allowed to be.
const MEMORY_BYTES_MAX: usize = 64 * 1024 * 1024;
/// As much as an event's message takes.
const SUMMARY_CHARACTERS_MAX: usize = 400;
/// When what came new has run some times, what only its beginning needed can go.
const SETTLED_AFTER: Duration = Duration::from_secs(60);
/// So that a moved clock is noticed even where nothing is scheduled.
const IDLE_MAX: Duration = Duration::from_secs(60);

/// One run that ended.
pub struct Ended {
    pub check: Name,
    pub run: RunId,
    pub result: Result<Run, String>,
    /// Absent where nothing could run.
    pub ran: Option<Ran>,
}

/// Which version of which plugin ran.
pub struct Ran {
    pub plugin: Name,
    pub digest: String,
}

/// What whoever looks after services asks of their checks.
pub enum CheckAsk {
    /// Run it now.
    Probe(Name),
    /// Bad results do not count before then.
    Forgive(Name, Duration),
}

pub struct Runner {
    pub watch: Watch,
    pub spool: Spool,
    pub view: Arc<View>,
    pub vault: Arc<Vault>,
    pub orders: latest::Receiver<Option<Arc<Orders>>>,
    pub table: latest::Receiver<Table>,
    pub trials: Trials,
    pub trial_ends: mpsc::Sender<TrialEnd>,
    pub awake: Arc<Notify>,
    pub asks: mpsc::Receiver<CheckAsk>,
    /// The checks whose every result somebody waits for, and who does.
    pub watched: latest::Receiver<Arc<BTreeSet<Name>>>,
    pub checked: mpsc::Sender<Checked>,
}

impl Runner {
    pub async fn run(mut self, stop: CancellationToken) {
        let (mut clocks, mut alarm) = (ClockWatch::default(), Alarm::unset());
        let mut runs: JoinSet<Ended> = JoinSet::new();
        // At most one entry a check: the timetable never stacks runs.
        let mut queue: VecDeque<Order> = VecDeque::new();
        let mut settled = Some(clock::now().monotonic.saturating_add(SETTLED_AFTER));
        self.configure().await;
        loop {
            let now = clock::now();
            self.note_jump(clocks.look(now)).await;
            queue.extend(self.watch.due(now));
            if settled.take_if(|at| *at <= now.monotonic).is_some() {
                memory::give_back();
            }
            let idle = settled.unwrap_or(Duration::MAX).min(now.monotonic.saturating_add(IDLE_MAX));
            self.start(&mut queue, &mut runs).await;
            let deadline = self.watch.next_deadline().map_or(idle, |due| due.min(idle));
            // Each of these can be dropped half-way: none has taken anything then.
            tokio::select! {
                () = stop.cancelled() => break,
                () = alarm.until(Some(deadline)) => {}
                changed = self.orders.changed() => match changed {
                    Ok(()) => {
                        settled = Some(now.monotonic.saturating_add(SETTLED_AFTER));
                        self.configure().await;
                    }
                    Err(_) => break,
                },
                changed = self.table.changed() => match changed {
                    Ok(()) => {
                        settled = Some(now.monotonic.saturating_add(SETTLED_AFTER));
                        self.plugins_changed(&mut queue);
                    }
                    Err(_) => break,
                },
                Some(ask) = self.asks.recv() => match ask {
                    CheckAsk::Probe(check) => queue.extend(self.watch.probe(clock::now(), check)),
                    CheckAsk::Forgive(check, until) => self.watch.forgive(clock::now(), &check, until),
                },
                Some(ended) = runs.join_next() => {
                    // Those that ended together become durable together.
                    let mut all = vec![ended];
                    all.extend(std::iter::from_fn(|| runs.try_join_next()));
                    let all = all.into_iter().filter_map(|ended| match ended {
                        Ok(ended) => Some(ended),
                        Err(error) => {
                            tracing::error!(error = %error, "a run's task ended without a result");
                            None
                        }
                    });
                    self.ended(all.collect(), &mut queue).await;
                    if runs.is_empty() {
                        self.awake.notify_waiters();
                    }
                }
            }
        }
        runs.abort_all();
    }

    async fn configure(&mut self) {
        let orders = self.orders.borrow_and_update().clone();
        let Some(orders) = orders else { return };
        self.vault.take(&orders.desired.node, &orders.desired.secrets);
        let changed = self.watch.configure(clock::now(), &orders.desired.checks, &self.view);
        let table = Arc::clone(&self.table.borrow());
        self.follow_trials(&table);
        {
            let mut view = self.view.lock();
            view.desired = Some(orders.stamp);
            view.desired_signed_at_ms = orders.signed_at.as_millis();
            view.only_watching = hostler_agent_core::desired::only_watch(orders.signed_at, clock::wall());
        }
        if changed {
            self.save().await;
        }
        tracing::info!(
            checks = orders.desired.checks.len(),
            plugins = orders.desired.plugins.len(),
            watches = orders.desired.watch.is_some(),
            generation = orders.stamp.generation,
            "desired state is in force"
        );
    }

    fn follow_trials(&mut self, table: &Table) {
        let ends = self.trials.follow(table, |plugin| self.watch.worked(plugin));
        ends.into_iter().for_each(|end| self.tell(end));
    }

    /// Checks that waited for a plugin run at once.
    fn plugins_changed(&mut self, queue: &mut VecDeque<Order>) {
        let table = Arc::clone(&self.table.borrow_and_update());
        self.follow_trials(&table);
        let coming = |name: &Name| table.get(name).is_none_or(Slot::is_coming);
        queue.extend(self.watch.plugins_changed(clock::now(), coming));
    }

    async fn start(&mut self, queue: &mut VecDeque<Order>, runs: &mut JoinSet<Ended>) {
        let mut ended = Vec::new();
        while runs.len() < RUNS_AT_ONCE
            && let Some(order) = queue.pop_front()
        {
            let table = Arc::clone(&self.table.borrow());
            let slot = table.get(&order.plugin);
            let none =
                |message: String| Ended { check: order.check.clone(), run: order.run, result: Err(message), ran: None };
            match slot.map(|slot| (slot.running(self.trials.is_refused(&slot.assignment.digest)), slot)) {
                Some((Some(running), _)) => match self.vault.configure(&order.config) {
                    Ok(config) => {
                        runs.spawn(run_one(Order { config, ..order }, running));
                    }
                    Err(message) => ended.push(none(message)),
                },
                Some((None, slot)) => match &slot.readiness {
                    Readiness::Failed(message) => {
                        ended.push(none(format!("plugin {} cannot be used: {message}", order.plugin)));
                    }
                    _ => self.watch.postpone(clock::now(), &order),
                },
                // The table follows what is asked for; a moment of difference is no result.
                None if self.is_assigned(&order.plugin) => self.watch.postpone(clock::now(), &order),
                None => ended.push(none(format!("plugin {} is not assigned to this node", order.plugin))),
            }
        }
        if !ended.is_empty() {
            self.ended(ended, queue).await;
        }
    }

    fn is_assigned(&self, plugin: &Name) -> bool {
        let orders = self.orders.borrow();
        orders.as_ref().is_some_and(|orders| orders.desired.plugins.iter().any(|one| one.name == *plugin))
    }

    fn tell(&self, end: TrialEnd) {
        if let Err(error) = self.trial_ends.try_send(end) {
            tracing::warn!(error = %error, "the end of a plugin's trial was not heard");
        }
    }

    async fn ended(&mut self, ended: Vec<Ended>, queue: &mut VecDeque<Order>) {
        let mut transitions = Vec::new();
        let (mut seen, mut results) = (Vec::new(), Vec::new());
        for one in ended {
            let one = Ended { result: one.result.map(|run| self.vault.redact_run(run)), ..one };
            let (said, end) = self.trials.ran(&one);
            if let Some(end) = end {
                self.tell(end);
            }
            if said == Said::Again {
                queue.extend(self.watch.again(clock::now(), &one));
                continue;
            }
            let Some(counted) = self.watch.ended(clock::now(), one, &self.view) else { continue };
            transitions.extend(counted.transition);
            if let Some(news) = counted.news {
                self.spool.event(EventKind::PLUGIN, counted.check.as_str(), news).await;
            }
            if self.watched.borrow().contains(&counted.check) {
                results.push(counted.checked);
            }
            seen.push(counted.check);
        }
        if !transitions.is_empty() {
            let bodies = transitions.iter().map(|one| Body::Transition(one.into())).collect();
            self.spool.append(bodies).await;
            self.view.lock().counts.transitions += transitions.len() as u64;
        }
        // Only now: what is shown or logged is durable.
        for transition in &transitions {
            tracing::info!(
                check = %transition.check,
                from = %transition.from,
                to = %transition.to,
                summary = transition.summary,
                "check changed"
            );
        }
        for check in &seen {
            self.watch.show(check, &self.view);
        }
        for result in results {
            // Whoever is that late looks at the next one.
            let _ = self.checked.try_send(result);
        }
        if !transitions.is_empty() {
            self.save().await;
        }
    }

    async fn save(&mut self) {
        let last = self.spool.state().last;
        let mut standings = self.watch.standings();
        let saved = tokio::task::spawn_blocking(move || standings.save(last)).await;
        if let Ok(Err(error)) = saved {
            tracing::warn!(error = %error, "writing the checks' states failed; the spool still has their transitions");
        }
    }

    async fn note_jump(&self, moved: Option<i64>) {
        let Some(moved) = moved else { return };
        let seconds = moved as f64 / 1_000.0;
        tracing::warn!(moved_seconds = seconds, "the host's clock was moved");
        let message = format!("the host's clock was moved by {seconds:+.1} s");
        self.spool.event(EventKind::AGENT, "clock", message).await;
    }
}

/// One run in the plugin host, as the bench does it too.
pub async fn run_one(order: Order, running: Running) -> Ended {
    let request = RunRequest {
        context: RunContext { instance: order.check.as_str().into(), grants: running.grants },
        config_json: order.config,
        timeout: order.timeout,
        memory_bytes_max: MEMORY_BYTES_MAX,
        log: Some(order.log),
    };
    let run = Box::pin(running.plugin.run(Work::Check, request)).await;
    let ran = Some(Ran { plugin: order.plugin, digest: running.digest });
    Ended { check: order.check, run: order.run, result: Ok(run), ran }
}

/// What a plugin logs goes to the agent's own log, under its check's name. The
/// plugin host bounds how much that is.
pub fn log_sink(check: &Name, vault: &Arc<Vault>) -> LogSink {
    let (check, vault) = (check.clone(), Arc::clone(vault));
    Arc::new(move |line: LogLine| {
        let fields: BTreeMap<_, _> = line.fields.into_iter().map(|(key, value)| (key, vault.redact(value))).collect();
        let (check, message) = (check.as_str(), vault.redact(line.message));
        match line.level {
            LogLevel::Error | LogLevel::Warn => tracing::warn!(check, message, ?fields, "plugin says"),
            LogLevel::Info => tracing::info!(check, message, ?fields, "plugin says"),
            _ => tracing::debug!(check, message, ?fields, "plugin says"),
        }
    })
}

/// What a run means: a check that broke is unknown, never down.
pub fn outcome(result: &Result<Run, String>) -> Outcome {
    let broke =
        |summary: String| Outcome { status: Status::Unknown, summary, details: String::new(), took: Duration::ZERO };
    match result {
        Ok(run) => match run.report() {
            Ok(report) => Outcome {
                status: report.status,
                summary: report.summary.clone(),
                details: report.details.clone(),
                took: run.bill.wall,
            },
            Err(fault) => Outcome { took: run.bill.wall, ..broke(one_line(&logging::whole(&fault))) },
        },
        Err(message) => broke(message.clone()),
    }
}

/// A summary is one line of a listing; a guest's last words may be several.
fn one_line(text: &str) -> String {
    let words: Vec<&str> = text.split_whitespace().collect();
    words.join(" ").chars().take(SUMMARY_CHARACTERS_MAX).collect()
}
