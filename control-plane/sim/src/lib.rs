//! The cores of both sides, control plane and agents, against a hostile world: one
//! process, no clock, no threads, and all chance from one number.
//!
//! A world has one control plane, at times a second one that takes over while the first
//! goes on, and fifty hosts. Connections break, are cut and come back, messages are lost
//! and come twice, agents and control planes die between any two things that they do,
//! hosts lose power, clocks are set by hours and days, operators interfere. After some
//! minutes all is well again, and then all must come to its end. `judge.rs` says what must
//! be so the whole time.
//!
//! Not here: sockets, disks, programs. The shells around the cores are played as they
//! are: `control-plane/src/runs.rs` by `control.rs`, `agent/src/tasks.rs` by `host.rs`.
//! Deploys and the healing of services are not played yet.
//!
//! A span that goes over a restart of the control plane is counted by its wall clock: where
//! somebody set that meanwhile, neither the rest of such a span nor a deadline is judged.
//! Where two control planes rule one after the other, each is judged by what it let begin.
//!
//! `HOSTLER_SEEDS=10000 cargo nextest run -p hostler-sim` plays that many worlds, those
//! from `HOSTLER_FIRST_SEED` on where that is said. The whole story of one is told by
//! `HOSTLER_SEED=7 cargo nextest run -p hostler-sim one_world --no-capture`.

#[cfg(test)]
mod control;
#[cfg(test)]
mod dice;
#[cfg(test)]
mod host;
#[cfg(test)]
mod judge;
#[cfg(test)]
mod operator;
#[cfg(test)]
mod plan;
#[cfg(test)]
mod seeds;
#[cfg(test)]
mod store;
#[cfg(test)]
mod timers;
#[cfg(test)]
mod wire;
#[cfg(test)]
mod world;

/// What a shell does wrong, to see that it is noticed.
#[cfg(test)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sabotage {
    None,
    /// The control plane sends before it has kept what it decided.
    SendsFirst,
    /// It does not look again when it was told to.
    NeverLooks,
    /// The last thing that an agent wrote down is not there after its end.
    LosesJournal,
    /// The agent acts, and writes it down then.
    ActsFirst,
    /// It does not tell its ledger who rules.
    ForgetsStamp,
    /// Up to when a schedule is decided is not there after the control plane's end.
    LosesMark,
}
