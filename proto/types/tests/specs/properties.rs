//! Bodies made up from what each kind says of itself: those that are taken are
//! printed, in JSON and in YAML, and read back as the same.

use crate::random::Rng;
use crate::strings::TRICKY;
use hostler_types::Name;
use hostler_types::spec::{
    Body, Detail, Form, Json, Kind, Need, Object, Record, Scalar, Source, SourceFile, compile, read_json, write_yaml,
};
use hostler_types::units::{format_duration, parse_duration};
use proptest::prelude::*;
use serde_json::{Map, Value, json};
use std::time::Duration;

fn name(rng: &mut Rng) -> String {
    let first = *rng.pick(&["a", "0", "web", "no", "on", "null", "true", "1e3", "0x1f", "12", "shop", "y"]);
    let last = *rng.pick(&["", "", "-1", ".b", "_c", "5"]);
    format!("{first}{last}")
}

fn text(rng: &mut Rng) -> String {
    let text = any_text(rng);
    // Only whoever applies from a folder has an environment.
    if text.contains("${env:") { name(rng) } else { text }
}

fn any_text(rng: &mut Rng) -> String {
    match rng.below(4) {
        0 => rng.pick(TRICKY).to_string(),
        1 => rng.pick(&["${secret:s}", "a ${node.name} b", "$${HOME}", "${node.label.x}", "$HOME"]).to_string(),
        2 => {
            (0..=rng.below(60)).filter_map(|_| char::from_u32(u32::try_from(rng.within(0, 0x2fff)).unwrap())).collect()
        }
        _ => rng.pick(&["bin/server --port 8080", "a", "1.2.0", "a: b # c", "long ".repeat(40).as_str()]).to_string(),
    }
}

fn not_empty(text: String) -> String {
    if text.is_empty() { "x".to_owned() } else { text }
}

fn duration(scalar: &Scalar, rng: &mut Rng) -> String {
    let ms = |bound: &Option<String>, other: u64| {
        bound.as_ref().map_or(other, |text| u64::try_from(parse_duration(text).unwrap().as_millis()).unwrap())
    };
    let (least, most) = (ms(&scalar.least, 0), ms(&scalar.most, 10_000_000_000));
    let span = match rng.below(4) {
        0 => least,
        1 => most,
        // Whole seconds, as people write them.
        2 => (rng.within(least, most) / 1000 * 1000).max(least),
        _ => rng.within(least, most),
    };
    match rng.below(3) {
        0 => format!("{span}ms"),
        _ => format_duration(Duration::from_millis(span)),
    }
}

fn cron(rng: &mut Rng) -> String {
    let minute = rng.pick(&["0", "*/5", "1-30/7", "0,15,59", "*"]);
    let hour = rng.pick(&["0", "2", "8-18", "23", "*"]);
    let day = rng.pick(&["*", "1", "1-7", "31"]);
    let month = rng.pick(&["*", "jan", "1-12", "JAN,jul"]);
    let weekday = rng.pick(&["*", "sun", "0", "7", "mon-fri", "1,3"]);
    format!("{minute} {hour} {day} {month} {weekday}")
}

fn number(rng: &mut Rng) -> Value {
    let halves = f64::from(u32::try_from(rng.below(8192)).unwrap()) / 2.0;
    rng.pick(&[
        json!(0),
        json!(1),
        json!(-3),
        json!(2.5),
        json!(0.1),
        json!(1e300),
        json!(-1.5e-300),
        json!(1e15),
        json!(123_456_789_012_345_678_u64),
        json!(halves),
    ])
    .clone()
}

