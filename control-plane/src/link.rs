//! The server's end of an agent's stream: one session a node.

mod spool;
mod upload;

use self::spool::Mark;
use crate::app::App;
use crate::clock;
use crate::deliveries::Line;
use crate::enroll::store_status;
use crate::gate::{calling_node, refuse_revoked};
use crate::heal::Asks;
use crate::listener::Connection;
use crate::records::{Member, NewEvent, health_key};
use crate::systems::Systems;
use crate::vault;
use crate::watchers::Duty;
use crate::world::World;
use hostler_core::assign::{NodeView, desired_state, known};
use hostler_core::brakes::Brakes;
use hostler_core::catalogue::Catalogue;
use hostler_core::liveness::ConnectionId;
use hostler_core::runs::steps;
use hostler_core::version::refuse_skew;
use hostler_proto::agent as wire;
use hostler_proto::agent::agent_link_server::AgentLink;
use hostler_proto::agent::{from_agent, to_agent};
use hostler_proto::convert::{checked_digest, sign_desired_state};
use hostler_proto::store as rest;
use hostler_store::Txn;
use hostler_types::{DesiredState, EventKind, Facts, Name, NodeId, TaskReport, TaskStep};
use prost::Message;
use std::cell::LazyCell;
use std::collections::{BTreeMap, BTreeSet};
use std::io::SeekFrom;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncSeekExt};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

/// An agent says hello at once; whoever does not is no agent.
const HELLO_TIMEOUT: Duration = Duration::from_secs(10);
/// What waits to go out on one stream: a desired state, acks. A node that reads
/// none of it for that long has other troubles, and its lease runs out.
const OUTBOUND_QUEUE: usize = 16;
/// Sessions being opened at once. The rest are asked to come back.
pub const SESSIONS_OPENING_MAX: usize = 256;
const BUSY_RETRY_AFTER: Duration = Duration::from_secs(2);
const HEARTBEAT: Duration = Duration::from_secs(3);
const FETCH_CHUNK_BYTES: usize = 64 * 1024;
const FETCH_QUEUE: usize = 4;
/// An agent that takes no chunk for so long has gone, and the file is closed.
const FETCH_SEND_TIMEOUT: Duration = Duration::from_secs(30);
#[derive(Clone)]
pub struct LinkService(pub Arc<App>);

pub type Outbound = mpsc::Sender<Result<wire::ToAgent, Status>>;

#[tonic::async_trait]
impl AgentLink for LinkService {
    type ConnectStream = ReceiverStream<Result<wire::ToAgent, Status>>;
    type FetchStream = ReceiverStream<Result<wire::FetchChunk, Status>>;

    async fn connect(
        &self,
        request: Request<Streaming<wire::FromAgent>>,
    ) -> Result<Response<Self::ConnectStream>, Status> {
        let node = calling_node(&request)?;
        let connection = request.extensions().get::<Connection>().cloned();
        let connection = connection.ok_or_else(|| Status::internal("a stream without a connection"))?;
        let mut inbound = request.into_inner();
        let (outbound, stream) = mpsc::channel(OUTBOUND_QUEUE);
        let Ok(opening) = Arc::clone(&self.0.sessions_opening).try_acquire_owned() else {
            let reason = "many agents are connecting at once".to_owned();
            let goodbye = wire::Goodbye { reason, retry_after_ms: hostler_types::time::whole_millis(BUSY_RETRY_AFTER) };
            let _ = outbound.try_send(Ok(to_agent_message(to_agent::Message::Goodbye(goodbye))));
            return Ok(Response::new(ReceiverStream::new(stream)));
        };
        let hello = tokio::time::timeout(HELLO_TIMEOUT, inbound.message())
            .await
            .map_err(|_| Status::deadline_exceeded("no hello came"))??;
        let Some(from_agent::Message::Hello(hello)) = hello.and_then(|first| first.message) else {
            return Err(Status::invalid_argument("the first message must be a hello"));
        };
        if !hello.node_id.is_empty() && hello.node_id != node.as_str() {
            return Err(Status::permission_denied(format!(
                "this certificate is node {node}'s, and the message is for node {}: a node speaks only for itself",
                hello.node_id
            )));
        }
        if let Some(reason) = refuse_skew(&hello.agent_version, env!("CARGO_PKG_VERSION")) {
            return Err(Status::failed_precondition(reason));
        }
        let mut session = Session::open(Arc::clone(&self.0), node, connection, &hello, outbound).await?;
        self.0.tracker.spawn(async move {
            drop(opening);
            session.run(inbound).await;
        });
        Ok(Response::new(ReceiverStream::new(stream)))
    }

