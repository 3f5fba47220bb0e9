//! The link to the control plane: does what the session decides, and keeps what
//! comes in.

mod stream;

use crate::clock::{self, Alarm};
use crate::connect::{self, trouble_of_dial};
use crate::gone::Standing;
use crate::identity::{Identity, KeyRequest};
use crate::logging::whole;
use crate::orders::{OrderBook, Orders, OrdersError};
use crate::services::Ask;
use crate::spool::{Spool, SpoolState};
use crate::view::View;
use crate::{VERSION, deliveries, host, memory, tasks};
use hostler_agent_core::session::{Effect, Input, Session, Trouble};
use hostler_proto::agent::{self as wire, RenewResponse, from_agent, to_agent};
use hostler_proto::transport::ConnectError;
use hostler_types::time::whole_millis;
use hostler_types::{EventKind, Facts, Policy, Timestamp};
use std::future::Future;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use stream::Stream;
use tokio::sync::{Notify, mpsc, watch};
use tokio_util::sync::CancellationToken;
use tonic::transport::Channel;

/// What a host is changes seldom, and reading it costs milliseconds.
const FACTS_EVERY: Duration = Duration::from_secs(3_600);
/// An ack that takes longer was lost on the way: the batch is sent once more.
const ACK_TIMEOUT: Duration = Duration::from_secs(30);

/// Whoever restarts a fleet one by one waits for each to be known as running.
const NEWS_EVERY: Duration = Duration::from_millis(200);

type Pending<T> = Option<Pin<Box<dyn Future<Output = T> + Send>>>;

pub struct Link {
    pub state_dir: PathBuf,
    pub policy: Policy,
    pub identity: Identity,
    pub book: OrderBook,
    pub spool: Spool,
    pub view: Arc<View>,
    /// What the control plane seals this host's secrets to.
    pub sealing_key: Vec<u8>,
    pub orders: watch::Sender<Option<Arc<Orders>>>,
    pub standing: watch::Sender<Standing>,
    pub channel: watch::Sender<Option<Channel>>,
    /// Checks have run, and their reports can go.
    pub awake: Arc<Notify>,
    pub deliveries: mpsc::Sender<deliveries::Asked>,
    pub services: mpsc::Sender<Ask>,
    pub tasks: mpsc::Sender<tasks::Ask>,
    /// Services stand otherwise than the control plane knows.
    pub news: Arc<Notify>,
    /// What services have to say to the control plane.
    pub outgoing: mpsc::Receiver<from_agent::Message>,
}

/// What only lives while the link runs.
struct Running {
    session: Session,
    stream: Option<Stream>,
    dial: Pending<Result<Stream, Failed>>,
    /// The last dial met somebody else, or nobody: no word of the control plane's.
    stranger: bool,
    renewal: Pending<Result<(KeyRequest, RenewResponse), Trouble>>,
    facts: Pending<Facts>,
    facts_due: Duration,
    facts_sent: Option<Facts>,
    /// The last heartbeat that went before its turn, for the sake of services.
    hurried: Duration,
    /// Since when a batch waits for its ack.
    in_flight: Option<Duration>,
    orders_refused: Option<String>,
    alarm: Alarm,
}

/// A dial that failed.
struct Failed {
    trouble: Trouble,
    /// Before the control plane had shown who it is.
    stranger: bool,
}

enum Happened {
    Stop,
    Time,
    Dialled(Result<Stream, Failed>),
    Renewed(Result<(KeyRequest, RenewResponse), Trouble>),
    Facts(Facts),
    Message(Result<Option<wire::ToAgent>, tonic::Status>),
    Spooled,
    Awake,
    Outgoing(from_agent::Message),
    News,
}

/// Nothing, for ever, where nothing is pending.
async fn pending<T>(future: &mut Pending<T>) -> T {
    let output = match future {
        Some(future) => future.as_mut().await,
        None => std::future::pending().await,
    };
    *future = None;
    output
}

