//! The rounds: nothing at all for a while, then one run over all nodes after the other.

use crate::agents::{Admin, BEAT, Fleet};
use crate::process::{cpu_seconds, spread};
use crate::{Asked, say};
use hostler_lab::played::Failure;
use hostler_proto::admin as wire;
use std::time::{Duration, Instant};

/// Until the news of those that came are written, and memory is given back.
const SETTLE: Duration = Duration::from_secs(15);
const IDLE: Duration = Duration::from_secs(60);
const ROUNDS: usize = 11;
/// So that what the store does behind a round is counted with it.
const BETWEEN: Duration = Duration::from_secs(3);

/// Milliseconds, of one round.
struct Round {
    run: u64,
    whole: f64,
    asked: (f64, f64),
    offered: (f64, f64),
}

pub async fn measure(asked: &Asked, mut fleet: Fleet) -> Result<(), Failure> {
    fleet.rest(SETTLE).await?;
    let idle = Costs::over(asked, fleet.rest(IDLE)).await?.0;
    say("idle-cpu-s-an-hour", idle.theirs * 3_600.0);
    say("idle-cpu-us-a-beat", idle.theirs / (asked.agents as f64 / BEAT.as_secs_f64()) * 1e6);
    // The first one meets cold caches and buffers that have to grow.
    round(asked, &mut fleet).await?;
    fleet.rest(BETWEEN).await?;
    let many = async {
        let mut rounds = Vec::with_capacity(ROUNDS);
        for _ in 0..ROUNDS {
            rounds.push(round(asked, &mut fleet).await?);
            fleet.rest(BETWEEN).await?;
        }
        Ok(rounds)
    };
    let (busy, rounds) = Costs::over(asked, many).await?;
    for round in &rounds {
        all_well(&mut fleet.admin, round.run, asked.agents).await?;
    }
    let tasks = (ROUNDS * asked.agents) as f64;
    say("cpu-us-a-task", (busy.theirs - idle.theirs) * busy.seconds / tasks * 1e6);
    say("own-cpu-us-a-task", (busy.ours - idle.ours) * busy.seconds / tasks * 1e6);
    let of = |value: fn(&Round) -> f64| {
        let mut all: Vec<f64> = rounds.iter().map(value).collect();
        all.sort_by(f64::total_cmp);
        (all.get(all.len() / 2).copied().unwrap_or(f64::NAN), all.last().copied().unwrap_or(f64::NAN))
    };
    say("asked-p50-ms", of(|round| round.asked.0).0);
    say("asked-p99-ms", of(|round| round.asked.1).0);
    say("asked-p99-ms-worst", of(|round| round.asked.1).1);
    say("offered-p50-ms", of(|round| round.offered.0).0);
    say("offered-p99-ms", of(|round| round.offered.1).0);
    say("whole-ms", of(|round| round.whole).0);
    say("whole-ms-worst", of(|round| round.whole).1);
    Ok(())
}

async fn round(asked: &Asked, fleet: &mut Fleet) -> Result<Round, Failure> {
    let began = Instant::now();
    let request = wire::StartRunRequest { command: vec!["true".to_owned()], ..wire::StartRunRequest::default() };
    let run = fleet.admin.start_run(request).await?.into_inner().run.unwrap_or_default();
    let (mut from_asked, mut from_offered) = (Vec::with_capacity(asked.agents), Vec::with_capacity(asked.agents));
    for _ in 0..asked.agents {
        let end = fleet.next_end().await?;
        from_asked.push(end.acked.duration_since(began));
        from_offered.push(end.acked.duration_since(end.offered));
    }
    let whole = from_asked.iter().max().copied().unwrap_or_default().as_secs_f64() * 1e3;
    Ok(Round { run: run.number, whole, asked: spread(from_asked), offered: spread(from_offered) })
}

/// Whatever was acked is kept: no end of the run is missing once all are.
async fn all_well(admin: &mut Admin, number: u64, agents: usize) -> Result<(), Failure> {
    let run = admin.get_run(wire::GetRunRequest { number }).await?.into_inner().run.unwrap_or_default();
    let well = run.tasks.get("succeeded").copied().unwrap_or_default() as usize;
    if run.state != "succeeded" || well != agents {
        return Err(format!("run {number} is {}, with {well} of {agents} well", run.state).into());
    }
    Ok(())
}

/// CPU a second, of the control plane and of this process.
struct Costs {
    theirs: f64,
    ours: f64,
    seconds: f64,
}

impl Costs {
    async fn over<T>(asked: &Asked, doing: impl Future<Output = Result<T, Failure>>) -> Result<(Self, T), Failure> {
        let (began, theirs, ours) = (Instant::now(), cpu_seconds(&asked.pid)?, cpu_seconds("self")?);
        let done = doing.await?;
        let seconds = began.elapsed().as_secs_f64();
        let costs = Self {
            theirs: (cpu_seconds(&asked.pid)? - theirs) / seconds,
            ours: (cpu_seconds("self")? - ours) / seconds,
            seconds,
        };
        Ok((costs, done))
    }
}
