//! The agents: each joins, connects, beats as it is asked to, and says of each task that
//! it ran and that it is done.

use crate::{Asked, say};
use hostler_lab::played::{Failure, Link, Member, operators, report};
use hostler_proto::admin as wire;
use hostler_proto::admin::admin_client::AdminClient;
use hostler_proto::agent::{from_agent, to_agent};
use std::collections::VecDeque;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tonic::transport::Channel;

/// Each with a code of its own: hosts that use one code at once wait for each other.
const JOINING: usize = 16;
/// Less than the control plane opens at once.
const CONNECTING: usize = 64;
/// As real agents are told to.
pub const BEAT: Duration = Duration::from_secs(3);
/// For an answer, of whomever.
const PATIENCE: Duration = Duration::from_secs(120);

pub type Admin = AdminClient<Channel>;

/// When one task was offered to its node, and when its end was acked there.
pub struct End {
    pub offered: Instant,
    pub acked: Instant,
}

pub struct Fleet {
    pub admin: Admin,
    ends: mpsc::Receiver<End>,
    agents: JoinSet<Result<(), Failure>>,
}

impl Fleet {
    pub async fn join(asked: &Asked) -> Result<Self, Failure> {
        let mut admin = AdminClient::new(operators(&asked.contexts).await?);
        let began = Instant::now();
        let members = join(&mut admin, asked.agents).await?;
        say("join-s", began.elapsed().as_secs_f64());

        let began = Instant::now();
        let (tell, ends) = mpsc::channel(asked.agents);
        let (there, mut opened) = mpsc::channel(CONNECTING);
        let mut agents = JoinSet::new();
        let mut waiting = members.into_iter().enumerate();
        for (place, member) in waiting.by_ref().take(CONNECTING) {
            agents.spawn(live(member, place, asked.agents, there.clone(), tell.clone()));
        }
        for _ in 0..asked.agents {
            tokio::select! {
                one = opened.recv() => one.ok_or("no agent is left")?,
                Some(ended) = agents.join_next() => return Err(why(ended)),
            }
            if let Some((place, member)) = waiting.next() {
                agents.spawn(live(member, place, asked.agents, there.clone(), tell.clone()));
            }
        }
        say("connect-s", began.elapsed().as_secs_f64());
        Ok(Self { admin, ends, agents })
    }

    /// The next end; none of the agents may be gone.
    pub async fn next_end(&mut self) -> Result<End, Failure> {
        tokio::select! {
            end = self.ends.recv() => end.ok_or_else(|| "no agent is left".into()),
            Some(ended) = self.agents.join_next() => Err(why(ended)),
            () = tokio::time::sleep(PATIENCE) => Err("a task did not come to its end".into()),
        }
    }

    /// For so long nothing is asked of them.
    pub async fn rest(&mut self, span: Duration) -> Result<(), Failure> {
        tokio::select! {
            Some(ended) = self.agents.join_next() => Err(why(ended)),
            () = tokio::time::sleep(span) => Ok(()),
        }
    }
}

fn why(ended: Result<Result<(), Failure>, tokio::task::JoinError>) -> Failure {
    match ended {
        Ok(Ok(())) => "the control plane ended the stream of an agent".into(),
        Ok(Err(error)) => format!("an agent: {error}").into(),
        Err(error) => error.into(),
    }
}

async fn join(admin: &mut Admin, count: usize) -> Result<Vec<Member>, Failure> {
    let mut joining = JoinSet::new();
    for part in 0..JOINING {
        let places: Vec<usize> = (part..count).step_by(JOINING).collect();
        let uses = u32::try_from(places.len())?;
        let request = wire::CreateTokenRequest { uses, ..wire::CreateTokenRequest::default() };
        let code = admin.create_token(request).await?.into_inner().code;
        joining.spawn(async move {
            let mut members = Vec::with_capacity(places.len());
            for place in places {
                members.push(Member::join(&code, &format!("node{place}")).await?);
            }
            Ok::<_, Failure>(members)
        });
    }
    let mut members = Vec::with_capacity(count);
    while let Some(part) = joining.join_next().await {
        members.extend(part??);
    }
    Ok(members)
}

async fn live(
    member: Member,
    place: usize,
    of: usize,
    there: mpsc::Sender<()>,
    ends: mpsc::Sender<End>,
) -> Result<(), Failure> {
    let mut link = Link::open(&member).await?;
    there.send(()).await?;
    drop(there);
    // Spread evenly, as those of hosts are that started whenever they did.
    let first = BEAT.mul_f64(place as f64 / of as f64);
    let mut beat = tokio::time::interval_at(tokio::time::Instant::now() + first, BEAT);
    let mut out: VecDeque<(u64, Instant)> = VecDeque::new();
    loop {
        tokio::select! {
            _ = beat.tick() => link.beat().await?,
            word = link.next() => match word? {
                None => return Ok(()),
                Some(to_agent::Message::TaskOffer(offer)) => {
                    let offered = Instant::now();
                    link.say(from_agent::Message::Task(report(&offer.id, "running", ""))).await?;
                    out.push_back((link.end(report(&offer.id, "succeeded", "")).await?, offered));
                }
                Some(to_agent::Message::SpoolAck(ack)) => {
                    let acked = Instant::now();
                    while let Some((_, offered)) = out.pop_front_if(|(seq, _)| *seq <= ack.seq) {
                        ends.send(End { offered, acked }).await?;
                    }
                }
                Some(_) => {}
            }
        }
    }
}