    async fn fetch(&self, request: Request<wire::FetchRequest>) -> Result<Response<Self::FetchStream>, Status> {
        let node = calling_node(&request)?;
        let wire::FetchRequest { digest, offset } = request.into_inner();
        let digest = checked_digest(digest)?;
        let world = self.0.mirror.now();
        let assigned = self.0.desired_state(&world, &node).is_some_and(|(desired, _)| {
            let files = desired.services.iter().flat_map(|service| &service.files).map(|file| &file.digest);
            let alone = desired.schedules.iter().any(|schedule| steps::need_content(&schedule.steps, &digest));
            alone || desired.plugins.iter().map(|plugin| &plugin.digest).chain(files).any(|known| *known == digest)
        });
        if !assigned && !self.0.work.needs_content(&node, &digest) {
            return Err(Status::permission_denied(format!("{digest} is not assigned to this node")));
        }
        let path = self.0.blobs.path(&digest);
        let (chunks, stream) = mpsc::channel(FETCH_QUEUE);
        self.0.tracker.spawn(async move {
            if let Err(error) = read_chunks(&path, offset, &chunks).await {
                let _ = chunks.try_send(Err(Status::data_loss(format!("read the blob {digest}: {error}"))));
            }
        });
        Ok(Response::new(ReceiverStream::new(stream)))
    }

    async fn upload(
        &self,
        request: Request<Streaming<wire::UploadChunk>>,
    ) -> Result<Response<wire::UploadResponse>, Status> {
        let node = calling_node(&request)?;
        upload::take(&self.0, &node, request.into_inner()).await.map(Response::new)
    }
}

/// Ends early and quietly when nobody takes them any more.
async fn read_chunks(
    path: &std::path::Path,
    offset: u64,
    chunks: &mpsc::Sender<Result<wire::FetchChunk, Status>>,
) -> std::io::Result<()> {
    let mut file = tokio::fs::File::open(path).await?;
    let total_bytes = file.metadata().await?.len();
    file.seek(SeekFrom::Start(offset)).await?;
    loop {
        let mut data = Vec::with_capacity(FETCH_CHUNK_BYTES);
        (&mut file).take(FETCH_CHUNK_BYTES as u64).read_to_end(&mut data).await?;
        let last = data.len() < FETCH_CHUNK_BYTES;
        let chunk = wire::FetchChunk { data: data.into(), total_bytes };
        let sent = tokio::time::timeout(FETCH_SEND_TIMEOUT, chunks.send(Ok(chunk))).await;
        if last || !matches!(sent, Ok(Ok(()))) {
            return Ok(());
        }
    }
}

pub fn to_agent_message(message: to_agent::Message) -> wire::ToAgent {
    wire::ToAgent { message: Some(message) }
}

impl App {
    /// What one node should do now, and the secrets it is given with that; `None`
    /// for one that is no member.
    pub fn desired_state(&self, world: &World, node: &NodeId) -> Option<(DesiredState, BTreeSet<Name>)> {
        let member = world.members.get(node).filter(|member| member.revoked.is_none())?;
        let facts = self.facts(world, node);
        let labels = world.labels(member);
        let duty = self.duties.borrow().of(node);
        let (watch, delivers) = (duty.watches.then_some(self.config.gone_after), &duty.delivers);
        let (facts, schedules) = (facts.as_ref(), &*self.schedules.standing());
        let view = NodeView { id: node, name: &member.name, labels: &labels, facts, watch, delivers, schedules };
        let (mut desired, secrets) = desired_state(view, &world.specs.applied, &world.catalogue);
        let checks = desired.checks.iter().map(|check| &check.name);
        desired.brakes = world.brakes.on(node, &member.name, &labels, checks);
        Some((desired, secrets))
    }

    /// As the node said them last.
    fn facts(&self, world: &World, node: &NodeId) -> Option<Facts> {
        let live = self.fleet.live(node).map(|live| live.facts);
        live.or_else(|| world.liveness.get(node).and_then(|record| record.facts.clone()))
    }

