//! Whole systems: planned, applied, changed by two people at once, rolled back.

use hostler_lab::site::Site;
use hostler_lab::{Agent, ControlPlane, Ran};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

const SOON: Duration = Duration::from_secs(15);
/// All that the example's checks run.
const PLUGINS: [&str; 4] = ["http", "disk", "memory", "haproxy"];

fn example() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/revitron")
}

fn copied(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a folder");
    for entry in fs::read_dir(from).expect("the folder") {
        let path = entry.expect("an entry").path();
        let target = to.join(path.file_name().expect("a name"));
        if path.is_dir() {
            copied(&path, &target);
        } else {
            fs::copy(&path, &target).expect("copied");
        }
    }
}

/// The example in a folder of the test's own, to be changed.
fn folder(control_plane: &ControlPlane) -> String {
    let to = control_plane.path("revitron");
    copied(&example(), &to);
    to.display().to_string()
}

fn change(file: &str, from: &str, to: &str) {
    let text = fs::read_to_string(file).expect("the file");
    assert!(text.contains(from), "{from:?} in {file}");
    fs::write(file, text.replace(from, to)).expect("written");
}

fn piped(control_plane: &ControlPlane, text: &str, args: &[&str]) -> Ran {
    let file = control_plane.path("piped.yaml");
    fs::write(&file, text).expect("written");
    let command: Vec<String> = args.iter().map(|arg| format!("'{arg}'")).collect();
    let line =
        format!("'{}' {} < '{}'", hostler_lab::program("hostlerctl").display(), command.join(" "), file.display());
    let mut shell = std::process::Command::new("sh");
    shell.args(["-c", &line]).env("HOSTLER_CONTEXT_FILE", control_plane.context_file());
    hostler_lab::run(&mut shell)
}

#[test]
fn the_example_applies_and_is_then_nothing_to_do() {
    for env in ["prod", "staging"] {
        let control_plane = ControlPlane::with_plugins(&PLUGINS);
        let folder = folder(&control_plane);
        let plan = control_plane.ctl(&["plan", "-f", &folder, "--env", env, "--detailed-exitcode"]);
        assert_eq!(plan.code, Some(3), "{plan:#?}");
        assert!(plan.out.contains("accepted; takes effect in a later version"), "{}", plan.out);
        assert!(plan.out.lines().all(|line| line.chars().count() <= 80), "{}", plan.out);
        let applied = control_plane.ctl_ok(&["apply", "-f", &folder, "--env", env]);
        assert!(applied.contains(&format!("applied revitron ({env}): version 1")), "{applied}");
        let again = control_plane.ctl(&["plan", "-f", &folder, "--env", env, "--detailed-exitcode"]);
        assert_eq!(again.code, Some(0), "{again:#?}");
        assert!(again.out.contains("nothing to do"), "{}", again.out);
        // What is printed can be applied, and changes nothing.
        let printed = control_plane.ctl_ok(&["get", "system", "revitron", "-o", "yaml"]);
        let round = piped(&control_plane, &printed, &["apply", "-f", "-", "--yes"]);
        assert_eq!(round.code, Some(0), "{round:#?}\n{printed}");
        assert!(round.out.contains("nothing to do"), "{round:#?}\n{printed}");
        let full = control_plane.ctl_ok(&["get", "service", "revitron", "--full"]);
        assert!(full.contains("# default"), "{full}");
    }
}

#[test]
fn what_leaves_the_folder_leaves_the_fleet() {
    let (control_plane, site) = (ControlPlane::with_plugins(&["http", "disk"]), Site::started());
    let folder = control_plane.path("shop");
    fs::create_dir_all(&folder).expect("a folder");
    let file = folder.join("shop.yaml");
    let check = |name: &str| {
        format!("  {name}: {{service: shop, plugin: http, every: 1s, with: {{url: \"{}\"}}}}\n", site.url())
    };
    let base = "system: {name: shop}\nservice:\n  shop: {where: role=web, command: bin/shop}\ncheck:\n";
    fs::write(&file, format!("{base}{}{}", check("site"), check("extra"))).expect("written");
    // Loose objects are nobody's.
    control_plane.apply("check: {loose: {where: all, plugin: disk, every: 1s, with: {warn: 99%, critical: 100%}}}");
    let folder = folder.display().to_string();
    control_plane.ctl_ok(&["apply", "-f", &folder]);
    let _agent = Agent::joined(&control_plane, "web1", &["role=web"]);
    let _other = Agent::joined(&control_plane, "db1", &["role=db"]);
    for name in ["site", "extra", "loose"] {
        control_plane.wait_check("web1", name, "passing", SOON);
    }
    // A check of a service runs where the service does.
    assert!(control_plane.check("db1", "site").is_null());
    fs::write(&file, format!("{base}{}", check("site"))).expect("written");
    let refused = control_plane.ctl(&["apply", "-f", &folder]);
    assert_ne!(refused.code, Some(0), "a deletion is asked for: {refused:#?}");
    assert!(refused.err.contains("--yes"), "{refused:#?}");
    let plan = control_plane.ctl_ok(&["plan", "-f", &folder]);
    assert!(plan.contains("stops on 1 node"), "{plan}");
    control_plane.ctl_ok(&["apply", "-f", &folder, "--yes"]);
    assert!(control_plane.check("web1", "extra").is_null());
    assert!(!control_plane.check("web1", "loose").is_null());
    let stolen =
        control_plane.ctl(&["apply", "-f", &spec(&control_plane, "check: {site: {where: all, plugin: disk}}")]);
    assert_eq!(stolen.code, Some(1), "{stolen:#?}");
    assert!(stolen.err.contains("belongs to system shop"), "{stolen:#?}");
    let back = control_plane.ctl_ok(&["system", "rollback", "shop@1", "--yes"]);
    assert!(back.contains("version 3"), "{back}");
    control_plane.wait_check("web1", "extra", "passing", SOON);
    let history = control_plane.ctl_ok(&["system", "history", "shop"]);
    assert!(history.contains("rollback to 1") && history.contains("admin"), "{history}");
}