impl Link {
    pub async fn run(mut self, stop: CancellationToken, seed: u64) {
        let now = clock::now();
        let session = Session::new(now, self.identity.addresses.clone(), self.identity.validity(), seed);
        self.view.lock().link.certificate_not_after_ms = self.identity.not_after_ms;
        self.view.lock().link.since_ms = now.wall.as_millis();
        let mut running = Running {
            session,
            stream: None,
            dial: None,
            stranger: false,
            renewal: None,
            facts: None,
            facts_due: Duration::MAX,
            facts_sent: None,
            hurried: Duration::ZERO,
            in_flight: None,
            orders_refused: None,
            alarm: Alarm::unset(),
        };
        let mut spooled = self.spool.follow();
        let mut effects = running.session.step(now, Input::Tick);
        loop {
            for effect in effects {
                self.carry_out(effect, &mut running).await;
            }
            self.view.lock().spool = spooled.borrow_and_update().clone();
            self.send_spool(&mut running).await;
            let happened = self.next(&mut running, &mut spooled, &stop).await;
            if matches!(happened, Happened::Stop) {
                break;
            }
            let input = self.take(happened, &mut running).await;
            effects = running.session.step(clock::now(), input);
        }
        self.channel.send_replace(None);
        if let Some(stream) = running.stream.take() {
            stream.close().await;
        }
    }

    async fn next(
        &mut self,
        running: &mut Running,
        spooled: &mut watch::Receiver<SpoolState>,
        stop: &CancellationToken,
    ) -> Happened {
        let deadline = running.session.next_deadline(clock::now());
        let facts_due = if running.stream.is_some() { running.facts_due } else { Duration::MAX };
        let deadline = deadline.map_or(facts_due, |deadline| deadline.min(facts_due));
        let deadline = (deadline < Duration::MAX).then_some(deadline);
        let (live, hurried) = (running.session.is_live(), running.hurried);
        let inbound = async {
            match &mut running.stream {
                Some(stream) => stream.inbound.message().await,
                None => std::future::pending().await,
            }
        };
        // All of these keep what they have when they are dropped: the pending
        // ones stay in their place, and `message` keeps what it has read.
        tokio::select! {
            () = stop.cancelled() => Happened::Stop,
            message = inbound => Happened::Message(message),
            dialled = pending(&mut running.dial) => Happened::Dialled(dialled),
            renewed = pending(&mut running.renewal) => Happened::Renewed(renewed),
            facts = pending(&mut running.facts) => Happened::Facts(facts),
            Ok(()) = spooled.changed() => Happened::Spooled,
            () = self.awake.notified() => Happened::Awake,
            () = news(&self.news, hurried), if live => Happened::News,
            Some(message) = self.outgoing.recv() => Happened::Outgoing(message),
            () = running.alarm.until(deadline) => Happened::Time,
        }
    }

    async fn take(&mut self, happened: Happened, running: &mut Running) -> Input {
        match happened {
            Happened::Stop | Happened::Spooled => Input::Tick,
            Happened::Awake => Input::Awake,
            Happened::News => {
                running.hurried = clock::now().monotonic;
                self.send_heartbeat(running);
                Input::Tick
            }
            Happened::Outgoing(message) => {
                // Whoever gets an answer and looks sees what it says.
                if matches!(message, from_agent::Message::ServiceAnswer(_)) {
                    self.send_heartbeat(running);
                }
                // Whoever waits for it asks again when the stream is back.
                if let Some(stream) = &running.stream {
                    let _ = stream.outbound.try_send(stream::message(message));
                }
                Input::Tick
            }
            Happened::Time => {
                if running.stream.is_some() && running.facts_due <= clock::now().monotonic {
                    running.facts_due = clock::now().monotonic.saturating_add(FACTS_EVERY);
                    running.facts = Some(Box::pin(read_facts()));
                }
                Input::Tick
            }
            Happened::Facts(facts) => {
                self.send_facts(facts, running);
                Input::Tick
            }
            Happened::Dialled(Ok(stream)) => {
                running.facts_due = clock::now().monotonic.saturating_add(FACTS_EVERY);
                running.facts_sent = None;
                running.stranger = false;
                running.stream = Some(stream);
                memory::give_back();
                Input::Dialled
            }
            Happened::Dialled(Err(failed)) => {
                running.stranger = failed.stranger;
                Input::Ended(failed.trouble)
            }
            Happened::Renewed(outcome) => self.renewed(outcome).await,
            Happened::Message(Ok(Some(message))) => self.receive(message, running).await,
            Happened::Message(Ok(None)) => {
                Input::Ended(Trouble::Passing("the control plane closed the stream".to_owned()))
            }
            Happened::Message(Err(status)) => Input::Ended(connect::trouble_of_status(&status)),
        }
    }

