//! `hostlerctl get` and `delete`: single objects, and whole systems.

use super::confirm;
use super::specs::to_object;
use crate::cli::{DeleteArgs, Format, GetArgs};
use crate::client::Client;
use crate::output::{Out, plural};
use crate::problem::Problem;
use hostler_proto::admin as wire;
use hostler_types::spec::{Detail, Kind, Object, nearest, write_yaml};
use hostler_types::terminal::sanitize;
use serde_json::{Value, json};

fn known(word: &str) -> Result<Kind, Problem> {
    Kind::parse(word).ok_or_else(|| {
        let help = match nearest(word, Kind::words()) {
            Some(kind) => format!("did you mean {kind}?"),
            None => format!("kinds are {}", Kind::words().join(", ")),
        };
        Problem::Usage(format!("there is no kind {word:?}; {help}"))
    })
}

fn kinds_of(text: &str) -> Result<Vec<Kind>, Problem> {
    if text == "all" { Ok(Kind::ALL.to_vec()) } else { text.split(',').map(known).collect() }
}

pub async fn get(mut client: Client, out: &Out, format: Format, args: GetArgs) -> Result<(), Problem> {
    let kinds = kinds_of(&args.kind)?;
    let name = args.name.clone().unwrap_or_default();
    if kinds.len() > 1 && !name.is_empty() {
        return Err(Problem::Usage(format!("{name} of which kind? Give one kind with a name")));
    }
    let mut objects = Vec::new();
    if kinds == [Kind::System] && !name.is_empty() {
        let request = wire::GetSystemRequest { name: name.clone(), ..wire::GetSystemRequest::default() };
        let documents = client.get_system(request).await?.into_inner().spec.unwrap_or_default().documents;
        if documents.is_empty() {
            let told = format!("system {name} was deleted, and its versions are kept");
            return Err(Problem::Failed(format!("{told}: hostlerctl system history {name}")));
        }
        objects = documents.iter().map(to_object).collect::<Result<_, _>>()?;
    } else {
        for kind in &kinds {
            let request = wire::GetObjectsRequest { kind: kind.word().to_owned(), name: name.clone(), full: args.full };
            for document in client.get_objects(request).await?.into_inner().documents {
                objects.push(to_object(&document)?);
            }
        }
    }
    let systems = one_system(&mut objects);
    if !systems.is_empty() {
        let told = format!("{}, and a spec holds one: hostlerctl get system NAME", systems.join(", "));
        if kinds == [Kind::System] {
            return Err(Problem::Failed(format!("there are the systems {told}")));
        }
        eprintln!("left out: the systems {}", sanitize(&told));
    }
    let detail = if args.full { Detail::Full } else { Detail::Short };
    match format {
        Format::Json => out.json(&as_json(&objects, args.full)),
        // What is printed can be applied.
        _ if objects.is_empty() => {
            eprintln!("no {} is applied", if args.kind == "all" { "object" } else { &args.kind });
            Ok(())
        }
        _ => out.print(&write_yaml(&objects, detail)),
    }
}

/// A spec has one system's own document at most: takes out more, and names them.
fn one_system(objects: &mut Vec<Object>) -> Vec<String> {
    let systems = objects.iter().filter(|object| object.kind() == Kind::System);
    let names: Vec<String> = systems.map(|object| object.name.to_string()).collect();
    if names.len() < 2 {
        return Vec::new();
    }
    objects.retain(|object| object.kind() != Kind::System);
    names
}

/// `kind: {name: body}` as JSON; a system has its body without a name before it.
fn as_json(objects: &[Object], full: bool) -> Value {
    let mut kinds = serde_json::Map::new();
    for object in objects {
        let (kind, body) = (object.kind(), object.body.to_json(full));
        if kind == Kind::System {
            kinds.insert(kind.word().to_owned(), body);
            continue;
        }
        if let Value::Object(named) = kinds.entry(kind.word()).or_insert_with(|| json!({})) {
            named.insert(object.name.to_string(), body);
        }
    }
    kinds.into()
}

pub async fn delete(mut client: Client, out: &Out, args: DeleteArgs) -> Result<(), Problem> {
    let kind = known(&args.kind)?;
    let names = sanitize(&args.names.join(", ")).into_owned();
    let question = if kind == Kind::System && !args.yes {
        let systems = client.list_systems(wire::ListSystemsRequest {}).await?.into_inner().systems;
        let named = systems.iter().filter(|system| args.names.contains(&system.name));
        let objects: u32 = named.flat_map(|system| system.objects.values()).sum();
        let objects = plural(objects as usize, "object");
        format!("system {names} goes, {objects} in all; hostlerctl system rollback brings it back.")
    } else {
        format!("{kind} {names} goes.")
    };
    confirm(&question, args.yes)?;
    let request = wire::DeleteObjectsRequest { kind: args.kind, names: args.names };
    let answer = client.delete_objects(request).await?.into_inner();
    out.line(format!("{} deleted", plural(answer.changes.len(), "object")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use hostler_types::spec::{Source, SourceFile, compile};

    fn objects(text: &str) -> Vec<Object> {
        let files = vec![SourceFile { path: "a.yaml".into(), text: text.into() }];
        compile(&Source { files, ..Source::default() }).expect(text).objects
    }

    #[test]
    fn kinds_are_one_several_or_all() {
        assert_eq!(
            kinds_of("check,node").expect("known"),
            [Kind::parse("check"), Kind::parse("node")].map(|one| one.expect("known"))
        );
        assert_eq!(kinds_of("all").expect("known"), Kind::ALL);
        assert!(kinds_of("chekc").expect_err("unknown").to_string().contains("did you mean check?"));
        assert!(matches!(kinds_of("check,"), Err(Problem::Usage(_))));
    }

    #[test]
    fn what_is_printed_as_json_is_a_spec_too() {
        let all = objects("system: {name: shop}\ncheck: {disk: {where: all, plugin: disk}}\n");
        let again = objects(&as_json(&all, false).to_string());
        let bodies = |all: &[Object]| all.iter().map(|one| (one.name.clone(), one.body.clone())).collect::<Vec<_>>();
        assert_eq!(bodies(&again), bodies(&all));
    }

    #[test]
    fn of_two_systems_neither_is_printed() {
        let mut all = objects("system: {name: shop}\ncheck: {disk: {where: all, plugin: disk}}\n");
        assert!(one_system(&mut all).is_empty());
        all.extend(objects("system: {name: other}\n"));
        assert_eq!(one_system(&mut all), ["other", "shop"].map(str::to_owned).into_iter().rev().collect::<Vec<_>>());
        assert!(all.iter().all(|one| one.kind() != Kind::System) && all.len() == 1);
    }
}
