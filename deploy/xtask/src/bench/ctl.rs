//! How long a person waits for `hostlerctl`.

use super::Figure;
use crate::deployment::Deployment;
use anyhow::{Context, Result, ensure};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const RUNS: usize = 50;
const NODE_LS_MS_MAX: f64 = 30.0;

pub fn run(deployment: &Deployment) -> Result<Vec<Figure>> {
    // In turns, so that a busy moment of the machine meets both.
    let (mut node_ls, mut nothing) = (Vec::with_capacity(RUNS), Vec::with_capacity(RUNS));
    for _ in 0..RUNS {
        node_ls.push(wall(deployment.ctl().args(["node", "ls"]))?);
        nothing.push(wall(&mut Command::new("true"))?);
    }
    let (node_ls, nothing) = (median_ms(node_ls), median_ms(nothing));
    Ok(vec![
        Figure { name: "hostlerctl node ls, median wall", value: node_ls, unit: "ms", at_most: Some(NODE_LS_MS_MAX) },
        Figure { name: "true, median wall in the same run", value: nothing, unit: "ms", at_most: None },
        Figure { name: "times true", value: node_ls / nothing, unit: "x", at_most: None },
    ])
}

pub fn wall(command: &mut Command) -> Result<Duration> {
    let started = Instant::now();
    let status = command.stdout(Stdio::null()).stdin(Stdio::null()).status();
    let took = started.elapsed();
    let status = status.with_context(|| format!("start {:?}", command.get_program()))?;
    ensure!(status.success(), "{:?} ended with {status}", command.get_program());
    Ok(took)
}

pub fn median_ms(mut times: Vec<Duration>) -> f64 {
    times.sort();
    times.get(times.len() / 2).map_or(f64::NAN, |time| time.as_secs_f64() * 1e3)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle() {
        let times = [5, 1, 900].map(Duration::from_millis).to_vec();
        assert!((median_ms(times) - 5.0).abs() < 1e-9);
    }
}