    /// The steps of a task as one node does them.
    pub fn steps_on(&self, world: &World, node: &NodeId, steps: &[TaskStep]) -> Vec<TaskStep> {
        let Some(member) = world.members.get(node) else { return steps.to_vec() };
        // Most steps ask for neither.
        let labels = LazyCell::new(|| world.labels(member));
        let facts = LazyCell::new(|| self.facts(world, node).as_ref().map(Facts::selectable).unwrap_or_default());
        steps::on_node(steps, &|word| known(node, &member.name, &labels, &facts, word))
    }
}

struct Session {
    app: Arc<App>,
    node: NodeId,
    name: Name,
    connection: ConnectionId,
    cut: tokio_util::sync::CancellationToken,
    outbound: Outbound,
    /// What secrets are sealed to; empty for an agent too old to have one.
    sealing_key: Vec<u8>,
    /// The payload last sent, and the checks in it.
    sent: Vec<u8>,
    assigned: BTreeSet<Name>,
    /// The services in it, and how many replicas each has.
    services: BTreeMap<Name, u32>,
    /// What that was made from: while these are the same, so is it.
    basis: Option<Basis>,
    spool: Mark,
    asks: Asks,
}

struct Basis {
    member: Arc<Member>,
    specs: Arc<Systems>,
    catalogue: Arc<Catalogue>,
    secrets: Arc<BTreeMap<Name, Arc<rest::Secret>>>,
    brakes: Arc<Brakes>,
    duty: Duty,
}

impl Basis {
    fn of(world: &World, member: &Arc<Member>, duty: Duty) -> Self {
        let (specs, catalogue) = (Arc::clone(&world.specs), Arc::clone(&world.catalogue));
        let (secrets, brakes) = (Arc::clone(&world.secrets), Arc::clone(&world.brakes));
        Self { member: Arc::clone(member), specs, catalogue, secrets, brakes, duty }
    }

    fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.member, &other.member)
            && Arc::ptr_eq(&self.specs, &other.specs)
            && Arc::ptr_eq(&self.catalogue, &other.catalogue)
            && Arc::ptr_eq(&self.secrets, &other.secrets)
            && Arc::ptr_eq(&self.brakes, &other.brakes)
            && self.duty == other.duty
    }
}

/// However a session ends, even while it is opened, the fleet hears of it.
impl Drop for Session {
    fn drop(&mut self) {
        self.app.fleet.ended(&self.node, self.connection);
    }
}

impl Session {
    async fn open(
        app: Arc<App>,
        node: NodeId,
        connection: Connection,
        hello: &wire::Hello,
        outbound: Outbound,
    ) -> Result<Self, Status> {
        let world = app.mirror.now();
        let member = world.members.get(&node).ok_or_else(|| Status::permission_denied("not a member"))?;
        let name = member.name.clone();
        let spool = Mark::load(&app, &node, hello.spool_id).await?;
        let (number, other) = app.fleet.connect(
            &node,
            hello,
            connection.address,
            connection.cut.clone(),
            Arc::new(Line::new(outbound.clone())),
        );
        let mut session = Self {
            app,
            node,
            name,
            connection: number,
            cut: connection.cut,
            outbound,
            sealing_key: hello.sealing_key.clone(),
            sent: Vec::new(),
            assigned: BTreeSet::new(),
            services: BTreeMap::new(),
            basis: None,
            spool,
            asks: Asks::default(),
        };
        if let Some(other) = other {
            let (new, old) = (connection.address, other.address);
            session
                .tell(format!(
                    "two machines use this node's identity: {new} took over from {old}; revoke it and join both anew"
                ))
                .await;
        }
        session.note_newer_orders(hello.desired_state.unwrap_or_default()).await;
        tracing::info!(node = %session.name, peer = %connection.address, agent = hello.agent_version, "connected");
        let welcome = wire::Welcome {
            lineage: session.app.lineage,
            term: session.app.term,
            wall_ms: clock::wall().as_millis(),
            addresses: session.app.agent_addresses(),
            desired_state_keys: vec![session.app.pki.signing_public_key()],
            spool_acked: session.spool.acked,
            heartbeat_ms: u32::try_from(HEARTBEAT.as_millis()).unwrap_or(u32::MAX),
        };
        session.send(to_agent::Message::Welcome(welcome)).await?;
        session.push_desired_state().await?;
        session.take_reports(hello.checks.clone());
        session.take_services(hello.services.clone(), true);
        hello.tasks.iter().cloned().for_each(|report| session.take_task(report));
        session.app.work.connected(&session.node).await;
        Ok(session)
    }