/// A value that the scalar takes.
fn scalar(scalar: &Scalar, rng: &mut Rng) -> Value {
    let noun = scalar.noun;
    match scalar.json {
        Json::Flag => rng.chance(50).into(),
        Json::Whole => {
            let bound = |bound: &Option<String>, other| bound.as_ref().map_or(other, |text| text.parse().unwrap());
            let (least, most) = (bound(&scalar.least, 0), bound(&scalar.most, u64::from(u32::MAX)));
            match rng.below(4) {
                0 => least.into(),
                1 => most.into(),
                _ => rng.within(least, most.min(least + 20)).into(),
            }
        }
        Json::Number if noun.contains("processors") => {
            rng.pick(&[json!(0.5), json!(6), json!(0.01), json!(4096)]).clone()
        }
        Json::Number => number(rng),
        Json::Text if noun.starts_with("a duration") => duration(scalar, rng).into(),
        Json::Text if noun.starts_with("a size") => {
            format!("{}{}", rng.below(5000), rng.pick(&["B", "KiB", ".5MiB", "GiB", ".125TiB"])).into()
        }
        Json::Text if noun.starts_with("a share") => format!("{}{}%", rng.below(101), rng.pick(&["", ".0"])).into(),
        Json::Text if noun.contains("cron") => cron(rng).into(),
        Json::Text if noun.contains("selector") => rng
            .pick(&["all", "role=app", "role in (a, b),!spare", "zone not in (1,2)", "x!=é", "no", "role==1e3"])
            .to_string()
            .into(),
        Json::Text if noun.contains("time zone") => rng.pick(&["UTC", "Europe/Berlin", "Etc/GMT+5"]).to_string().into(),
        Json::Text if noun.contains("files/") => format!(
            "files/{}@sha256:{}",
            rng.pick(&["x", "a/b.conf", "a b", "ü", "#", "a: b"]),
            rng.pick(&["0a", "ff", "00", "12", "1e"]).repeat(32)
        )
        .into(),
        Json::Text if noun.contains("scheme") => rng
            .pick(&["https://*.example.com", "http://127.0.0.1:*", "http://example.com:8080", "https://*"])
            .to_string()
            .into(),
        Json::Text if noun.contains("SHA-256") => {
            rng.pick(&["0a", "ff", "12", "1e"]).repeat(rng.pick(&[16, 32, 20]).to_owned()).into()
        }
        Json::Text if noun.contains("host and port") => {
            rng.pick(&["127.0.0.1:6379", "*.db:5432", "[::1]:*", "unix:/run/*.sock"]).to_string().into()
        }
        Json::Text if noun.contains("a name or an address") => {
            rng.pick(&["*", "*.example.com", "10.0.0.1", "db"]).to_string().into()
        }
        Json::Text if noun.contains("/var/log") => rng.pick(&["/var/log/*.log", "/srv/**/x", "/a"]).to_string().into(),
        Json::Text if noun.contains("a name and a program") => {
            rng.pick(&["ready: /usr/bin/pg_isready -h *", "x: /bin/x ...", "y: /y"]).to_string().into()
        }
        Json::Text if noun.contains("perhaps with *") => rng.pick(&["nginx*", "*", "a@1.service"]).to_string().into(),
        Json::Text if noun == "a name" && scalar.pattern.is_some() => name(rng).into(),
        Json::Text => text(rng).into(),
    }
}

fn anything(depth: usize, rng: &mut Rng) -> Value {
    match rng.below(if depth == 0 { 6 } else { 8 }) {
        0 => Value::Null,
        1 => rng.chance(50).into(),
        2 => number(rng),
        3 => json!(rng.next()),
        4 | 5 => text(rng).into(),
        6 => (0..rng.below(5)).map(|_| anything(depth - 1, rng)).collect(),
        _ => Value::Object((0..rng.below(5)).map(|_| (text(rng), anything(depth - 1, rng))).collect()),
    }
}

fn key(of: &Scalar, field: &str, rng: &mut Rng) -> String {
    match of.noun {
        "a label" => rng.pick(&["role", "A_b-9", "no", "1e3", "123", "_", "true"]).to_string(),
        "a name" if of.pattern.is_some() => name(rng),
        // Of a service, on the host; of a release, in it.
        _ if field == "files" => format!("/etc/{}", rng.pick(&["a", "b c", "ü.conf", "x: y", "\"", "no"])),
        _ => text(rng),
    }
}

