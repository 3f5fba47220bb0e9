//! `up` and `down`: Hostler on this machine, for whoever works on it.

use crate::deployment::{Demo, Deployment, NODE, POLICY, Spec, hello_spec};
use crate::plugins;
use crate::ports::{self, Ports};
use crate::workspace::{Built, Profile, Workspace, minutes};
use anyhow::{Context, Result, bail};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

const LOOK_EVERY: Duration = Duration::from_millis(300);
/// Longer than a stop of both takes.
const DOWN_GRACE: Duration = Duration::from_secs(3);
const DEMO: Demo = Demo { disk_every: "5s", hello_every: "2s" };

pub fn up(workspace: &Workspace, detach: bool) -> Result<()> {
    let interrupted = Arc::new(AtomicBool::new(false));
    let built = workspace.build(&["--workspace"])?;
    let guests =
        plugins::build(&workspace.root, plugins::Tool::Alone, &mut |line| eprintln!("  plugins        {line}"))?;
    panel("building", &building(&built));

    let dir = dev(workspace);
    fs::create_dir_all(&dir).with_context(|| format!("make {}", dir.display()))?;
    if !detach {
        // From here on an interrupt stops what was started.
        for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM, signal_hook::consts::SIGHUP] {
            signal_hook::flag::register(signal, Arc::clone(&interrupted)).context("listen for Ctrl-C")?;
        }
    }
    let deployment = Deployment::new(&dir, workspace.programs(Profile::Dev), choose_ports(workspace, &dir)?).acting();
    let text = hello_spec(DEMO, deployment.ports.demo);
    let spec = Spec { file: "hello.yaml", text: &text };
    let outcome = deployment.start(&guests, spec).and_then(|()| deployment.wait_ready());
    if let Err(error) = outcome {
        // Left as it is under --detach: the logs and `down` are for looking.
        if !detach {
            deployment.stop()?;
        }
        return Err(error);
    }
    show(&deployment)?;
    for note in [link_program(workspace), link_context(workspace, &deployment)].into_iter().flatten() {
        println!("  {note}");
    }
    if detach {
        return Ok(());
    }
    let ended = attend(&deployment, &interrupted);
    // One that ended by itself takes the other along.
    deployment.stop()?;
    ended
}

pub fn down(workspace: &Workspace, purge: bool) -> Result<()> {
    let dir = dev(workspace);
    let ports = Ports::load(&dir.join("ports")).unwrap_or(ports::DEFAULT);
    let deployment = Deployment::new(&dir, workspace.programs(Profile::Dev), ports).acting();
    println!("{}", if deployment.stop()? { "stopped" } else { "nothing of ours is running" });
    if purge {
        for link in [user_program(), user_context()].into_iter().flatten() {
            if is_link_into(&link, &workspace.target) {
                fs::remove_file(&link).with_context(|| format!("remove {}", link.display()))?;
                println!("removed the link {}", link.display());
            }
        }
        if dir.exists() {
            fs::remove_dir_all(&dir).with_context(|| format!("remove {}", dir.display()))?;
            println!("removed {}", dir.display());
        }
    }
    Ok(())
}

fn dev(workspace: &Workspace) -> PathBuf {
    workspace.target.join("dev")
}

/// The ports are chosen once: the node's address for its control plane is one.
fn choose_ports(workspace: &Workspace, dir: &Path) -> Result<Ports> {
    let file = dir.join("ports");
    let Some(saved) = Ports::load(&file) else {
        let (chosen, notes) = ports::DEFAULT.or_free()?;
        notes.iter().for_each(|note| println!("  {note}"));
        chosen.save(&file)?;
        return Ok(chosen);
    };
    let deployment = Deployment::new(dir, workspace.programs(Profile::Dev), saved).acting();
    let running = deployment.control_plane.pid().is_some();
    if !running && deployment.agent.pid().is_none() {
        // One that an end of `up` by force left behind holds the port.
        deployment.stop()?;
    }
    for port in [saved.agents, saved.operators, saved.http] {
        if !running && !ports::is_free(port) {
            bail!(
                "port {port}, which the node joined by, is taken by {}: stop that, \
                 or begin anew with `cargo xtask down --purge`",
                ports::holder(port)
            );
        }
    }
    if running {
        return Ok(saved);
    }
    let saved = saved.with_free_demo()?;
    saved.save(&file)?;
    Ok(saved)
}

fn building(built: &Built) -> String {
    let hint = if built.anew { "  (next time it is seconds)" } else { "" };
    format!("{0}/{0}  {1}{hint}", built.crates, minutes(built.took))
}

fn panel(key: &str, value: &str) {
    println!("  {key:<13}  {value}");
}

fn show(deployment: &Deployment) -> Result<()> {
    let memory_mib = deployment.agent_memory()?.pss_kib as f64 / 1024.0;
    let version = deployment.agent_version()?;
    panel("control plane", &format!("https://127.0.0.1:{}  store: embedded, synced to disk", deployment.ports.agents));
    panel(&format!("node {NODE}"), &format!("ready  agent {version}, {memory_mib:.1} MiB, policy: {POLICY}"));
    panel("demo", &format!("service \"hello\", checked every {}", DEMO.hello_every.replace('s', " s")));
    println!();
    let next = [
        ("hostlerctl check ls", ""),
        ("hostlerctl dev break hello", "make the demo fail and watch it heal"),
        ("hostlerctl token create", "add another host"),
        ("hostlerctl events -w", "watch what happens"),
    ];
    for (index, (command, why)) in next.into_iter().enumerate() {
        let lead = if index == 0 { "next:" } else { "" };
        println!("{}", format!("  {lead:<5}  {command:<30} {why}").trim_end());
    }
    println!();
    Ok(())
}

