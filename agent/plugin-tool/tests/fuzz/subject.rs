//! The host that is tried, and an input's whole way through it.

use hostler_plugin_host::{
    Fault, Machine, MachineConfig, Notice, Plugin, PluginHost, Run, RunContext, RunRequest, Work, World, engine_config,
};
use hostler_types::plugin::Grants;
use std::collections::BTreeMap;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::runtime::Runtime;
use wasmtime::Engine;
use wasmtime::component::Component;

const TIMEOUT: Duration = Duration::from_millis(200);
/// As long as a run may take, whatever it does.
const LONGEST: Duration = Duration::from_secs(2);

/// How inputs ended, by word.
#[derive(Default)]
pub struct Tally {
    pub inputs: u64,
    pub runs: u64,
    pub host_calls: u64,
    pub calling_runs: u64,
    pub longest: Duration,
    pub endings: BTreeMap<String, u64>,
    /// What was said of refusals and crashes, without its numbers.
    pub said: BTreeMap<String, u64>,
}

impl Tally {
    pub fn ended(&mut self, how: &str) {
        *self.endings.entry(how.to_owned()).or_default() += 1;
    }

    fn ran(&mut self, run: &Run) {
        self.runs += 1;
        self.host_calls += u64::from(run.bill.calls);
        self.calling_runs += u64::from(run.bill.calls > 0);
        self.longest = self.longest.max(run.bill.wall);
        self.ended(ending(run));
        if let Err(Fault::Trapped(said)) = &run.outcome {
            self.say("crash", said);
        }
    }

    fn say(&mut self, how: &str, said: &str) {
        // What the engine says of the guest's own functions comes before what is wrong.
        let said = said.rsplit_once("<wasm function").map_or(said, |(_, rest)| rest);
        let plain: String = said.chars().filter(|letter| !letter.is_ascii_digit()).take(160).collect();
        *self.said.entry(format!("{how}: {}", plain.replace('\n', " "))).or_default() += 1;
    }

    pub fn count(&self, prefix: &str) -> u64 {
        self.endings.iter().filter(|(how, _)| how.starts_with(prefix)).map(|(_, count)| count).sum()
    }
}

pub fn ending(run: &Run) -> &'static str {
    match &run.outcome {
        Ok(_) => "Done",
        Err(Fault::ConfigInvalid(_)) => "ConfigInvalid",
        Err(Fault::Broke(_)) => "Broke",
        Err(Fault::CpuExhausted) => "CpuExhausted",
        Err(Fault::MemoryExhausted { .. }) => "MemoryExhausted",
        Err(Fault::StackOverflow) => "StackOverflow",
        Err(Fault::TimedOut { .. }) => "TimedOut",
        Err(Fault::HostCallsExhausted) => "HostCallsExhausted",
        Err(Fault::HostCallTooLarge) => "HostCallTooLarge",
        Err(Fault::Trapped(_)) => "Trapped",
    }
}

/// Who refused it, and the reason.
pub type Refusal = (String, String);

pub struct Subject {
    runtime: Runtime,
    compiler: Engine,
    host: Arc<PluginHost>,
    grants: Arc<Grants>,
    /// What it may reach of this machine, and where compiled code stands.
    folder: PathBuf,
    good: Option<Arc<Plugin>>,
}

impl Subject {
    /// In a folder of its own, whose path is the same each time: guests name it.
    pub fn new(folder: &Path, good: &[u8]) -> Subject {
        let _ = std::fs::remove_dir_all(folder);
        let files = files(folder);
        for part in ["secrets", "compiled", "state", "files/sub"] {
            std::fs::create_dir_all(folder.join(part)).expect("folder");
        }
        for part in ["compiled", "state", "secrets"] {
            std::fs::set_permissions(folder.join(part), PermissionsExt::from_mode(0o700)).expect("mode");
        }
        std::fs::write(files.join("log"), "one\ntwo\n\u{fffd}\nthree".repeat(1000)).expect("log");
        std::fs::write(files.join("sub/binary"), (0..=255u8).collect::<Vec<u8>>()).expect("binary");
        std::os::unix::fs::symlink("/etc", files.join("out")).expect("link");
        std::fs::write(folder.join("secrets/token"), "secret").expect("secret");
        std::fs::set_permissions(folder.join("secrets/token"), PermissionsExt::from_mode(0o600)).expect("mode");
        let granted = format!(
            "system = true\nprocesses = true\nsecrets = [\"*\"]\nreveal = [\"token\"]\nunits = [\"*\"]\ncontainers = [\"*\"]\n\
             files = [\"{0}\", \"{0}/**\"]\ntcp = [\"127.0.0.1:9\", \"localhost:9\", \"[::1]:9\"]\n\
             http = [\"http://127.0.0.1:9\", \"https://127.0.0.1:9\"]\nicmp = [\"127.0.0.1\"]\ndns = [\"*.invalid\"]\n\
             commands = [\"echo: /bin/echo ...\", \"sleep: /bin/sleep ...\"]\n",
            files.display()
        );
        let machine = Machine::new(MachineConfig {
            state_folder: Some(folder.join("state")),
            secrets_given: None,
            secrets_folder: folder.join("secrets"),
            container_socket: folder.join("no.socket"),
        });
        let mut subject = Subject {
            runtime: tokio::runtime::Builder::new_current_thread().enable_all().build().expect("runtime"),
            compiler: Engine::new(&engine_config()).expect("engine"),
            host: PluginHost::new(Arc::new(machine)).expect("host"),
            grants: Arc::new(toml::from_str(&granted).expect("grants")),
            folder: folder.to_owned(),
            good: None,
        };
        subject.good = Some(subject.load(good).expect("the good plugin"));
        subject
    }

