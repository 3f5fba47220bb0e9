//! People are told: of each thing once, whatever their servers do.

use hostler_lab::receivers::{Hook, MAIL_PASSWORD, MailServer};
use hostler_lab::site::Site;
use hostler_lab::{Agent, ControlPlane, wait_for};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::time::Duration;

const SOON: Duration = Duration::from_secs(20);
/// A try may last half a minute, and the next one comes after a pause.
const WITH_TRIES: Duration = Duration::from_secs(120);
const KEY: &str = "the webhook's key";

fn site_checks(sites: &[(&str, &Site)]) -> String {
    let check = |(name, site): &(&str, &Site)| {
        format!(
            "  {name}: {{where: all, plugin: http, every: 1s, fails: 1, passes: 1, timeout: 2s, with: {{url: \"{}\"}}}}\n",
            site.url()
        )
    };
    format!("check:\n{}", sites.iter().map(check).collect::<String>())
}

fn notifiers(mail: &MailServer, hook: &Hook) -> String {
    format!(
        "secret: {{smtp: {{}}, hook: {{}}}}
notifier:
  ops:
    default: true
    plugin: smtp
    with: {{server: \"localhost:{}\", to: admin@example.com, password: \"${{secret:smtp}}\"}}
  hook: {{default: true, plugin: webhook, with: {{url: \"{}\", secret: \"${{secret:hook}}\"}}}}
",
        mail.port,
        hook.url()
    )
}

/// Trusts the mail server, knows the secrets, and tells of lost nodes soon.
fn control_plane(mail: &MailServer, more: &[&str]) -> ControlPlane {
    let mut made = ControlPlane::new();
    made.settings = ["--page-lost-after", "5s"].into_iter().chain(more.iter().copied()).map(str::to_owned).collect();
    made.trusts = Some(mail.authority());
    made.start();
    for (name, value) in [("smtp", MAIL_PASSWORD), ("hook", KEY)] {
        let file = made.path(name);
        fs::write(&file, value).unwrap();
        made.ctl_ok(&["secret", "set", name, "--file", file.to_str().unwrap()]);
    }
    made.ctl_ok(&["plugin", "push", &hostler_lab::plugin("http").display().to_string()]);
    made
}

/// What each server took: a title, and the ids under which it came.
fn by_mail(mail: &MailServer) -> BTreeMap<String, BTreeSet<String>> {
    let mut titles: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for one in mail.mails() {
        let text = |key: &str| one[key].as_str().unwrap_or_default().to_owned();
        let title = text("subject").trim_start_matches("[hostler] ").to_owned();
        titles.entry(title).or_default().insert(text("id"));
    }
    titles
}

fn by_hook(hook: &Hook) -> BTreeMap<String, BTreeSet<String>> {
    let mut titles: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for one in hook.taken().iter().filter(|got| got.method == "POST") {
        let title = one.json()["title"].as_str().unwrap_or_default().to_owned();
        titles.entry(title).or_default().insert(one.headers["idempotency-key"].clone());
    }
    titles
}

fn wait_title(what: &str, most: Duration, title: &str, look: impl Fn() -> BTreeMap<String, BTreeSet<String>>) {
    wait_for(&format!("{what} to be told that {title}"), most, || {
        let seen = look();
        if seen.keys().any(|found| found.starts_with(title)) { Ok(()) } else { Err(seen) }
    });
}

/// Nothing, until there is such an alert.
fn shown(control_plane: &ControlPlane, alert: &str) -> Value {
    let ran = control_plane.ctl(&["alert", "show", alert, "-o", "json"]);
    serde_json::from_str(&ran.out).unwrap_or_default()
}

#[test]
fn every_notice_arrives_once_to_the_eye_whatever_their_servers_do() {
    let (mut mail, hook) = (MailServer::started("starttls"), Hook::started());
    let mut control_plane = control_plane(&mail, &[]);
    let sites: Vec<Site> = (0..4).map(|_| Site::started()).collect();
    let names = ["up", "down", "slow", "rejecting"];
    let checks: Vec<(&str, &Site)> = names.into_iter().zip(&sites).collect();
    control_plane.apply(&format!("{}{}", notifiers(&mail, &hook), site_checks(&checks)));
    let _agent = Agent::joined(&control_plane, "web1", &[]);
    for name in names {
        control_plane.wait_check("web1", name, "passing", SOON);
    }
    let tested = control_plane.ctl_ok(&["alert", "test", "ops"]);
    assert!(
        tested.contains("taken by admin@example.com by localhost") && tested.contains("250 2.0.0 taken"),
        "{tested}"
    );
    let told_mail = |title: &str| wait_title("the mail server", WITH_TRIES, title, || by_mail(&mail));
    let told_hook = |title: &str| wait_title("the hook", WITH_TRIES, title, || by_hook(&hook));

    // All is well.
    sites[0].answer(503);
    told_mail("up on web1 is critical");
    told_hook("up on web1 is critical");
    let got = hook.taken().pop().unwrap();
    let signed = [got.headers["hostler-timestamp"].as_bytes(), b".", &got.body].concat();
    let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, KEY.as_bytes());
    let signature = data_encoding::HEXLOWER.decode(&got.headers["hostler-signature"].as_bytes()[7..]).unwrap();
    ring::hmac::verify(&key, &signed, &signature).expect("the hook can trust it");
    let first = mail.mails().pop().unwrap();
    assert_eq!((&first["login"], &first["tls"]), (&"admin@example.com".into(), &true.into()));
    assert!(first["body"].as_str().unwrap().contains("hostlerctl check show up --node web1"), "{first}");

    // Both down; the control plane is killed meanwhile.
    mail.kill();
    hook.down(true);
    sites[1].answer(503);
    wait_for("both to be tried", WITH_TRIES, || {
        let value = shown(&control_plane, "web1/down");
        let waiting = value["waiting"].as_array().cloned().unwrap_or_default();
        let tried = waiting.iter().filter(|one| one["attempts"].as_u64() > Some(0)).count();
        if tried == 2 { Ok(()) } else { Err(value) }
    });
    control_plane.kill();
    control_plane.start();
    mail.start();
    hook.down(false);
    wait_title("the mail server", WITH_TRIES, "down on web1 is critical", || by_mail(&mail));
    told_hook("down on web1 is critical");

    // A slow mail server holds up nobody else, and gets the same mail again.
    mail.behave("slow");
    sites[2].answer(503);
    wait_title("the hook", Duration::from_secs(12), "slow on web1 is critical", || by_hook(&hook));
    std::thread::sleep(Duration::from_secs(3));
    control_plane.kill();
    control_plane.start();
    wait_for("a try to be given up", WITH_TRIES, || {
        let shown = shown(&control_plane, "web1/slow");
        if shown["waiting"][0]["attempts"].as_u64() > Some(0) { Ok(()) } else { Err(shown) }
    });
    mail.behave("ok");
    wait_title("the mail server", WITH_TRIES, "slow on web1 is critical", || by_mail(&mail));

    // 451 and 550: either may be a mistake that somebody mends.
    mail.behave("later");
    hook.answer(500);
    sites[3].answer(503);
    for (mails, status) in [("451", 500), ("550", 403)] {
        wait_for("a refusal", WITH_TRIES, || {
            let shown = shown(&control_plane, "web1/rejecting");
            let text = shown["waiting"].to_string();
            if text.contains(mails) && text.contains(&format!("{status} ok")) { Ok(()) } else { Err(shown) }
        });
        mail.behave("reject");
        hook.answer(403);
    }
    let refused = control_plane.ctl(&["alert", "test", "ops"]);
    assert_eq!(refused.code, Some(1), "{refused:?}");
    assert!(refused.err.contains("550") && refused.err.contains("not for us"), "{refused:?}");
    control_plane.kill();
    mail.behave("ok");
    hook.answer(200);
    control_plane.start();
    wait_title("the mail server", WITH_TRIES, "rejecting on web1 is critical", || by_mail(&mail));
    told_hook("rejecting on web1 is critical");

    // And all is well again.
    for site in &sites {
        site.answer(200);
    }
    for name in names {
        let title = format!("{name} on web1 is well again");
        wait_title("the mail server", WITH_TRIES, &title, || by_mail(&mail));
        told_hook(&title);
    }
    wait_for("nothing to be on the way", WITH_TRIES, || {
        let told = control_plane.ctl_ok(&["alert", "ls"]);
        if told == "nothing is wrong.\n" { Ok(()) } else { Err(told) }
    });
    for titles in [by_mail(&mail), by_hook(&hook)] {
        for (title, ids) in &titles {
            assert_eq!(ids.len(), 1, "{title} came under {ids:?}");
        }
        let about_sites = titles.keys().filter(|title| title.contains(" on web1 is ")).count();
        assert_eq!(about_sites, 8, "{titles:#?}");
    }
    let events = control_plane.events();
    let told = events
        .iter()
        .filter(|event| event["kind"] == "notice")
        .filter(|event| event["message"].as_str().unwrap_or_default().starts_with("told ops"));
    assert_eq!(told.count(), 8, "{events:#?}");
}

#[test]
fn a_lost_host_is_one_notice_and_200_of_them_are_one_too() {
    let (mail, hook) = (MailServer::started("tls"), Hook::started());
    let control_plane = control_plane(&mail, &[]);
    let spec = notifiers(&mail, &hook).replace("with: {server", "with: {tls: tls, server");
    control_plane.apply(&spec);
    let mut agent = Agent::joined(&control_plane, "web1", &[]);
    control_plane.wait_node("web1", "ready", SOON);
    agent.kill();
    wait_title("the mail server", Duration::from_secs(40), "web1 is lost", || by_mail(&mail));
    agent.start();
    wait_title("the mail server", SOON, "web1 is back after", || by_mail(&mail));
    wait_title("the hook", SOON, "web1 is back after", || by_hook(&hook));
    assert_eq!(mail.mails().len(), 2, "{:#?}", mail.mails());

    crate::refusals::come_and_go(&control_plane, 200);
    wait_title("the mail server", Duration::from_secs(60), "most of the fleet is lost", || by_mail(&mail));
    // Nothing else: those that had been about to be told of one by one.
    let shown = wait_for("all to be seen as lost", Duration::from_secs(30), || {
        let shown = control_plane.ctl_json(&["alert", "ls"]);
        if shown[0]["summary"].as_str().unwrap_or_default().starts_with("200 of 201") { Ok(shown) } else { Err(shown) }
    });
    std::thread::sleep(Duration::from_secs(10));
    assert_eq!(shown.as_array().map(Vec::len), Some(1), "{shown}");
    assert_eq!(mail.mails().len(), 3, "{:#?}", mail.mails());
    assert_eq!(by_hook(&hook).len(), 3, "{:#?}", by_hook(&hook));
}

#[test]
fn a_storm_is_one_notice_and_silences_and_acks_are_kept() {
    let (mail, hook, site) = (MailServer::started("starttls"), Hook::started(), Site::started());
    let beats = Hook::started();
    let heartbeat = beats.url();
    let mut control_plane = control_plane(&mail, &["--heartbeat-url", &heartbeat, "--heartbeat-every", "1s"]);
    let names: Vec<String> = (10..40).map(|number| format!("site{number}")).collect();
    let checks: Vec<(&str, &Site)> = names.iter().map(|name| (name.as_str(), &site)).collect();
    let slack = format!("  chat: {{plugin: slack, with: {{url: \"{}\"}}}}\n", hook.url());
    let spec = notifiers(&mail, &hook).replace("  hook: {default: true, ", "  hook: {") + &slack;
    control_plane.apply(&format!("{spec}{}", site_checks(&checks)));
    let _agent = Agent::joined(&control_plane, "web1", &["role=web"]);
    control_plane.wait_check("web1", "site39", "passing", SOON);
    let chat = control_plane.ctl_ok(&["alert", "test", "chat"]);
    assert!(chat.contains("200 ok"), "{chat}");
    assert!(hook.taken()[0].json()["text"].as_str().is_some_and(|text| text.starts_with("*a test of notifier chat*")));

    control_plane
        .ctl_ok(&["alert", "silence", "-l", "role=web", "--check", "site10", "--for", "1h", "--reason", "works"]);
    site.answer(503);
    for name in &names {
        control_plane.wait_check("web1", name, "critical", SOON);
    }
    wait_title("the mail server", SOON, "", || by_mail(&mail));
    let storm = mail.mails().remove(0);
    assert!(storm["subject"].as_str().unwrap().ends_with("notices at once"), "{storm}");
    assert!(!storm["body"].as_str().unwrap().contains("site10 on web1"), "{storm}");

    control_plane.ctl_ok(&["alert", "ack", "web1/site11", "--for", "2h", "--reason", "on it"]);
    control_plane.kill();
    control_plane.start();
    let alerts = wait_for("the alerts that were kept", SOON, || {
        let alerts = control_plane.ctl_json(&["alert", "ls"]);
        if alerts.as_array().map(Vec::len) == Some(30) { Ok(alerts) } else { Err(alerts) }
    });
    let find = |name: &str| alerts.as_array().unwrap().iter().find(|one| one["name"] == name).cloned().unwrap();
    assert_eq!(find("web1/site11")["acked_by"], "admin");
    let silence = find("web1/site10")["silence"].as_str().unwrap().to_owned();
    assert_eq!(find("web1/site10")["told"], serde_json::json!([]));
    let refused = control_plane.ctl(&["alert", "ack", "web1/site1"]);
    assert!(refused.err.contains("there is no alert \"web1/site1\"; did you mean web1/site1"), "{refused:?}");
    control_plane.ctl_ok(&["alert", "unsilence", &silence]);
    wait_for("the end of the silence to be told", Duration::from_secs(90), || {
        let mails = mail.mails();
        if mails.iter().any(|one| one["body"].as_str().unwrap().contains("site10 on web1 is critical")) {
            return Ok(());
        }
        Err(mails)
    });
    assert!(mail.mails().len() <= 3, "a storm, perhaps its last ones, and what was silenced: {:#?}", mail.mails());
    assert!(beats.got().len() >= 5, "{}", beats.got().len());
    control_plane.kill();
    let before = beats.got().len();
    std::thread::sleep(Duration::from_secs(3));
    assert!(beats.got().len() <= before + 1, "a dead control plane says nothing");
}