fn spec(control_plane: &ControlPlane, text: &str) -> String {
    let file = control_plane.path("other.yaml");
    fs::write(&file, text).expect("written");
    file.display().to_string()
}

#[test]
fn of_two_people_at_once_one_wins_and_the_other_is_told() {
    let control_plane = ControlPlane::with_plugins(&PLUGINS);
    let folder = folder(&control_plane);
    control_plane.ctl_ok(&["apply", "-f", &folder, "--env", "prod"]);
    let plan_file = control_plane.path("plan.json").display().to_string();
    let app = format!("{folder}/app.yaml");
    change(&app, "delay: 10s", "delay: 20s");
    control_plane.ctl_ok(&["plan", "-f", &folder, "--env", "prod", "--out", &plan_file]);
    change(&app, "delay: 20s", "delay: 30s");
    control_plane.ctl_ok(&["apply", "-f", &folder, "--env", "prod", "--message", "slower still"]);
    let stale = control_plane.ctl(&["apply", "--plan", &plan_file]);
    assert_eq!(stale.code, Some(1), "{stale:#?}");
    for told in ["admin", "slower still", "service revitron"] {
        assert!(stale.err.contains(told), "{told}: {stale:#?}");
    }
    let kept = control_plane.ctl_ok(&["get", "service", "revitron"]);
    assert!(kept.contains("30s"), "{kept}");
    // After nothing changed, a plan file is as good as a plan.
    change(&app, "delay: 30s", "delay: 40s");
    control_plane.ctl_ok(&["plan", "-f", &folder, "--env", "prod", "--out", &plan_file]);
    control_plane.ctl_ok(&["apply", "--plan", &plan_file]);
    assert!(control_plane.ctl_ok(&["get", "service", "revitron"]).contains("40s"));

    // Many at the same moment: each plan saw the same version.
    let plans: Vec<String> = (0..4)
        .map(|number| {
            change(&app, &format!("delay: {}s", 40 + number), &format!("delay: {}s", 41 + number));
            let file = control_plane.path(&format!("plan{number}.json")).display().to_string();
            control_plane.ctl_ok(&["plan", "-f", &folder, "--env", "prod", "--out", &file]);
            file
        })
        .collect();
    let ran: Vec<Ran> = std::thread::scope(|scope| {
        let control_plane = &control_plane;
        let running: Vec<_> =
            plans.iter().map(|file| scope.spawn(move || control_plane.ctl(&["apply", "--plan", file]))).collect();
        running.into_iter().map(|one| one.join().expect("ran")).collect()
    });
    let won = ran.iter().filter(|one| one.code == Some(0)).count();
    assert_eq!(won, 1, "{ran:#?}");
    assert!(ran.iter().filter(|one| one.code != Some(0)).all(|one| one.err.contains("version 4")), "{ran:#?}");
}

#[test]
fn what_only_the_control_plane_knows_is_told_at_its_line() {
    let control_plane = ControlPlane::with_plugins(&["http"]);
    let file = spec(
        &control_plane,
        "check:\n  a:\n    where: all\n    plugin: htpp\n  b:\n    where: all\n    plugin: http\n    with:\n      ulr: http://x/\n",
    );
    let ran = control_plane.ctl(&["apply", "-f", &file]);
    assert_eq!(ran.code, Some(1), "{ran:#?}");
    for told in ["other.yaml:4:13", "did you mean http?", "other.yaml:9:7", "did you mean url?"] {
        assert!(ran.err.contains(told), "{told}: {}", ran.err);
    }
}

#[test]
fn of_systems_that_claim_one_object_one_gets_it_and_a_crash_forgets_nothing() {
    let mut control_plane = ControlPlane::with_plugins(&["disk"]);
    let files: Vec<String> = (0..12)
        .map(|number| {
            let file = control_plane.path(&format!("claim{number}.yaml"));
            let own = format!("own{number}: {{where: all, plugin: disk}}");
            let text =
                format!("system: {{name: s{number}}}\ncheck:\n  claimed: {{where: all, plugin: disk}}\n  {own}\n");
            fs::write(&file, text).expect("written");
            file.display().to_string()
        })
        .collect();
    let ran: Vec<Ran> = std::thread::scope(|scope| {
        let control_plane = &control_plane;
        let running: Vec<_> =
            files.iter().map(|file| scope.spawn(move || control_plane.ctl(&["apply", "-f", file]))).collect();
        running.into_iter().map(|one| one.join().expect("ran")).collect()
    });
    let won = ran.iter().filter(|one| one.code == Some(0)).count();
    assert_eq!(won, 1, "{ran:#?}");
    assert!(
        ran.iter().filter(|one| one.code != Some(0)).all(|one| one.err.contains("belongs to system s")),
        "{ran:#?}"
    );
    let before = (control_plane.ctl_ok(&["get", "all"]), control_plane.ctl_json(&["system", "ls"]));
    assert_eq!(before.1.as_array().map(Vec::len), Some(1), "{:#}", before.1);
    control_plane.kill();
    control_plane.start();
    let after = (control_plane.ctl_ok(&["get", "all"]), control_plane.ctl_json(&["system", "ls"]));
    assert_eq!(before, after);
}