/// A value that the form takes, in a field of that name.
fn value(form: &Form, field: &str, rng: &mut Rng) -> Value {
    match form {
        Form::Scalar(of) => match (field, scalar(of, rng)) {
            ("home" | "path", Value::String(text)) => format!("/opt/{text}").into(),
            ("unit", Value::String(text)) => format!("{text}.service").into(),
            // Text is not empty, but for a variable's, which is one of several forms.
            (field, Value::String(text)) if field != "|" => not_empty(text).into(),
            (_, other) => other,
        },
        Form::Words(words) => rng.pick(words).word.into(),
        Form::Reference(_) => name(rng).into(),
        Form::List(of) => (0..rng.below(4)).map(|_| value(of, field, rng)).collect(),
        Form::Map { key: of, value: inner } => {
            let pairs = (0..rng.below(4)).map(|_| {
                let word = key(of, field, rng);
                let value = match field {
                    // Labels have no blanks.
                    "labels" => {
                        rng.pick(&[json!("a"), json!(12), json!(true), json!("010"), json!("no"), json!("ü#")]).clone()
                    }
                    _ => value(inner, "entry", rng),
                };
                (word, value)
            });
            Value::Object(pairs.collect())
        }
        Form::Record(record) => record_value(record(), rng),
        Form::Either(forms) => match rng.pick(forms) {
            // What is one of several says one thing at a time.
            Form::Record(record) => {
                let field = rng.pick(&record().fields);
                json!({ field.key: value(&field.form, field.key, rng) })
            }
            Form::Scalar(of) if of.noun == "text" => value(&Form::Scalar(of.clone()), "|", rng),
            other => value(other, field, rng),
        },
        Form::Any => anything(3, rng),
    }
}

fn record_value(record: &Record, rng: &mut Rng) -> Value {
    let chosen: Vec<&str> = record.one_of.iter().map(|group| *rng.pick(group)).collect();
    let often = *rng.pick(&[10, 40, 80]);
    if let Some(short) = record.short.filter(|_| rng.chance(30)) {
        let field = record.fields.iter().find(|field| field.key == short).unwrap();
        return value(&field.form, field.key, rng);
    }
    let mut map = Map::new();
    for field in &record.fields {
        let grouped = record.one_of.iter().any(|group| group.contains(&field.key));
        let written = match &field.need {
            _ if grouped => chosen.contains(&field.key),
            Need::Required => true,
            Need::Optional | Need::Default(_) => rng.chance(often),
        };
        if written {
            let value = match &field.need {
                // What is written and is the default is left out of what is printed.
                Need::Default(default) if rng.chance(20) => default.clone(),
                _ => value(&field.form, field.key, rng),
            };
            map.insert(field.key.to_owned(), value);
        }
    }
    if map.contains_key("forward_only") || map.contains_key("undo") {
        mend_migrate(&mut map);
    }
    Value::Object(map)
}

fn mend_migrate(map: &mut Map<String, Value>) {
    let forward_only = !map.contains_key("undo");
    map.insert("forward_only".to_owned(), forward_only.into());
}

/// Most of what the rules between fields would refuse is put right.
fn mend(kind: Kind, map: &mut Map<String, Value>, rng: &mut Rng) {
    let set = |map: &mut Map<String, Value>, key: &str, value: Value| drop(map.insert(key.to_owned(), value));
    match kind {
        Kind::Service => match map.get("type").and_then(Value::as_str) {
            Some("container") => {
                map.remove("unit");
                set(map, "image", "a/b:1.10".into());
            }
            Some("systemd") => {
                map.remove("image");
                set(map, "unit", "a.service".into());
            }
            _ => {
                map.remove("unit");
                map.remove("image");
                set(map, "command", not_empty(rng.pick(&["a b", "no", "- a", "10"]).to_string()).into());
            }
        },
        Kind::Window => {
            map.remove("cutoff");
        }
        Kind::Backup => set(map, "command", "pg_dump shop".into()),
        Kind::Task => {
            let steps = map.get_mut("steps").and_then(Value::as_array_mut).unwrap();
            steps.extend([json!("drain"), json!({ "run": "a" }), json!("undrain")]);
        }
        Kind::Alert => {
            let (logs, metric) = (map.contains_key("logs"), map.contains_key("metric"));
            if logs || metric {
                map.remove("state");
                set(map, "above", json!("1.5%"));
            } else {
                map.remove("above");
                map.remove("below");
            }
            if logs {
                set(map, "within", "10m".into());
            } else {
                map.remove("within");
                map.remove("level");
            }
        }
        _ => {}
    }
}

fn body(kind: Kind, rng: &mut Rng) -> Value {
    let mut body = record_value(kind.record(), rng);
    if rng.chance(90)
        && let Value::Object(map) = &mut body
    {
        mend(kind, map, rng);
    }
    body
}