    /// Keeps the reports of services that are this node's; in a hello, they are all
    /// that there are.
    fn take_services(&self, reports: Vec<wire::ServiceReport>, all: bool) {
        let own = |report: wire::ServiceReport| {
            let name = Name::new(report.service.as_str()).ok()?;
            let replica = report.replica;
            let known = self.services.get(&name).is_some_and(|replicas| replica < *replicas);
            known.then(|| ((name, replica), report.clipped()))
        };
        self.app.fleet.report_services(&self.node, self.connection, |standing| {
            if all {
                standing.clear();
            }
            standing.extend(reports.into_iter().filter_map(own));
        });
    }

    /// How a task stands; its end comes in the spool.
    fn take_task(&self, report: wire::TaskReport) {
        match TaskReport::try_from(report) {
            Ok(report) => self.app.work.heard(&self.node, report),
            Err(error) => tracing::debug!(node = %self.name, %error, "left out the report of a task"),
        }
    }

    /// Keeps the reports of checks that are this node's.
    fn take_reports(&self, reports: Vec<wire::CheckReport>) {
        let assigned = |report: &wire::CheckReport| {
            let known = self.assigned.iter().any(|check| check.as_str() == report.check);
            if !known {
                tracing::debug!(node = %self.name, "left out the report of a check that is not this node's");
            }
            known
        };
        self.app.fleet.report(&self.node, self.connection, reports.into_iter().filter(assigned));
    }

    async fn run(&mut self, mut inbound: Streaming<wire::FromAgent>) {
        let mut changes = self.app.mirror.follow_plans();
        let mut duties = self.app.duties.subscribe();
        let mut schedules = self.app.schedules.follow_standing();
        // They may have changed since the session was opened.
        duties.mark_changed();
        let cut = self.cut.clone().cancelled_owned();
        tokio::pin!(cut);
        let ended = loop {
            let outcome = tokio::select! {
                () = &mut cut => break "cut off".to_owned(),
                // `message` keeps what it has read when it is dropped.
                message = inbound.message() => match message {
                    Ok(Some(message)) => self.receive(message).await,
                    Ok(None) => break "closed by the agent".to_owned(),
                    // The agent is told below, if it is still there.
                    Err(status) => Err(status),
                },
                changed = changes.changed() => match changed {
                    Ok(()) => self.take_changes().await,
                    Err(_) => break "the control plane stops".to_owned(),
                },
                Ok(()) = duties.changed() => self.push_desired_state().await,
                Ok(()) = schedules.changed() => self.push_desired_state().await,
                () = self.asks.due() => self.answer_asks().await,
            };
            if let Err(status) = outcome {
                let reason = status.message().to_owned();
                let _ = self.outbound.try_send(Err(status));
                break reason;
            }
        };
        tracing::info!(node = %self.name, reason = ended, "disconnected");
    }

    async fn take_changes(&mut self) -> Result<(), Status> {
        self.push_desired_state().await?;
        self.answer_asks().await
    }

    async fn answer_asks(&mut self) -> Result<(), Status> {
        for answer in self.asks.settle(&self.app, &self.node, &self.assigned) {
            self.send(to_agent::Message::HealAnswer(answer)).await?;
        }
        Ok(())
    }

    async fn send(&self, message: to_agent::Message) -> Result<(), Status> {
        let gone = |_| Status::cancelled("the agent has gone");
        self.outbound.send(Ok(to_agent_message(message))).await.map_err(gone)
    }

