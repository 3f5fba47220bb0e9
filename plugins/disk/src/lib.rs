//! How full filesystems are; the worst one speaks for the check.

use hostler_plugin_sdk::units::{Percent, format_bytes};
use hostler_plugin_sdk::{Check, ConfigError, Filesystem, Host, Report, Status, export_check};
use serde::Deserialize;

pub struct Disk;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Options {
    #[serde(default = "default_warn")]
    warn: Percent,
    #[serde(default = "default_critical")]
    critical: Percent,
    #[serde(default)]
    mounts: Vec<String>,
}

fn default_warn() -> Percent {
    Percent(80.0)
}

fn default_critical() -> Percent {
    Percent(90.0)
}

/// Images that are full by nature, a container's layers, and memory.
const NOBODYS_DATA: [&str; 6] = ["squashfs", "iso9660", "erofs", "overlay", "tmpfs", "udf"];

impl Check for Disk {
    type Options = Options;

    fn problems(options: &Options) -> Vec<ConfigError> {
        let mut problems = Vec::new();
        if options.warn > options.critical {
            problems.push(ConfigError::new("/warn", "is above critical, so it would never be reached"));
        }
        for (index, mount) in options.mounts.iter().enumerate() {
            if !mount.starts_with('/') {
                problems.push(ConfigError::new(format!("/mounts/{index}"), "is no absolute path"));
            }
        }
        problems
    }

    fn run(options: &Options, host: &impl Host) -> Result<Report, String> {
        let found = host.filesystems().map_err(|error| error.to_string())?;
        Ok(judge(options, &found))
    }
}

/// What one filesystem says, from 0 to 100.
struct Verdict {
    status: Status,
    /// The share that decides: of space or of inodes, whichever is fuller.
    used: f64,
    line: String,
}

fn share(used: u64, of: u64) -> f64 {
    if of == 0 { 0.0 } else { used as f64 / of as f64 * 100.0 }
}

/// As `df`: what is kept for root counts neither as used nor as there.
fn space_used(one: &Filesystem) -> f64 {
    let used = one.total.saturating_sub(one.free);
    share(used, used + one.available)
}

fn verdict(options: &Options, one: &Filesystem) -> Verdict {
    if one.hung {
        let line = format!("{} does not answer", one.mount);
        return Verdict { status: Status::Unknown, used: 0.0, line };
    }
    let space = space_used(one);
    let inodes = share(one.inodes.saturating_sub(one.inodes_free), one.inodes);
    let used = space.max(inodes);
    let status = if used >= options.critical.0 {
        Status::Critical
    } else if used >= options.warn.0 {
        Status::Warning
    } else {
        Status::Ok
    };
    // Rounded up, as df does: 100 % means full, 99.6 % is not said to be 99.
    let line = if inodes > space {
        format!("{} {} % of inodes used, {} free", one.mount, inodes.ceil(), one.inodes_free)
    } else {
        format!("{} {} % used, {} free", one.mount, space.ceil(), format_bytes(one.available))
    };
    Verdict { status, used, line }
}

/// Which of two states speaks for the check.
fn rank(status: Status) -> u8 {
    match status {
        Status::Ok => 0,
        Status::Warning => 1,
        Status::Unknown => 2,
        Status::Critical => 3,
    }
}

fn watched<'a>(options: &Options, found: &'a [Filesystem]) -> Vec<&'a Filesystem> {
    if !options.mounts.is_empty() {
        return found.iter().filter(|one| options.mounts.contains(&one.mount)).collect();
    }
    let left_out = |one: &Filesystem| {
        let full_by_nature = one.read_only && one.available == 0;
        one.mount != "/" && (full_by_nature || NOBODYS_DATA.contains(&one.fstype.as_str()))
    };
    found.iter().filter(|one| !left_out(one)).collect()
}

fn judge(options: &Options, found: &[Filesystem]) -> Report {
    let watched = watched(options, found);
    let mut verdicts: Vec<Verdict> = watched.iter().map(|one| verdict(options, one)).collect();
    for mount in &options.mounts {
        if !watched.iter().any(|one| one.mount == *mount) {
            let line = format!("{mount} is not mounted");
            verdicts.push(Verdict { status: Status::Critical, used: 100.0, line });
        }
    }
    verdicts.sort_by(|a, b| rank(b.status).cmp(&rank(a.status)).then(b.used.total_cmp(&a.used)));
    let Some(worst) = verdicts.first() else {
        return Report::unknown("no filesystem to look at");
    };
    let details: Vec<&str> = verdicts.iter().map(|one| one.line.as_str()).collect();
    Report::new(worst.status, worst.line.clone())
        .details(details.join("\n"))
        .attr("used_percent", format!("{:.1}", worst.used))
        .attr("filesystems", verdicts.len())
}

