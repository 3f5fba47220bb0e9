//! What the tests and benches need of Debian, and what for.

use anyhow::{Context, Result, bail};
use std::path::Path;
use std::process::{Command, Stdio};

pub struct Package {
    pub name: &'static str,
    /// A file it brings: there already means nothing to do.
    proof: &'static str,
    pub why: &'static str,
}

pub const FOR_TESTS: [Package; 11] = [
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
