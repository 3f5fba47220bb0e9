//! `bench-check`: many scheduled runs of one check, one behind the other, over the
//! same way as in the running agent, and what they cost the whole process.
//! Only the clock is another: nobody waits for the next turn.

use crate::checks::{Watch, run_one};
use crate::config::Config;
use crate::plugins::Running;
use crate::standing::Standings;
use crate::vault::Vault;
use crate::view::View;
use anyhow::{Context, Result, bail};
use hostler_plugin_host::{Cache, Companion, Machine, MachineConfig, PluginHost};
use hostler_proto::agent as wire;
use hostler_types::plugin::embedded_manifest;
use hostler_types::{CheckAssignment, Name, NodeId, Now, Timestamp};
use prost::Message;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

const EVERY: Duration = Duration::from_secs(5);
const HEARTBEAT: Duration = Duration::from_secs(3);

#[derive(clap::Args, Debug)]
pub struct Bench {
    #[arg(long, value_name = "FILE")]
    wasm_plugin: PathBuf,
    #[arg(long, value_name = "JSON", default_value = "{}")]
    config_json: String,
    #[arg(long, default_value_t = 10_000)]
    runs: u64,
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

impl Bench {
    pub fn run(self) -> Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(Box::pin(self.measure()))
    }

    async fn measure(self) -> Result<()> {
        let config = Config::load(self.config.as_deref())?;
        let bytes = std::fs::read(&self.wasm_plugin).with_context(|| format!("read {}", self.wasm_plugin.display()))?;
        let manifest = embedded_manifest(&bytes).context("read the plugin's manifest")?;
        let digest = data_encoding::HEXLOWER.encode(ring::digest::digest(&ring::digest::SHA256, &bytes).as_ref());
        drop(bytes);
        let folder = std::env::temp_dir().join(format!("hostler-bench-{}", std::process::id()));
        let host = PluginHost::new(Arc::new(Machine::new(MachineConfig::default())))?;
        let cache = Cache::open(folder.join("compiled"))?;
        let companion = Companion::new(config.plugin_tool);
        let plugin = Box::pin(host.load_cached(&cache, &digest, &self.wasm_plugin, &companion)).await?;
        let grants = Arc::new(manifest.grants);

        let check = CheckAssignment {
            name: Name::new("bench")?,
            plugin: manifest.name,
            every: EVERY,
            timeout: Duration::from_secs(10),
            config_json: self.config_json,
            fails: 3,
            passes: 2,
            grace: Duration::ZERO,
        };
        let view = View::default();
        let vault = Vault::open(&folder)?;
        let mut watch = Watch::new(NodeId::from_random([1; 10]), Standings::open(&folder, &BTreeMap::new()), &vault);
        let mut now = Now { monotonic: Duration::ZERO, wall: Timestamp::from_millis(1_800_000_000_000) };
        watch.configure(now, std::slice::from_ref(&check), &view);

        let (before, started) = (Usage::now()?, Instant::now());
        let (mut runs, mut reported_bytes, mut next_beat) = (0u64, 0u64, HEARTBEAT);
        while runs < self.runs {
            let due = watch.next_deadline().context("find the next run")?;
            now = now.plus(due.saturating_sub(now.monotonic));
            for order in watch.due(now) {
                let running =
                    Running { plugin: Arc::clone(&plugin), grants: Arc::clone(&grants), digest: digest.clone() };
                let ended = run_one(order, running).await;
                let Some(counted) = watch.ended(now, ended, &view) else { bail!("a run got lost") };
                watch.show(&counted.check, &view);
                runs += 1;
            }
            if now.monotonic >= next_beat {
                next_beat = now.monotonic + HEARTBEAT;
                let beat = wire::Heartbeat { checks: view.lock().take_reports(), ..Default::default() };
                reported_bytes += beat.encode_to_vec().len() as u64;
            }
        }
        let (after, wall) = (Usage::now()?, started.elapsed());
        let (summary, faults) = {
            let view = view.lock();
            let summary = view.checks.values().map(|seen| seen.report.summary.clone()).next().unwrap_or_default();
            (summary, view.counts.faults)
        };
        let _ = std::fs::remove_dir_all(&folder);
        println!(
            "{}",
            serde_json::json!({
                "runs": runs,
                "cpu_seconds_user": after.user - before.user,
                "cpu_seconds_system": after.system - before.system,
                "wall_seconds": wall.as_secs_f64(),
                "faults": faults,
                "reported_bytes": reported_bytes,
                "last_summary": summary,
            })
        );
        Ok(())
    }
}

struct Usage {
    user: f64,
    system: f64,
}

impl Usage {
    /// Of the whole process, with all its threads.
    #[allow(unsafe_code, reason = "the C library's own call; the safe wrappers here have none")]
    fn now() -> Result<Self> {
        let mut usage = std::mem::MaybeUninit::<libc::rusage>::zeroed();
        // SAFETY: the pointer is to a `rusage` of ours, which zeroes are valid for and the call fills.
        let usage = unsafe {
            if libc::getrusage(libc::RUSAGE_SELF, usage.as_mut_ptr()) != 0 {
                bail!("getrusage: {}", std::io::Error::last_os_error());
            }
            usage.assume_init()
        };
        let seconds = |time: libc::timeval| time.tv_sec as f64 + time.tv_usec as f64 / 1e6;
        Ok(Self { user: seconds(usage.ru_utime), system: seconds(usage.ru_stime) })
    }
}