    /// The way from a component to a loaded plugin, or where it ends and why.
    fn load(&self, component: &[u8]) -> Result<Arc<Plugin>, Refusal> {
        let _ = hostler_types::plugin::split_signature(component);
        hostler_types::plugin::embedded_manifest(component)
            .map_err(|error| ("refused by its manifest".to_owned(), error.to_string()))?;
        let compiled = Component::new(&self.compiler, component)
            .and_then(|compiled| compiled.serialize())
            .map_err(|error| ("refused by the compiler".to_owned(), format!("{error:#}")))?;
        // As the cache leaves them.
        let path = self.folder.join("compiled/input.cwasm");
        let checksum = ring::digest::digest(&ring::digest::SHA256, &compiled);
        let checksum = data_encoding::HEXLOWER.encode(checksum.as_ref());
        for (path, bytes) in [(&path, compiled.as_slice()), (&path.with_extension("sha256"), checksum.as_bytes())] {
            let _ = std::fs::remove_file(path);
            let file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
            std::io::Write::write_all(&mut file.expect("create"), bytes).expect("write");
        }
        self.host.load(&path).map_err(|error| {
            assert!(!error.recompile_helps(), "what was compiled just now cannot be loaded: {error}");
            let variant: String = format!("{error:?}").chars().take_while(char::is_ascii_alphabetic).collect();
            (format!("refused at loading: {variant}"), error.to_string())
        })
    }

    fn request(&self, config: &str) -> RunRequest {
        let mut request = RunRequest::new(config);
        request.context = RunContext { instance: "fuzz".into(), grants: self.grants.clone() };
        request.timeout = TIMEOUT;
        request.log = Some(Arc::new(drop));
        request
    }

    /// Two runs of it, if it gets that far.
    pub fn input(&self, component: &[u8], what: &str, tally: &mut Tally) {
        tally.inputs += 1;
        let plugin = match self.load(component) {
            Ok(plugin) => plugin,
            Err((how, why)) => {
                tally.say(&how, &why);
                return tally.ended(&how);
            }
        };
        tally.ended("loaded");
        for config in ["{}", r#"{"warn": "10%", "path": "/", "command": "echo", "": [null, 1e308, "\ud83d\ude00"]}"#] {
            for work in works(plugin.world()) {
                let began = Instant::now();
                let run = self.runtime.block_on(plugin.run(work, self.request(config)));
                let took = began.elapsed();
                assert!(took < LONGEST, "{what}: a run took {took:?} and ended so: {:?}", run.outcome);
                tally.ran(&run);
            }
        }
    }

    /// How its first run ends.
    pub fn ending(&self, component: &[u8]) -> Result<Run, Refusal> {
        let plugin = self.load(component)?;
        let work = works(plugin.world()).swap_remove(0);
        Ok(self.runtime.block_on(plugin.run(work, self.request("{}"))))
    }

    /// Whether it still does for a good plugin all that it should: as many runs
    /// at once as it has room for, and one more.
    pub fn assert_well(&self, after: &str) {
        let good = self.good.as_ref().expect("loaded");
        let began = Instant::now();
        self.runtime.block_on(async {
            let mut runs = tokio::task::JoinSet::new();
            for _ in 0..=hostler_plugin_host::limits::RUNS_AT_ONCE {
                let (good, mut request) = (good.clone(), self.request("{}"));
                request.timeout = LONGEST;
                runs.spawn(async move { good.run(Work::Check, request).await });
            }
            for run in runs.join_all().await {
                assert!(run.outcome.is_ok(), "after {after} a good plugin ends so: {:?}", run.outcome);
            }
        });
        assert!(began.elapsed() < LONGEST, "after {after} good runs took {:?}", began.elapsed());
    }
}

/// Of a subject's folder, what plugins may read.
pub fn files(folder: &Path) -> PathBuf {
    folder.join("files")
}

fn works(world: World) -> Vec<Work> {
    let (parameters_json, step, idempotency_key) = (r#"{"a": 1}"#.to_owned(), "one".to_owned(), "1".to_owned());
    match world {
        World::Check => vec![Work::Check],
        World::Collector => vec![Work::Collect],
        World::Notifier => {
            let attrs = vec![("node".to_owned(), "web-1".to_owned())];
            vec![Work::Notify(Notice { id: "1".to_owned(), title: "é".to_owned(), attrs, ..Notice::default() })]
        }
        World::Action => vec![
            Work::Plan { parameters_json: parameters_json.clone() },
            Work::Apply {
                parameters_json: parameters_json.clone(),
                step: step.clone(),
                idempotency_key: idempotency_key.clone(),
            },
            Work::Undo { parameters_json, step, idempotency_key },
        ],
    }
}