/// Stays until Ctrl-C or until one of the two ends by itself.
fn attend(deployment: &Deployment, interrupted: &AtomicBool) -> Result<()> {
    println!("  running; Ctrl-C stops it (its state stays in target/dev)");
    while !interrupted.load(Ordering::Relaxed) {
        match (deployment.control_plane.pid(), deployment.agent.pid()) {
            (Some(_), Some(_)) => std::thread::sleep(LOOK_EVERY),
            // Somebody ran `down` elsewhere: that is an end, not a fault.
            (None, None) => {
                println!("  stopped");
                return Ok(());
            }
            _ => {
                // `down` takes a moment between the two.
                std::thread::sleep(DOWN_GRACE);
                if deployment.control_plane.pid().is_some() || deployment.agent.pid().is_some() {
                    deployment.must_run(&deployment.control_plane)?;
                    deployment.must_run(&deployment.agent)?;
                }
            }
        }
    }
    println!("\n  stopping");
    Ok(())
}

fn user_program() -> Option<PathBuf> {
    let home = std::env::var_os("CARGO_HOME").map(PathBuf::from).or_else(|| Some(home()?.join(".cargo")))?;
    Some(home.join("bin/hostlerctl"))
}

fn user_context() -> Option<PathBuf> {
    Some(home()?.join(".config/hostler/contexts.toml"))
}

fn home() -> Option<PathBuf> {
    std::env::var_os("HOME").map(PathBuf::from)
}

/// What became of a link that the user's shell should find.
#[derive(Debug, PartialEq)]
enum Linked {
    Made,
    Already,
    /// Something that is not ours stands there.
    Refused,
}

fn link_program(workspace: &Workspace) -> Option<String> {
    let program = workspace.programs(Profile::Dev).ctl;
    let link = user_program()?;
    match link_ours(&link, &program, &workspace.target).unwrap_or(Linked::Refused) {
        Linked::Already => None,
        Linked::Made => Some(format!("linked {} to this build", link.display())),
        Linked::Refused => {
            let folder = program.parent()?.display();
            Some(format!("{} is not ours, so:  export PATH=\"{folder}:$PATH\"", link.display()))
        }
    }
}

fn link_context(workspace: &Workspace, deployment: &Deployment) -> Option<String> {
    let (file, link) = (deployment.context_file(), user_context()?);
    match link_ours(&link, &file, &workspace.target).unwrap_or(Linked::Refused) {
        Linked::Already => None,
        Linked::Made => Some(format!("linked {} to this control plane's", link.display())),
        Linked::Refused => {
            Some(format!("{} is not ours, so:  export HOSTLER_CONTEXT_FILE=\"{}\"", link.display(), file.display()))
        }
    }
}

/// Makes a link where nothing stands, or where one into our own target does.
fn link_ours(link: &Path, file: &Path, target: &Path) -> Result<Linked> {
    if fs::read_link(link).is_ok_and(|to| to == file) {
        return Ok(Linked::Already);
    }
    if is_link_into(link, target) {
        fs::remove_file(link).with_context(|| format!("remove {}", link.display()))?;
    } else if fs::symlink_metadata(link).is_ok() {
        return Ok(Linked::Refused);
    }
    let folder = link.parent().context("find the folder of the link")?;
    fs::create_dir_all(folder).with_context(|| format!("make {}", folder.display()))?;
    symlink(file, link).with_context(|| format!("link {}", link.display()))?;
    Ok(Linked::Made)
}

fn is_link_into(link: &Path, target: &Path) -> bool {
    fs::read_link(link).is_ok_and(|to| to.starts_with(target))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_link_of_ours_is_replaced() {
        let dir = std::env::temp_dir().join(format!("xtask-link-{}", std::process::id()));
        let (target, link) = (dir.join("target"), dir.join("bin/tool"));
        fs::create_dir_all(&target).unwrap();
        let (old, new) = (target.join("old"), target.join("new"));

        assert_eq!(link_ours(&link, &old, &target).unwrap(), Linked::Made);
        assert_eq!(link_ours(&link, &old, &target).unwrap(), Linked::Already);
        assert_eq!(link_ours(&link, &new, &target).unwrap(), Linked::Made);
        assert_eq!(fs::read_link(&link).unwrap(), new);

        fs::remove_file(&link).unwrap();
        symlink("/usr/bin/other", &link).unwrap();
        assert_eq!(link_ours(&link, &new, &target).unwrap(), Linked::Refused);
        fs::remove_file(&link).unwrap();
        fs::write(&link, "somebody's").unwrap();
        assert_eq!(link_ours(&link, &new, &target).unwrap(), Linked::Refused);
        assert_eq!(fs::read_to_string(&link).unwrap(), "somebody's");
        fs::remove_dir_all(dir).unwrap();
    }
}