    async fn carry_out(&mut self, effect: Effect, running: &mut Running) {
        match effect {
            Effect::Dial { address } => {
                self.view.lock().link.address.clone_from(&address);
                running.dial = Some(self.dial(address));
            }
            Effect::Close => {
                (running.stream, running.dial, running.in_flight) = (None, None, None);
                self.channel.send_replace(None);
            }
            Effect::SendHeartbeat => self.send_heartbeat(running),
            Effect::Renew { address } => {
                running.renewal = Some(Box::pin(connect::renew(address, self.identity.clone())));
            }
            Effect::Connected { address } => {
                let mut view = self.view.lock();
                view.link.connected = true;
                view.link.address.clone_from(&address);
                view.link.since_ms = clock::wall().as_millis();
                view.counts.reconnects += 1;
                drop(view);
                let channel = running.stream.as_ref().map(|stream| stream.channel.clone());
                self.channel.send_replace(channel);
                self.standing.send_replace(Standing::Connected);
                tracing::info!(address, "connected to the control plane");
            }
            Effect::Disconnected { address, reason } => {
                self.trouble(&reason, true);
                self.standing.send_replace(Standing::Away);
                tracing::warn!(address, reason, "the connection to the control plane ended; checks go on");
            }
            Effect::Unreachable { message } => {
                self.trouble(&message, false);
                self.standing.send_replace(Standing::Away);
                tracing::warn!(
                    reason = message,
                    "the control plane cannot be reached; checks go on, and it is tried again"
                );
            }
            Effect::Refused { message } => {
                self.trouble(&message, false);
                self.standing.send_replace(if running.stranger { Standing::Away } else { Standing::Refused });
                tracing::error!(
                    reason = message,
                    "the control plane refuses this host; checks go on, and it is asked again now and then"
                );
            }
            Effect::RenewalFailing { message } => {
                self.trouble(&format!("the certificate could not be renewed: {message}"), false);
                tracing::error!(reason = message, not_after = %Timestamp::from_millis(self.identity.not_after_ms), "renewing the certificate failed; it is tried again");
            }
        }
    }

    fn trouble(&self, message: &str, ended: bool) {
        let now = clock::wall().as_millis();
        let mut view = self.view.lock();
        view.link.last_error = Some(message.to_owned());
        view.link.last_error_ms = now;
        if ended {
            view.link.connected = false;
            view.link.since_ms = now;
        }
    }

    fn dial(&self, address: String) -> Pin<Box<dyn Future<Output = Result<Stream, Failed>> + Send>> {
        let credentials = self.identity.credentials();
        // One lock for both: a second one within a statement would wait for the first.
        let (checks, services, tasks) = {
            let mut view = self.view.lock();
            (view.all_reports(), view.all_services(), view.tasks.values().cloned().collect())
        };
        let hello = wire::Hello {
            agent_version: VERSION.to_owned(),
            boot_id: host::boot_id(),
            policy: self.policy.word().to_owned(),
            facts: None,
            desired_state: self.book.highest().map(Into::into),
            spool_id: self.spool.id(),
            wall_ms: 0,
            checks,
            node_id: self.identity.node.to_string(),
            sealing_key: self.sealing_key.clone(),
            services,
            tasks,
        };
        Box::pin(async move {
            let unusable = || Trouble::Refused("this host's certificate or key cannot be read".to_owned());
            let (trust, client) = credentials.ok_or_else(|| Failed { trouble: unusable(), stranger: true })?;
            let connected = hostler_proto::transport::connect(&address, &trust, Some(client)).await;
            let channel = connected.map_err(|error| {
                let stranger = !matches!(error, ConnectError::Refused { .. });
                Failed { trouble: trouble_of_dial(&error), stranger }
            })?;
            // Facts are read for a connection that stands: a host cut off does not
            // read them at every try.
            let facts = Some((&read_facts().await).into());
            let wall_ms = clock::wall().as_millis();
            let opened = Stream::open(channel, wire::Hello { facts, wall_ms, ..hello }).await;
            opened.map_err(|trouble| Failed { trouble, stranger: false })
        })
    }

