use super::*;
use hostler_types::spec::{Body, Content, Source, SourceFile, compile};
use std::time::Duration;

const SPEC: &str = r#"service:
  db: {where: role=db, command: bin/db}
  web:
    where: role=web
    command: bin/web --name ${node.name} --key ${secret:key}
    user: web
    env: {ROLE: "${node.label.role}", TOKEN: "${secret:token}", HOMELY: $HOME}
    port: 8080
    replicas: 2
    needs: [db, cache]
    on_needs: restart
    files:
      /etc/web.conf: {from: files/web.conf, validate: "web -t ${file}", change: reload, mode: "0640", with: {host: "${node.name}", pass: "${secret:pass}"}}
    limits: {memory: 1GiB, cpu: 0.5}
    restart:
      factor: 3
      attempts: 7
      within: 5m
    stop: {signal: QUIT, grace: 1m}
    live: [site]
    heal: [restart, page]
  cache: {where: all, command: bin/cache, restart: {delay: 10s, reset: 1m}}
  nginx: {where: all, type: systemd, unit: nginx.service}
  haproxy: {where: all, type: systemd, unit: haproxy.service, restart: {by: hostler}}
  worker: {where: all, type: systemd, command: bin/worker}
  box: {where: all, type: container, image: "shop:${node.label.role}"}
check:
  site: {service: web, plugin: http, with: {url: "http://localhost:8080"}}
secret: {key: {}, pass: {}, token: {}}
"#;

fn objects() -> Vec<Object> {
    let files = vec![SourceFile { path: "web.yaml".into(), text: SPEC.into() }];
    let names = ["host", "pass"].map(str::to_owned).into();
    let contents = [("files/web.conf".to_owned(), Content { digest: "a".repeat(64), size: 5, names })].into();
    let contents = Some(contents);
    let compiled = compile(&Source { files, contents, ..Source::default() }).unwrap_or_else(|error| panic!("{error}"));
    compiled.objects
}

fn assigned(name: &str) -> ServiceAssignment {
    let objects = objects();
    let one = objects.iter().find(|one| one.name.as_str() == name).expect("a service");
    let Body::Service(spec) = &one.body else { panic!("{name} is no service") };
    let known = |word: &str| match word {
        "name" => Some("web1".to_owned()),
        "label.role" => Some("web".to_owned()),
        _ => None,
    };
    assignment(one, spec, |need| need.as_str() != "db", &known)
}

#[test]
fn a_process_with_all_that_can_be_written() {
    insta::assert_debug_snapshot!(assigned("web"));
}

#[test]
fn what_runs_a_service_follows_its_type() {
    assert_eq!(assigned("nginx").runs, Runs::Unit { name: "nginx.service".into(), restarter: Restarter::Unit });
    assert_eq!(assigned("haproxy").runs, Runs::Unit { name: "haproxy.service".into(), restarter: Restarter::Hostler });
    let Runs::Written { name, program } = assigned("worker").runs else { panic!("a written unit") };
    assert_eq!((name.as_str(), program.command.as_str()), ("worker.service", "bin/worker"));
    let Runs::Container { image, program } = assigned("box").runs else { panic!("a container") };
    assert_eq!((image.as_str(), program.command.as_str()), ("shop:web", ""));
}

#[test]
fn a_written_delay_is_the_first_wait_too() {
    let written = assigned("cache").restart;
    let (first, delay) = (Duration::from_secs(10), Duration::from_secs(10));
    assert_eq!((written.first, written.delay, written.reset), (first, delay, Duration::from_secs(60)));
    let none = assigned("nginx").restart;
    assert_eq!(none, RestartPolicy::default());
    let web = assigned("web").restart;
    assert_eq!((web.first, web.delay, web.factor), (Duration::ZERO, DELAY_DEFAULT, 3.0));
    assert_eq!((web.within, web.reset), (Duration::from_secs(300), Duration::from_secs(300)));
}

#[test]
fn rules_name_the_line_where_they_begin() {
    let web = assigned("web").origins;
    let line = |path: &str| web.get(path).map(String::as_str);
    assert_eq!(line(""), Some("web.yaml:3"));
    assert_eq!(line("restart"), Some("web.yaml:16"));
    assert_eq!((line("heal"), line("live")), (Some("web.yaml:21"), Some("web.yaml:20")));
    assert_eq!((line("stop"), line("limits")), (Some("web.yaml:19"), Some("web.yaml:14")));
    assert_eq!(line("ready"), None);
    // All on one line: the service's own says it.
    assert_eq!(assigned("cache").origins, BTreeMap::from([(String::new(), "web.yaml:22".to_owned())]));
}

#[test]
fn secrets_are_those_that_texts_name() {
    let objects = objects();
    let Some(Body::Service(spec)) = objects.iter().find(|one| one.name.as_str() == "web").map(|one| &one.body) else {
        panic!("a service")
    };
    let names: Vec<String> = secrets(spec).iter().map(ToString::to_string).collect();
    assert_eq!(names, ["key", "pass", "token"]);
}

#[test]
fn needs_come_first_and_go_last() {
    let names: Vec<Name> = ["api", "cache", "db", "web"].map(|name| Name::new(name).expect("a name")).into();
    let name = |text: &str| names.iter().find(|name| name.as_str() == text).expect("known");
    let needs = |one: &Name| match one.as_str() {
        "api" => vec![name("web"), name("cache")],
        "web" => vec![name("db")],
        // Each other.
        "db" => vec![name("api")],
        _ => Vec::new(),
    };
    let order = |verb, all: &[&str]| {
        let names = all.iter().map(|one| name(one)).collect();
        in_order(verb, &names, needs).iter().map(|name| name.as_str()).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(order(ServiceVerb::Start, &["api", "cache", "db", "web"]), "db web cache api");
    assert_eq!(order(ServiceVerb::Stop, &["api", "cache", "db", "web"]), "api cache web db");
    // Also through those that are not among them.
    assert_eq!(order(ServiceVerb::Restart, &["api", "db"]), "db api");
}

#[test]
fn specs_in_words() {
    let shown = |name: &str| {
        let one = assigned(name);
        [words::runs(&one.runs), words::restart(&one), words::stop(&one), words::limits(&one)].join("\n")
    };
    insta::assert_snapshot!(["web", "cache", "nginx", "haproxy", "worker", "box"].map(shown).join("\n\n"));
}
