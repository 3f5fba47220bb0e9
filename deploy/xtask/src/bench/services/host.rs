//! One host of the lab with a control plane and an agent, as they are released.

use crate::process::output;
use crate::workspace::{Profile, Workspace};
use anyhow::{Context, Result, ensure};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

const NAME: &str = "h1";
const ADDRESS: &str = "10.79.0.11";
const WAIT_MAX: Duration = Duration::from_secs(60);

pub struct Host {
    script: PathBuf,
}

impl Host {
    /// With all plugins, and a user that the bench's processes run as.
    pub fn up(workspace: &Workspace, guests: &[PathBuf]) -> Result<Self> {
        let host = Self { script: workspace.root.join("deploy/lab/lab") };
        host.lab(&["down"])?;
        eprintln!("  booting a host");
        host.lab(&["up", "1", "--with", "monit"])?;
        let programs = workspace.programs(Profile::Release);
        for (from, name) in [
            (&programs.control_plane, "hostler-control-plane"),
            (&programs.agent, "hostler-agent"),
            (&programs.executor, "hostler-executor"),
            (&programs.ctl, "hostlerctl"),
            (&programs.plugin_tool, "hostler-plugin"),
        ] {
            host.put(from, &format!("/usr/bin/{name}"))?;
        }
        let unit = "hostler-control-plane.service";
        host.put(&workspace.root.join("deploy/systemd").join(unit), &format!("/etc/systemd/system/{unit}"))?;
        host.put(&workspace.root.join("deploy/xtask/src/bench/services"), "/opt/bench")?;
        host.exec(&format!(
            "useradd --system bench; mkdir -p -m 777 /srv/bench; chmod 755 /opt/bench/*.sh; \
             useradd --system --home-dir /var/lib/hostler --shell /usr/sbin/nologin hostler; mkdir -p /etc/hostler; \
             printf 'agents_listen = \"0.0.0.0:7443\"\\nadvertise = [\"{ADDRESS}:7443\"]\\n' \
             >/etc/hostler/control-plane.toml; systemctl daemon-reload; systemctl enable --now hostler-control-plane"
        ))?;
        host.wait("the control plane", "hostlerctl status")?;
        let plugin = guests.iter().find(|file| file.file_stem().is_some_and(|stem| stem == "file"));
        host.put(plugin.context("find file.wasm")?, "/root/file.wasm")?;
        host.exec("hostlerctl plugin push /root/file.wasm")?;
        let made = host.json("hostlerctl token create -o json")?;
        host.exec(made.get("install").and_then(Value::as_str).context("find the install line")?)?;
        Ok(host)
    }

    fn lab(&self, arguments: &[&str]) -> Result<String> {
        let mut lab = Command::new(&self.script);
        lab.env("LAB_DIR", "/var/tmp/hostler-lab-bench").env("LAB_NS", "hostler-bench").env("LAB_NET", "10.79.0");
        output(lab.args(arguments))
    }

    fn put(&self, from: &Path, to: &str) -> Result<()> {
        self.lab(&["put", NAME, &from.display().to_string(), to]).map(drop)
    }

    pub fn exec(&self, script: &str) -> Result<String> {
        self.lab(&["exec", NAME, "sh", "-c", script])
    }

    pub fn json(&self, script: &str) -> Result<Value> {
        let text = self.exec(script)?;
        serde_json::from_str(&text).with_context(|| format!("read the JSON of `{script}`"))
    }

    pub fn wait(&self, what: &str, script: &str) -> Result<()> {
        const LOOK: Duration = Duration::from_millis(200);
        let started = Instant::now();
        while let Err(error) = self.exec(script) {
            ensure!(started.elapsed() < WAIT_MAX, "waited {} s for {what}: {error:#}", WAIT_MAX.as_secs());
            std::thread::sleep(LOOK);
        }
        Ok(())
    }

    pub fn apply(&self, spec: &str) -> Result<()> {
        self.exec(&format!("cat >/root/spec.yaml <<'EOF'\n{spec}EOF\nhostlerctl apply -f /root/spec.yaml --yes"))
            .map(drop)
    }

    /// Every service and check, and waits until nothing of them runs.
    pub fn delete(&self) -> Result<()> {
        for kind in ["service", "check"] {
            let found = self.json(&format!("hostlerctl get {kind} -o json"))?;
            for name in found.get(kind).and_then(Value::as_object).into_iter().flat_map(serde_json::Map::keys) {
                self.exec(&format!("hostlerctl delete {kind} {name} --yes"))?;
            }
        }
        self.wait("nothing to run", "test $(pgrep -xc sleep) -eq 0")
    }

    /// Monit anew, looking so often, at this.
    pub fn monit(&self, every: u32, checks: &str) -> Result<()> {
        self.exec(&format!(
            "monit quit; while pgrep -x monit; do sleep 0.1; done; systemctl stop monit; \
             printf 'set daemon {every}\\nset log syslog\\nset pidfile /run/monit.pid\\nset statefile /var/lib/monit/state\\n\
             set idfile /var/lib/monit/id\\nset httpd unixsocket /run/monit.sock allow localhost\\n' >/root/monitrc; \
             cat >>/root/monitrc <<'EOF'\n{checks}EOF\nchmod 600 /root/monitrc; cp /root/monitrc /etc/monit/monitrc; monit"
        ))
        .map(drop)
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        if let Err(error) = self.lab(&["down"]) {
            eprintln!("bench: stop the lab: {error:#}");
        }
    }
}