    async fn receive(&mut self, message: wire::ToAgent, running: &mut Running) -> Input {
        match message.message {
            Some(to_agent::Message::Welcome(welcome)) => self.welcomed(welcome).await,
            Some(to_agent::Message::DesiredState(signed)) => {
                self.take_orders(signed, running).await;
                Input::Heard
            }
            Some(to_agent::Message::SpoolAck(ack)) => {
                if ack.spool_id == self.spool.id() {
                    self.spool.ack(ack.seq).await;
                    running.in_flight = None;
                }
                Input::Heard
            }
            Some(to_agent::Message::HeartbeatAck(ack)) => Input::HeartbeatAcked {
                sent: Duration::from_millis(ack.monotonic_ms),
                server_wall: Timestamp::from_millis(ack.wall_ms),
            },
            Some(to_agent::Message::Deliver(deliver)) => {
                self.hand_on(deliver, running);
                Input::Heard
            }
            Some(to_agent::Message::Goodbye(bye)) => {
                Input::Goodbye { reason: bye.reason, retry_after: Duration::from_millis(bye.retry_after_ms) }
            }
            // Those that are too many are asked for again, by whoever waits for an answer.
            Some(to_agent::Message::ServiceOrder(order)) => {
                let _ = self.services.try_send(Ask::Order(order));
                Input::Heard
            }
            Some(to_agent::Message::PolicyAsk(ask)) => {
                let _ = self.services.try_send(Ask::Policy(ask));
                Input::Heard
            }
            Some(to_agent::Message::HealAnswer(answer)) => {
                let _ = self.services.try_send(Ask::HealAnswer(answer));
                Input::Heard
            }
            // What is lost is sent again on the next stream.
            Some(to_agent::Message::TaskOffer(offer)) => {
                let _ = self.tasks.try_send(tasks::Ask::Offer(offer));
                Input::Heard
            }
            Some(to_agent::Message::TaskCancel(cancel)) => {
                let _ = self.tasks.try_send(tasks::Ask::Cancel(cancel));
                Input::Heard
            }
            // A newer control plane's message: the handshake made sure that it can do without us.
            None => Input::Heard,
        }
    }

    /// Off this loop: a run takes seconds.
    fn hand_on(&self, deliver: wire::Deliver, running: &Running) {
        let Some(stream) = &running.stream else { return };
        let id = deliver.id;
        if self.deliveries.try_send((deliver, stream.outbound.clone())).is_err() {
            let busy = deliveries::refused(id, "many notices are being delivered there already");
            let _ = stream.outbound.try_send(stream::message(from_agent::Message::Delivered(busy)));
        }
    }

    async fn welcomed(&mut self, welcome: wire::Welcome) -> Input {
        // What the control plane has durably of this spool; less than was acked
        // before means that it lost some, and those are gone here.
        self.spool.ack(welcome.spool_acked).await;
        let keys = welcome.desired_state_keys.iter().map(Vec::as_slice);
        let mut changed = self.identity.take_desired_state_keys(keys);
        if !welcome.addresses.is_empty() && welcome.addresses != self.identity.addresses {
            self.identity.addresses.clone_from(&welcome.addresses);
            changed = true;
        }
        if changed {
            self.save_identity().await;
        }
        Input::Welcomed {
            heartbeat: Duration::from_millis(welcome.heartbeat_ms.into()),
            addresses: welcome.addresses,
            server_wall: (welcome.wall_ms > 0).then(|| Timestamp::from_millis(welcome.wall_ms)),
        }
    }

    async fn save_identity(&self) {
        let (identity, state_dir) = (self.identity.clone(), self.state_dir.clone());
        let saved = tokio::task::spawn_blocking(move || identity.save(&state_dir)).await;
        if let Ok(Err(error)) = saved {
            tracing::error!(error = whole(&error), "keeping this host's identity failed; it is lost at the next start");
        }
    }

