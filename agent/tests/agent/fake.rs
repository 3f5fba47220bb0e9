//! A control plane of a few lines, over real TLS: it signs, welcomes, acks, and
//! remembers what it was told.

use hostler_agent::clock;
use hostler_proto::agent as wire;
use hostler_proto::agent::agent_link_server::{AgentLink, AgentLinkServer};
use hostler_proto::agent::enrollment_server::{Enrollment, EnrollmentServer};
use hostler_proto::agent::{from_agent, to_agent};
use hostler_proto::convert::sign_desired_state;
use hostler_proto::transport::{SERVER_NAME, key_pin};
use hostler_types::join_code::JoinCode;
use hostler_types::{NodeId, Stamp};
use prost::Message;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair,
};
use ring::rand::SystemRandom;
use ring::signature::{Ed25519KeyPair, KeyPair as _};
use rustls::pki_types::{CertificateDer, CertificateSigningRequestDer, PrivatePkcs8KeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::transport::server::Connected;
use tonic::{Request, Response, Status, Streaming};

pub const SECRET: [u8; 32] = [9; 32];
const WEEK: Duration = Duration::from_secs(7 * 86_400);

pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate: CertificateDer<'static>,
    signing: Ed25519KeyPair,
}

/// What it was told, and what it will say.
#[derive(Default)]
pub struct Memory {
    pub hellos: Vec<wire::Hello>,
    pub heartbeats: Vec<wire::Heartbeat>,
    pub records: Vec<wire::SpoolRecord>,
    /// How tasks stood, in the order in which it was told.
    pub tasks: Vec<wire::TaskReport>,
    /// To whoever connected last.
    out: Option<mpsc::Sender<Result<wire::ToAgent, Status>>>,
    pub acked: u64,
    pub renewals: u32,
    pub desired: Option<wire::SignedDesiredState>,
    pub refuse: Option<Status>,
    pub ack: bool,
    /// What the next certificates are valid for, before and after now.
    pub age: Duration,
    pub left: Option<Duration>,
}

impl Memory {
    pub fn transitions(&self) -> Vec<String> {
        let records = self.records.iter().filter_map(|record| match &record.body {
            Some(wire::spool_record::Body::Transition(one)) => Some(format!("{} {}->{}", one.check, one.from, one.to)),
            _ => None,
        });
        records.collect()
    }

    /// How a task ended, each time that it was told.
    pub fn ends(&self, id: &str) -> Vec<wire::TaskReport> {
        let of = |record: &wire::SpoolRecord| match &record.body {
            Some(wire::spool_record::Body::Task(report)) if report.id == id => Some(report.clone()),
            _ => None,
        };
        self.records.iter().filter_map(of).collect()
    }
}

#[derive(Clone)]
pub struct Fake {
    pub authority: Arc<Authority>,
    pub memory: Arc<Mutex<Memory>>,
    pub address: String,
    pub node: NodeId,
}

impl Authority {
    fn new() -> Self {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        let certificate = params.self_signed(&key).expect("signed").der().clone();
        let pkcs8 = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).expect("randomness");
        let signing = Ed25519KeyPair::from_pkcs8(pkcs8.as_ref()).expect("a key");
        Self { issuer: Issuer::new(params, key), certificate, signing }
    }

    fn server_config(&self) -> Arc<ServerConfig> {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::new(vec![SERVER_NAME.to_owned()]).expect("a name");
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let certificate = params.signed_by(&key, &self.issuer).expect("signed").der().clone();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut roots = RootCertStore::empty();
        roots.add(self.certificate.clone()).expect("an authority");
        let clients = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
            .allow_unauthenticated()
            .build()
            .expect("a verifier");
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .expect("TLS 1.3")
            .with_client_cert_verifier(clients)
            .with_single_cert(
                vec![certificate, self.certificate.clone()],
                PrivatePkcs8KeyDer::from(key.serialize_der()).into(),
            )
            .expect("a certificate");
        config.alpn_protocols = vec![b"h2".to_vec()];
        Arc::new(config)
    }
}