    async fn receive(&mut self, message: wire::FromAgent) -> Result<(), Status> {
        self.app.fleet.heard(&self.node, self.connection);
        match message.message {
            Some(from_agent::Message::Heartbeat(beat)) => {
                self.take_reports(beat.checks);
                if !beat.services.is_empty() {
                    self.take_services(beat.services, false);
                }
                if !beat.plugins.is_empty() {
                    self.app.fleet.report_plugins(&self.node, self.connection, beat.plugins);
                }
                if !beat.bills.is_empty() {
                    self.app.fleet.report_bills(&self.node, self.connection, beat.bills);
                }
                if beat.clock_skew_known {
                    let skew = Some(beat.clock_skew_ms);
                    self.app.fleet.update(&self.node, self.connection, |live| live.clock_skew_ms = skew);
                }
                let ack = wire::HeartbeatAck { monotonic_ms: beat.monotonic_ms, wall_ms: clock::wall().as_millis() };
                self.send(to_agent::Message::HeartbeatAck(ack)).await
            }
            Some(from_agent::Message::Spool(batch)) => self.take_spool(batch).await,
            Some(from_agent::Message::Facts(facts)) => {
                self.app.fleet.facts_changed(&self.node, self.connection, facts.into());
                self.basis = None;
                self.push_desired_state().await
            }
            Some(from_agent::Message::Delivered(answer)) => {
                self.app.fleet.update(&self.node, self.connection, |live| live.line.answered(answer));
                Ok(())
            }
            Some(from_agent::Message::ServiceAnswer(answer)) => {
                self.app.fleet.update(&self.node, self.connection, |live| live.line.orders.answered(answer));
                Ok(())
            }
            Some(from_agent::Message::PolicyAnswer(answer)) => {
                self.app.fleet.update(&self.node, self.connection, |live| live.line.policies.answered(answer));
                Ok(())
            }
            Some(from_agent::Message::Task(report)) => {
                self.take_task(report);
                Ok(())
            }
            Some(from_agent::Message::HealAsk(ask)) => {
                self.asks.take(ask);
                self.answer_asks().await
            }
            Some(from_agent::Message::Hello(_)) => Err(Status::invalid_argument("a second hello in one stream")),
            // A newer agent's message: the handshake made sure that it can do without an answer.
            None => Ok(()),
        }
    }

    /// Sends the desired state if it is another than the one last sent, and
    /// forgets the health of checks that are no longer wanted.
    async fn push_desired_state(&mut self) -> Result<(), Status> {
        let world = self.app.mirror.now();
        let gone = || Status::permission_denied("this node is not a member any more");
        let member = world.members.get(&self.node).ok_or_else(gone)?;
        refuse_revoked(member)?;
        let basis = Basis::of(&world, member, self.app.duties.borrow().of(&self.node));
        if self.basis.as_ref().is_some_and(|last| last.is(&basis)) {
            return Ok(());
        }
        let (mut desired, secrets) = self.app.desired_state(&world, &self.node).ok_or_else(gone)?;
        desired.secrets = vault::sealed_for(&self.app, &world, &self.node, &self.sealing_key, &secrets);
        self.basis = Some(basis);
        let payload = wire::DesiredState::from(&desired).encode_to_vec();
        if payload == self.sent {
            return Ok(());
        }
        let stamp = self.app.next_stamp();
        let signed = sign_desired_state(self.app.pki.signing_key(), stamp, payload.clone(), clock::wall().as_millis());
        self.send(to_agent::Message::DesiredState(signed)).await?;
        self.sent = payload;
        self.assigned = desired.checks.into_iter().map(|check| check.name).collect();
        self.services = desired.services.into_iter().map(|service| (service.name, service.replicas)).collect();
        self.forget_unassigned(&world).await
    }

    async fn forget_unassigned(&self, world: &World) -> Result<(), Status> {
        self.app.fleet.update(&self.node, self.connection, |live| {
            live.checks.retain(|check, _| self.assigned.iter().any(|name| name.as_str() == check));
        });
        self.app.fleet.report_services(&self.node, self.connection, |standing| {
            standing.retain(|(name, replica), _| self.services.get(name).is_some_and(|count| replica < count));
        });
        let gone = world.known_health(&self.node).filter(|check| !self.assigned.contains(check));
        let txn = gone
            .take(hostler_store::OPERATIONS_MAX)
            .fold(Txn::new(), |txn, check| txn.delete(health_key(&self.node, check)));
        if txn.is_empty() {
            return Ok(());
        }
        self.app.store.commit(txn).await.map(drop).map_err(store_status)
    }

    /// The node refuses whatever is sent to it then, and nothing else would show it.
    async fn note_newer_orders(&self, held: wire::Stamp) {
        let outranked = (held.lineage, held.term) > (self.app.lineage, self.app.term);
        if !outranked || !self.app.fleet.first_outranked(&self.node) {
            return;
        }
        let message = "holds orders newer than this control plane's history \
                       (was the store restored or lost?): it refuses ours";
        tracing::error!(node = %self.name, lineage = held.lineage, term = held.term, "{message}");
        self.tell(message.to_owned()).await;
    }

    async fn tell(&self, message: String) {
        let name = self.name.to_string();
        let (at, kind, node, subject) = (clock::wall(), EventKind::NODE, name.clone(), name);
        self.app.tell(NewEvent { at, kind, node, subject, message }).await;
    }
}