export_check!(Disk);

#[cfg(test)]
mod tests {
    use super::*;
    use hostler_plugin_sdk::{FakeHost, read_options};

    const GIB: u64 = 1 << 30;

    fn filesystem(mount: &str, fstype: &str, total: u64, available: u64) -> Filesystem {
        Filesystem {
            mount: mount.to_owned(),
            fstype: fstype.to_owned(),
            total,
            free: available,
            available,
            ..Filesystem::default()
        }
    }

    fn check(config: &str, found: Vec<Filesystem>) -> Report {
        let options = read_options(config).expect(config);
        let host = FakeHost { filesystems: Some(found), ..FakeHost::default() };
        Disk::run(&options, &host).expect("a report")
    }

    #[test]
    fn the_worst_one_speaks() {
        let found = vec![
            filesystem("/", "ext4", 100 * GIB, 62 * GIB),
            filesystem("/data", "xfs", 100 * GIB, 15 * GIB),
            filesystem("/snap/x", "squashfs", GIB, 0),
        ];
        let report = check("{}", found.clone());
        assert_eq!((report.status, report.summary.as_str()), (Status::Warning, "/data 85 % used, 15 GiB free"));
        assert_eq!(report.details, "/data 85 % used, 15 GiB free\n/ 38 % used, 62 GiB free");
        let report = check(r#"{"mounts": ["/"]}"#, found.clone());
        assert_eq!((report.status, report.summary.as_str()), (Status::Ok, "/ 38 % used, 62 GiB free"));
        let report = check(r#"{"warn": 10, "critical": "85%"}"#, found);
        assert_eq!(report.status, Status::Critical);
    }

    #[test]
    fn a_containers_root_is_reported() {
        let found = vec![
            filesystem("/", "overlay", 100 * GIB, 5 * GIB),
            filesystem("/var/lib/docker/overlay2/x/merged", "overlay", 100 * GIB, 5 * GIB),
            filesystem("/dev/shm", "tmpfs", GIB, 0),
        ];
        let report = check("{}", found);
        assert_eq!((report.status, report.details.lines().count()), (Status::Critical, 1));
    }

    #[test]
    fn inodes_run_out_too() {
        let mut one = filesystem("/", "ext4", 100 * GIB, 62 * GIB);
        (one.inodes, one.inodes_free) = (1000, 50);
        let report = check("{}", vec![one]);
        assert_eq!((report.status, report.summary.as_str()), (Status::Critical, "/ 95 % of inodes used, 50 free"));
    }

    #[test]
    fn what_is_kept_for_root_is_not_free() {
        let mut one = filesystem("/", "ext4", 100 * GIB, 0);
        one.free = 5 * GIB;
        assert_eq!(check("{}", vec![one]).summary, "/ 100 % used, 0 B free");
    }

    #[test]
    fn a_hung_mount_is_unknown_unless_another_is_critical() {
        let hung = Filesystem { mount: "/nfs".into(), fstype: "nfs4".into(), hung: true, ..Filesystem::default() };
        let report = check("{}", vec![filesystem("/", "ext4", 100, 50), hung.clone()]);
        assert_eq!((report.status, report.summary.as_str()), (Status::Unknown, "/nfs does not answer"));
        let report = check("{}", vec![filesystem("/", "ext4", 100, 5), hung]);
        assert_eq!(report.status, Status::Critical);
    }

    #[test]
    fn a_mount_that_is_missing_is_critical() {
        let report = check(r#"{"mounts": ["/data"]}"#, vec![filesystem("/", "ext4", 100, 50)]);
        assert_eq!((report.status, report.summary.as_str()), (Status::Critical, "/data is not mounted"));
        assert_eq!(check("{}", Vec::new()).status, Status::Unknown);
    }

    #[test]
    fn options_that_make_no_sense_are_named() {
        let options: Options = read_options(r#"{"warn": 95, "mounts": ["data"]}"#).expect("readable");
        let problems = Disk::problems(&options);
        let pointers: Vec<&str> = problems.iter().map(|one| one.pointer.as_str()).collect();
        assert_eq!(pointers, ["/warn", "/mounts/0"]);
        assert_eq!(read_options::<Options>(r#"{"warn": "120%"}"#).err().map(|e| e.pointer), Some("/warn".into()));
        assert_eq!(read_options::<Options>(r#"{"wran": 1}"#).err().map(|e| e.pointer), Some("/wran".into()));
    }
}