    async fn renewed(&mut self, outcome: Result<(KeyRequest, RenewResponse), Trouble>) -> Input {
        let (request, answer) = match outcome {
            Ok(renewed) => renewed,
            Err(trouble) => return Input::RenewalFailed(trouble),
        };
        let mut renewed = self.identity.clone();
        if let Err(error) = renewed.take_credentials(&request, &answer.credentials.unwrap_or_default()) {
            return Input::RenewalFailed(Trouble::Passing(whole(&error)));
        }
        if !answer.addresses.is_empty() {
            renewed.addresses.clone_from(&answer.addresses);
        }
        self.identity = renewed;
        self.save_identity().await;
        self.view.lock().link.certificate_not_after_ms = self.identity.not_after_ms;
        let not_after = Timestamp::from_millis(self.identity.not_after_ms);
        tracing::info!(%not_after, "renewed the certificate");
        let message = format!("renewed its certificate, valid until {not_after}");
        self.spool.event(EventKind::AGENT, "certificate", message).await;
        Input::Renewed { validity: self.identity.validity(), addresses: answer.addresses }
    }

    async fn take_orders(&mut self, signed: wire::SignedDesiredState, running: &mut Running) {
        let keys = self.identity.desired_state_keys();
        let signed_at_ms = signed.signed_at_ms;
        // A write and an fsync of a small file, seldom: nothing else of the link
        // could go on before it anyway.
        let news = match self.book.take(signed, &keys) {
            Ok(news) => news,
            Err(error) => return self.refuse_orders(&error, running).await,
        };
        running.orders_refused = None;
        {
            let mut view = self.view.lock();
            (view.desired, view.desired_signed_at_ms) = (self.book.highest(), signed_at_ms);
            view.only_watching = false;
        }
        if let Some(orders) = news {
            self.orders.send_replace(Some(orders));
        }
    }

    async fn refuse_orders(&self, error: &OrdersError, running: &mut Running) {
        let message = whole(error);
        if running.orders_refused.as_ref() == Some(&message) {
            return;
        }
        tracing::error!(error = message, "desired state was not taken; what was in force stays");
        running.orders_refused = Some(message.clone());
        self.spool.event(EventKind::AGENT, "desired-state", message).await;
    }

    fn send_heartbeat(&self, running: &mut Running) {
        // A queue that is full means a control plane that does not read: what was
        // not reported is reported later, and silence ends the connection.
        let Some(permit) = running.stream.as_ref().and_then(|stream| stream.outbound.try_reserve().ok()) else {
            return;
        };
        let skew = running.session.skew();
        let now = clock::now();
        let mut view = self.view.lock();
        view.link.clock_skew_ms = skew.map(|skew| skew.millis);
        permit.send(stream::message(from_agent::Message::Heartbeat(wire::Heartbeat {
            wall_ms: now.wall.as_millis(),
            monotonic_ms: whole_millis(now.monotonic),
            checks: view.take_reports(),
            clock_skew_ms: skew.map_or(0, |skew| skew.millis),
            clock_skew_known: skew.is_some(),
            plugins: view.take_plugins(),
            bills: view.take_bills(),
            services: view.take_services(),
        })));
    }

    fn send_facts(&self, facts: Facts, running: &mut Running) {
        if running.facts_sent.as_ref() == Some(&facts) {
            return;
        }
        let Some(permit) = running.stream.as_ref().and_then(|stream| stream.outbound.try_reserve().ok()) else {
            return;
        };
        permit.send(stream::message(from_agent::Message::Facts((&facts).into())));
        running.facts_sent = Some(facts);
    }

    /// One batch at a time: the next follows the ack.
    async fn send_spool(&self, running: &mut Running) {
        let now = clock::now().monotonic;
        let waiting = running.in_flight.is_some_and(|since| now.saturating_sub(since) < ACK_TIMEOUT);
        if !running.session.is_live() || waiting || self.spool.state().backlog() == 0 {
            return;
        }
        let Some(stream) = &running.stream else { return };
        let Ok(permit) = stream.outbound.try_reserve() else { return };
        // Also where nothing could be read: it is tried again as late as a lost ack.
        running.in_flight = Some(now);
        if let Some(batch) = self.spool.batch().await {
            permit.send(stream::message(from_agent::Message::Spool(batch)));
        }
    }
}

/// News of services, at most a few times a second.
async fn news(news: &Notify, last: Duration) {
    clock::sleep_until(Some(last.saturating_add(NEWS_EVERY))).await;
    news.notified().await;
}

async fn read_facts() -> Facts {
    tokio::task::spawn_blocking(host::facts).await.unwrap_or_default()
}
