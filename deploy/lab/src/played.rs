//! Nodes that are played: each joins, and holds the one stream of an agent. What it does
//! with what it is offered is its player's affair.

use hostler_proto::agent as wire;
use hostler_proto::agent::agent_link_client::AgentLinkClient;
use hostler_proto::agent::enrollment_client::EnrollmentClient;
use hostler_proto::agent::{from_agent, spool_record, to_agent};
use hostler_proto::context::Contexts;
use hostler_proto::pem;
use hostler_proto::transport::{self, ClientIdentity, Trust};
use hostler_types::join_code::JoinCode;
use rcgen::{CertificateParams, KeyPair};
use std::error::Error;
use std::time::{SystemTime, UNIX_EPOCH};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;
use tonic::transport::Channel;

pub type Failure = Box<dyn Error + Send + Sync>;

/// An agent's own version: no other is let in.
const VERSION: &str = env!("CARGO_PKG_VERSION");
const SPOOL: u64 = 7;
/// What a player may say before the stream has taken it.
const OUTBOUND_QUEUE: usize = 64;

/// A node that has joined.
#[derive(Clone)]
pub struct Member {
    pub id: String,
    pub name: String,
    identity: ClientIdentity,
    trust: Trust,
    address: String,
}

impl Member {
    pub async fn join(code: &str, name: &str) -> Result<Self, Failure> {
        let code = JoinCode::decode(code)?;
        let address = code.addresses.first().ok_or("a join code without an address")?.clone();
        let channel = transport::connect(&address, &Trust::Pin(code.authority_pin), None).await?;
        let key = KeyPair::generate()?;
        let csr_der = CertificateParams::default().serialize_request(&key)?.der().to_vec();
        let request = wire::JoinRequest {
            secret: code.secret.to_vec(),
            name: name.to_owned(),
            csr_der,
            agent_version: VERSION.to_owned(),
            policy: "operate".to_owned(),
            ..wire::JoinRequest::default()
        };
        let answer = EnrollmentClient::new(channel).join(request).await?.into_inner();
        let credentials = answer.credentials.unwrap_or_default();
        let authorities = credentials.authorities_der.into_iter().map(Into::into).collect();
        let chain = credentials.chain_der.into_iter().map(Into::into).collect();
        let key = pem::decode_key(&pem::encode_key(key.serialized_der())).ok_or("a key that can't be read")?;
        let (identity, trust) = (ClientIdentity { chain, key }, Trust::Authorities(authorities));
        Ok(Self { id: answer.node_id, name: name.to_owned(), identity, trust, address })
    }
}

impl Member {
    /// A file that a task brings back, in small pieces behind its name.
    pub async fn upload(&self, head: wire::UploadChunk, content: &[u8]) -> Result<(), tonic::Status> {
        let connected = transport::connect(&self.address, &self.trust, Some(self.identity.clone())).await;
        let channel = connected.map_err(|error| tonic::Status::internal(error.to_string()))?;
        let pieces = content.chunks(5).map(|data| wire::UploadChunk { data: data.to_vec(), ..Default::default() });
        let chunks: Vec<_> = std::iter::once(head).chain(pieces).collect();
        AgentLinkClient::new(channel).upload(tokio_stream::iter(chunks)).await.map(drop)
    }
}

/// The stream of one node.
pub struct Link {
    outbound: mpsc::Sender<wire::FromAgent>,
    inbound: Streaming<wire::ToAgent>,
    seq: u64,
}

impl Link {
    /// Open, and taken for ready: the control plane has said so.
    pub async fn open(member: &Member) -> Result<Self, Failure> {
        let channel = transport::connect(&member.address, &member.trust, Some(member.identity.clone())).await?;
        let (outbound, stream) = mpsc::channel(OUTBOUND_QUEUE);
        let hello = wire::Hello { agent_version: VERSION.to_owned(), spool_id: SPOOL, ..wire::Hello::default() };
        outbound.send(message(from_agent::Message::Hello(hello))).await?;
        let inbound = AgentLinkClient::new(channel).connect(ReceiverStream::new(stream)).await?.into_inner();
        let mut link = Self { outbound, inbound, seq: 0 };
        loop {
            match link.next().await? {
                Some(to_agent::Message::Welcome(_)) => return Ok(link),
                Some(_) => {}
                None => return Err("the stream ended before its welcome".into()),
            }
        }
    }

    /// The next that the control plane says; nothing when it is over. Loses nothing when
    /// it is dropped.
    pub async fn next(&mut self) -> Result<Option<to_agent::Message>, Failure> {
        loop {
            match self.inbound.message().await? {
                None => return Ok(None),
                Some(wire::ToAgent { message: Some(message) }) => return Ok(Some(message)),
                Some(wire::ToAgent { message: None }) => {}
            }
        }
    }

    pub async fn say(&self, word: from_agent::Message) -> Result<(), Failure> {
        Ok(self.outbound.send(message(word)).await?)
    }

    pub async fn beat(&self) -> Result<(), Failure> {
        self.say(from_agent::Message::Heartbeat(wire::Heartbeat::default())).await
    }

    /// The end of a task, which comes in the spool; the number that its ack will have.
    pub async fn end(&mut self, report: wire::TaskReport) -> Result<u64, Failure> {
        self.seq += 1;
        let record = wire::SpoolRecord { seq: self.seq, body: Some(spool_record::Body::Task(report)) };
        self.say(from_agent::Message::Spool(wire::SpoolBatch { spool_id: SPOOL, records: vec![record] })).await?;
        Ok(self.seq)
    }
}

fn message(word: from_agent::Message) -> wire::FromAgent {
    wire::FromAgent { message: Some(word) }
}

/// How a task stands now.
pub fn report(id: &str, state: &str, words: &str) -> wire::TaskReport {
    let at_ms = now_ms();
    wire::TaskReport {
        id: id.to_owned(),
        state: state.to_owned(),
        at_ms,
        began_ms: at_ms,
        words: words.to_owned(),
        ..wire::TaskReport::default()
    }
}

fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// To the operators' side, as the context file's first operator.
pub async fn operators(contexts: &Contexts) -> Result<Channel, Failure> {
    let (name, context) = contexts.choose(None)?;
    let (trust, identity) = context.credentials(name)?;
    let address = context.addresses.first().ok_or("a context without an address")?;
    Ok(transport::connect(address, &trust, identity).await?)
}