/// The object, where the body is taken; what it prints as JSON reads as the same.
fn taken(kind: Kind, name: &str, body: &Value) -> Result<Object, String> {
    let object = read_json(kind.word(), name, &body.to_string(), "").map_err(|problems| problems.to_string())?;
    for full in [false, true] {
        let json = object.body.to_json(full).to_string();
        let again = read_json(kind.word(), name, &json, "").unwrap_or_else(|error| panic!("{error}\n{json}\n{body}"));
        assert_eq!(again.body, object.body, "full: {full}\n{json}\n{body}");
    }
    Ok(object)
}

fn bodies(objects: &[Object]) -> Vec<(Kind, &Name, &Body)> {
    let mut bodies: Vec<(Kind, &Name, &Body)> = objects.iter().map(|one| (one.kind(), &one.name, &one.body)).collect();
    bodies.sort_by_key(|(kind, name, _)| (*kind, *name));
    bodies
}

/// What is written as YAML reads as the same objects.
fn survive(objects: &[Object]) {
    for detail in [Detail::Short, Detail::Full] {
        let text = write_yaml(objects, detail);
        let files = vec![SourceFile { path: "printed.yaml".into(), text: text.clone() }];
        let again = compile(&Source { files, ..Source::default() }).unwrap_or_else(|error| panic!("{error}\n{text}"));
        assert_eq!(bodies(&again.objects), bodies(objects), "{text}");
    }
}

#[test]
fn every_kind_reads_what_it_prints() {
    for kind in Kind::ALL {
        let mut rng = Rng(*kind as u64);
        let mut objects = Vec::new();
        let mut refused = Vec::new();
        for number in 0..300 {
            let body = body(*kind, &mut rng);
            // A system is called as its body says.
            let name = body.get("name").and_then(Value::as_str).map_or_else(|| format!("o{number}"), str::to_owned);
            match taken(*kind, &name, &body) {
                Ok(object) => objects.push(object),
                Err(problems) => refused.push(problems),
            }
        }
        assert!(objects.len() >= 30, "{kind}: {} of 300; refused: {}", objects.len(), refused.join("\n"));
        if *kind == Kind::System {
            // One a folder; and references are looked for where there is one.
            objects.iter().for_each(|object| survive(std::slice::from_ref(object)));
        } else {
            objects.chunks(10).for_each(survive);
        }
        println!("{kind}: {} of 300", objects.len());
    }
}

/// Every field of every kind is in some body that is taken, and is not lost.
#[test]
fn no_field_is_lost() {
    for kind in Kind::ALL {
        let mut rng = Rng(7);
        let mut missing: Vec<&str> = kind.record().fields.iter().map(|field| field.key).collect();
        for _ in 0..300 {
            let body = body(*kind, &mut rng);
            let Ok(object) = taken(*kind, "a", &body) else { continue };
            let (short, full) = (object.body.to_json(false), object.body.to_json(true));
            for field in &kind.record().fields {
                let Some(written) = body.get(field.key) else { continue };
                assert!(full.get(field.key).is_some(), "{kind}: {} is lost\n{body}\n{full}", field.key);
                let default = matches!(&field.need, Need::Default(default) if default == written);
                if short.get(field.key).is_none() {
                    let printed = full.get(field.key).unwrap();
                    let same = matches!(&field.need, Need::Default(default) if default == printed);
                    assert!(default || same, "{kind}: {} is lost\n{body}\n{short}", field.key);
                }
                missing.retain(|key| *key != field.key);
            }
        }
        missing.retain(|key| !(*kind == Kind::Window && *key == "cutoff"));
        assert!(missing.is_empty(), "{kind}: never taken with {missing:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { max_shrink_iters: 0, ..ProptestConfig::with_cases(300) })]

    #[test]
    fn any_folder_reads_what_it_prints(seed in any::<u64>()) {
        let mut rng = Rng(seed);
        let mut objects = Vec::new();
        for kind in Kind::ALL.iter().filter(|kind| **kind != Kind::System) {
            for name in ["a", "no", "1e3"] {
                objects.extend(taken(*kind, name, &body(*kind, &mut rng)).ok());
            }
        }
        survive(&objects);
    }
}
