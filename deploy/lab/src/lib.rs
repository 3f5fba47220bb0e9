//! Whole fleets for tests: the real programs as processes on this machine, a
//! network between them that can be cut, disks that lose power, and the lab's
//! real systemd hosts. And nodes that are played, where thousands are wanted.
//!
//! Waits are for a condition, with the last thing seen in the failure. What is
//! started here is stopped here, and nothing else is.
#![allow(clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test's harness fails its test")]

pub mod acting;
pub mod agent;
pub mod control_plane;
pub mod hosts;
pub mod played;
pub mod proxy;
pub mod receivers;
pub mod site;

use std::fmt::Debug;
use std::path::PathBuf;
use std::time::{Duration, Instant};

pub use acting::Acting;
pub use agent::Agent;
pub use control_plane::{ControlPlane, Ran, run};
pub use hostler_crash::disk;

/// How often a condition is looked at.
const LOOK: Duration = Duration::from_millis(25);

/// Waits until `look` returns `Ok`; its last `Err` is what the failure shows.
pub fn wait_for<T, E: Debug>(what: &str, most: Duration, mut look: impl FnMut() -> Result<T, E>) -> T {
    let started = Instant::now();
    loop {
        match look() {
            Ok(found) => return found,
            Err(seen) if started.elapsed() > most => {
                panic!("waited {most:?} for {what}; last seen: {seen:#?}")
            }
            Err(_) => std::thread::sleep(LOOK),
        }
    }
}

/// Where the programs under test were built: beside the test's own folder.
pub fn program(name: &str) -> PathBuf {
    let exe = std::env::current_exe().expect("this test's own path");
    let folder = exe.parent().and_then(std::path::Path::parent).expect("a target folder");
    let path = folder.join(name);
    assert!(path.exists(), "{} is not built: run `cargo xtask test`, which builds all", path.display());
    path
}

/// A plugin as `cargo xtask plugins` builds it.
pub fn plugin(name: &str) -> PathBuf {
    let target = program("hostlerctl").parent().and_then(std::path::Path::parent).map(PathBuf::from);
    let folder = std::env::var_os("HOSTLER_PLUGINS_DIR").map(PathBuf::from);
    let path = folder.or(target.map(|target| target.join("plugins"))).expect("a folder").join(format!("{name}.wasm"));
    assert!(path.exists(), "{} is not built: run `cargo xtask plugins`", path.display());
    path
}

/// A port that nothing listened on a moment ago.
pub fn free_port() -> u16 {
    let [port] = free_ports();
    port
}

/// Held together until all are found: one after the other may be the same.
pub fn free_ports<const N: usize>() -> [u16; N] {
    let held = [(); N].map(|()| std::net::TcpListener::bind(("127.0.0.1", 0)).expect("a free port"));
    held.each_ref().map(|socket| socket.local_addr().expect("its address").port())
}
