//! What services print, and the files that they write themselves, are begun anew when
//! they are large or old.

use super::runtime::{Runtime, is_own, program};
use crate::orders::Orders;
use hostler_agent_core::supervision::Key;
use hostler_executor::protocol::Act;
use hostler_executor::rotate::Due;
use hostler_types::ServiceAssignment;
use hostler_types::service::LogPolicy;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// What is printed at 100 MB/s is far over its limit by then, and no disk is full.
const LOOK_EVERY: Duration = Duration::from_secs(30);
/// Of what is printed, where the spec says nothing: with the old ones compressed,
/// hardly more of the disk than this.
const ROTATE_DEFAULT_BYTES: u64 = 10 * 1024 * 1024;

#[derive(Clone, Debug, PartialEq)]
struct Log {
    path: PathBuf,
    due: Due,
    keep: u32,
    compress: bool,
    /// The agent can see how large it is.
    seen: bool,
}

pub async fn rotate(runtime: Runtime, mut orders: watch::Receiver<Option<Arc<Orders>>>, stop: CancellationToken) {
    let mut told: BTreeMap<PathBuf, String> = BTreeMap::new();
    let has_services =
        |orders: &Option<Arc<Orders>>| orders.as_ref().is_some_and(|one| !one.desired.services.is_empty());
    loop {
        // A host without services is not woken for them.
        let waited = async {
            drop(orders.wait_for(has_services).await.ok()?);
            tokio::time::sleep(LOOK_EVERY).await;
            Some(())
        };
        let Some(Some(())) = stop.run_until_cancelled(waited).await else { return };
        let Some(orders) = orders.borrow().clone() else { continue };
        let logs: Vec<Log> =
            orders.desired.services.iter().flat_map(|service| logs(service, |key| runtime.output_of(key))).collect();
        drop(orders);
        told.retain(|path, _| logs.iter().any(|log| log.path == *path));
        for log in logs {
            if log.seen && !log.due.of(&log.path) {
                continue;
            }
            let Log { path, due, keep, compress, .. } = log;
            let act = Act::RotateOutput {
                path: path.clone(),
                keep,
                compress,
                over_bytes: due.over_bytes,
                older_s: due.older.map(|older| older.as_secs()),
            };
            match runtime.done(act).await {
                Ok(_) => drop(told.remove(&path)),
                // Said once, for as long as it is so.
                Err(trouble) => {
                    let words = trouble.into_words();
                    if told.get(&path) != Some(&words) {
                        tracing::warn!(path = %path.display(), words, "a log can't be rotated, and goes on growing");
                        told.insert(path, words);
                    }
                }
            }
        }
    }
}

fn logs(service: &ServiceAssignment, output_of: impl Fn(&Key) -> PathBuf) -> Vec<Log> {
    let Some(program) = program(service) else { return Vec::new() };
    let LogPolicy { path, rotate_bytes, every, keep, compress } = program.logs.clone();
    let said = Due { over_bytes: rotate_bytes, older: every };
    let log = |path, due, seen| Log { path, due, keep, compress, seen };
    let mut logs = Vec::new();
    if is_own(Some(service)) {
        let bounded = Due { over_bytes: Some(rotate_bytes.unwrap_or(ROTATE_DEFAULT_BYTES)), ..said };
        let keys = (0..service.replicas).map(|replica| Key { service: service.name.clone(), replica });
        logs.extend(keys.map(|key| log(output_of(&key), bounded, true)));
    }
    // Its own files may have a master already: they are left alone unless the spec says when.
    if let Some(path) = path.filter(|_| said != Due::default()) {
        let home = Path::new(program.home.as_deref().unwrap_or("/"));
        logs.push(log(home.join(path), said, false));
    }
    logs
}

#[cfg(test)]
mod tests {
    use super::*;
    use hostler_types::service::{Program, Runs};

    fn service(runs: Runs) -> ServiceAssignment {
        ServiceAssignment { replicas: 2, ..ServiceAssignment::new("shop".parse().unwrap(), runs) }
    }

    fn of(runs: Runs) -> Vec<Log> {
        logs(&service(runs), |key| format!("/out/{}-{}.log", key.service, key.replica).into())
    }

    #[test]
    fn what_is_printed_is_bounded_by_default() {
        let found = of(Runs::Process(Program::default()));
        let paths: Vec<_> = found.iter().map(|log| log.path.to_str().unwrap()).collect();
        assert_eq!(paths, ["/out/shop-0.log", "/out/shop-1.log"]);
        assert!(found.iter().all(|log| log.due.over_bytes == Some(ROTATE_DEFAULT_BYTES) && log.compress && log.seen));
    }

    #[test]
    fn own_files_are_rotated_only_as_the_spec_says() {
        let day = Some(Duration::from_secs(86_400));
        let mut program = Program { home: Some("/opt/shop".into()), ..Program::default() };
        program.logs.path = Some("logs/*.log".into());
        assert_eq!(of(Runs::Written { name: "shop.service".into(), program: program.clone() }), []);

        program.logs.every = day;
        program.logs.keep = 52;
        let found = of(Runs::Written { name: "shop.service".into(), program });
        let due = Due { over_bytes: None, older: day };
        let expected = Log { path: "/opt/shop/logs/*.log".into(), due, keep: 52, compress: true, seen: false };
        assert_eq!(found, [expected], "systemd keeps what such a unit prints");
    }
}