impl Fake {
    /// Bound, not yet serving.
    pub async fn bind() -> (Self, TcpListener) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address").to_string();
        let memory = Memory { ack: true, ..Memory::default() };
        let node = NodeId::from_random([3; 10]);
        let fake = Self { authority: Arc::new(Authority::new()), memory: Arc::new(Mutex::new(memory)), address, node };
        (fake, listener)
    }

    pub async fn start() -> (Self, CancellationToken) {
        let (fake, listener) = Self::bind().await;
        let stop = CancellationToken::new();
        fake.serve(listener, stop.clone());
        (fake, stop)
    }

    /// Again on the same port.
    pub async fn restart(&self) -> CancellationToken {
        let stop = CancellationToken::new();
        let listener = loop {
            // The old listener's task may not have noticed its end yet.
            match TcpListener::bind(&self.address).await {
                Ok(listener) => break listener,
                Err(error) if error.kind() == io::ErrorKind::AddrInUse => tokio::task::yield_now().await,
                Err(error) => panic!("the same port: {error}"),
            }
        };
        self.serve(listener, stop.clone());
        stop
    }

    pub fn serve(&self, listener: TcpListener, stop: CancellationToken) {
        let (accepted, incoming) = mpsc::channel(4);
        let acceptor = TlsAcceptor::from(self.authority.server_config());
        let stopped = stop.clone();
        tokio::spawn(async move {
            loop {
                let accept = tokio::select! {
                    () = stopped.cancelled() => return,
                    accept = listener.accept() => accept,
                };
                let (stream, _) = accept.expect("accepts");
                if let Ok(tls) = acceptor.accept(stream).await {
                    let cut = stopped.clone();
                    let _ = accepted.send(Ok::<_, io::Error>(Io { tls, cut: Box::pin(cut.cancelled_owned()) })).await;
                }
            }
        });
        let server = tonic::transport::Server::builder()
            .add_service(EnrollmentServer::new(self.clone()))
            .add_service(AgentLinkServer::new(self.clone()))
            .serve_with_incoming_shutdown(ReceiverStream::new(incoming), stop.cancelled_owned());
        tokio::spawn(server);
    }

    pub fn code(&self) -> JoinCode {
        JoinCode {
            addresses: vec![self.address.clone()],
            authority_pin: key_pin(&self.authority.certificate).expect("a pin"),
            secret: SECRET,
        }
    }

    /// What the node should do, from now on.
    pub fn order(&self, generation: u64, checks: Vec<wire::CheckAssignment>, plugins: Vec<wire::PluginAssignment>) {
        self.sign(generation, wire::DesiredState { plugins, checks, ..Default::default() });
    }

    pub fn order_schedules(&self, generation: u64, schedules: Vec<wire::ScheduleAssignment>) {
        self.sign(generation, wire::DesiredState { schedules, ..Default::default() });
    }

    fn sign(&self, generation: u64, desired: wire::DesiredState) {
        let desired = wire::DesiredState { node_id: self.node.to_string(), node_name: "web1".into(), ..desired };
        let stamp = Stamp { lineage: 1, term: 1, generation };
        let now = clock::wall().as_millis();
        let signed = sign_desired_state(&self.authority.signing, stamp, desired.encode_to_vec(), now);
        self.memory.lock().expect("unpoisoned").desired = Some(signed);
    }

    /// Those that are to be sent when somebody connects, to the agent that is.
    pub async fn say_orders(&self) {
        let desired = self.memory.lock().expect("unpoisoned").desired.clone().expect("orders");
        self.say(to_agent::Message::DesiredState(desired)).await;
    }

    /// To the agent that is connected now.
    pub async fn say(&self, message: to_agent::Message) {
        let out = self.memory.lock().expect("unpoisoned").out.clone().expect("a stream");
        out.send(Ok(wire::ToAgent { message: Some(message) })).await.expect("sent");
    }

    fn credentials(&self, csr_der: Vec<u8>) -> wire::Credentials {
        let request =
            CertificateSigningRequestParams::from_der(&CertificateSigningRequestDer::from(csr_der)).expect("a request");
        let mut params = CertificateParams::default();
        let (age, left) = {
            let memory = self.memory.lock().expect("unpoisoned");
            (memory.age, memory.left.unwrap_or(WEEK))
        };
        let now = time::OffsetDateTime::now_utc();
        (params.not_before, params.not_after) = (now - age - Duration::from_secs(60), now + WEEK);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let certificate = params.signed_by(&request.public_key, &self.authority.issuer).expect("signed");
        let wall = clock::wall();
        wire::Credentials {
            chain_der: vec![certificate.der().to_vec(), self.authority.certificate.to_vec()],
            authorities_der: vec![self.authority.certificate.to_vec()],
            not_before_ms: wall.minus(age).as_millis(),
            not_after_ms: wall.plus(left).as_millis(),
            desired_state_keys: vec![self.authority.signing.public_key().as_ref().to_vec()],
        }
    }

    pub async fn wait(&self, what: &str, done: impl Fn(&Memory) -> bool) {
        let started = Instant::now();
        while !done(&self.memory.lock().expect("unpoisoned")) {
            assert!(started.elapsed() < Duration::from_secs(15), "waited in vain for {what}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

#[tonic::async_trait]
impl Enrollment for Fake {
    async fn join(&self, request: Request<wire::JoinRequest>) -> Result<Response<wire::JoinResponse>, Status> {
        let request = request.into_inner();
        if request.secret != SECRET {
            return Err(Status::permission_denied("there is no such join code"));
        }
        Ok(Response::new(wire::JoinResponse {
            node_id: self.node.to_string(),
            credentials: Some(self.credentials(request.csr_der)),
            addresses: vec![self.address.clone()],
        }))
    }

    async fn renew(&self, request: Request<wire::RenewRequest>) -> Result<Response<wire::RenewResponse>, Status> {
        {
            let mut memory = self.memory.lock().expect("unpoisoned");
            memory.renewals += 1;
            (memory.age, memory.left) = (Duration::ZERO, None);
        }
        let credentials = Some(self.credentials(request.into_inner().csr_der));
        Ok(Response::new(wire::RenewResponse { credentials, addresses: Vec::new() }))
    }
}

#[tonic::async_trait]
impl AgentLink for Fake {
    type ConnectStream = ReceiverStream<Result<wire::ToAgent, Status>>;
    type FetchStream = ReceiverStream<Result<wire::FetchChunk, Status>>;

    async fn connect(
        &self,
        request: Request<Streaming<wire::FromAgent>>,
    ) -> Result<Response<Self::ConnectStream>, Status> {
        let mut inbound = request.into_inner();
        let Some(from_agent::Message::Hello(hello)) = inbound.message().await?.and_then(|one| one.message) else {
            return Err(Status::invalid_argument("no hello"));
        };
        let (out, stream) = mpsc::channel(16);
        let (acked, desired, refuse) = {
            let mut memory = self.memory.lock().expect("unpoisoned");
            memory.hellos.push(hello);
            memory.out = Some(out.clone());
            (memory.acked, memory.desired.clone(), memory.refuse.clone())
        };
        if let Some(status) = refuse {
            return Err(status);
        }
        let send = |message| Ok(wire::ToAgent { message: Some(message) });
        let welcome = wire::Welcome { spool_acked: acked, heartbeat_ms: 1_000, ..Default::default() };
        let _ = out.send(send(to_agent::Message::Welcome(welcome))).await;
        if let Some(desired) = desired {
            let _ = out.send(send(to_agent::Message::DesiredState(desired))).await;
        }
        let memory = Arc::clone(&self.memory);
        tokio::spawn(async move {
            while let Ok(Some(message)) = inbound.message().await {
                let reply = {
                    let mut memory = memory.lock().expect("unpoisoned");
                    match message.message {
                        Some(from_agent::Message::Heartbeat(beat)) => {
                            let (monotonic_ms, wall_ms) = (beat.monotonic_ms, clock::wall().as_millis() - 250);
                            memory.heartbeats.push(beat);
                            Some(to_agent::Message::HeartbeatAck(wire::HeartbeatAck { monotonic_ms, wall_ms }))
                        }
                        Some(from_agent::Message::Spool(batch)) => {
                            let acked = memory.acked;
                            memory.records.extend(batch.records.iter().filter(|one| one.seq > acked).cloned());
                            memory.acked = batch.records.last().map_or(acked, |one| one.seq.max(acked));
                            let ack = wire::SpoolAck { spool_id: batch.spool_id, seq: memory.acked };
                            memory.ack.then_some(to_agent::Message::SpoolAck(ack))
                        }
                        Some(from_agent::Message::Task(report)) => {
                            memory.tasks.push(report);
                            None
                        }
                        _ => None,
                    }
                };
                if let Some(reply) = reply
                    && out.send(send(reply)).await.is_err()
                {
                    return;
                }
            }
        });
        Ok(Response::new(ReceiverStream::new(stream)))
    }

    async fn fetch(&self, _: Request<wire::FetchRequest>) -> Result<Response<Self::FetchStream>, Status> {
        let (out, stream) = mpsc::channel(1);
        // Not what was asked for: the agent must notice.
        let chunk = wire::FetchChunk { data: b"not a plugin".as_slice().into(), total_bytes: 12 };
        let _ = out.send(Ok(chunk)).await;
        Ok(Response::new(ReceiverStream::new(stream)))
    }

    async fn upload(&self, _: Request<Streaming<wire::UploadChunk>>) -> Result<Response<wire::UploadResponse>, Status> {
        Err(Status::unavailable("it keeps nothing"))
    }
}

/// A connection that a stop cuts at once, as a crash would.
struct Io {
    tls: TlsStream<TcpStream>,
    cut: Pin<Box<dyn Future<Output = ()> + Send>>,
}

impl Connected for Io {
    type ConnectInfo = ();
    fn connect_info(&self) {}
}

impl AsyncRead for Io {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.cut.as_mut().poll(cx).is_ready() {
            self.cut = Box::pin(std::future::ready(()));
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        Pin::new(&mut self.tls).poll_read(cx, buf)
    }
}

impl AsyncWrite for Io {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.tls).poll_write(cx, buf)
    }
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tls).poll_flush(cx)
    }
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tls).poll_shutdown(cx)
    }
}
