//! A folder to the objects of one system.
//!
//! Files become trees, the trees one map of kinds and names, the overlay is laid
//! over it, the environment's variables are put in place, every body is read, and
//! what each names is looked for. Whatever is wrong is told, all at once.

use super::interpolate;
use super::kind::{Body, Kind};
use super::overlay;
use super::problem::{FAULTS_MAX, LINE_BYTES_MAX, MORE, Problem, Problems, as_name, nearest, nearest_word};
use super::shape::{Content, Link, Reader, Target, example_of};
use super::yaml::{self, At, Fault, Node, Value, fault};
use crate::{Labels, Name};
use std::collections::{BTreeMap, BTreeSet};

/// Where a value was written is not noted below such a path.
const PATH_BYTES_MAX: usize = 4096;

/// A spec file, already in memory.
#[derive(Clone, Debug)]
pub struct SourceFile {
    /// As the user named it, for messages.
    pub path: String,
    pub text: String,
}

/// An environment: what differs in it.
#[derive(Clone, Debug)]
pub struct EnvSource {
    pub name: Name,
    pub files: Vec<SourceFile>,
}

/// All that a folder holds, and where it is applied from.
#[derive(Clone, Debug, Default)]
pub struct Source {
    pub files: Vec<SourceFile>,
    /// The one that was chosen.
    pub env: Option<EnvSource>,
    /// All that there are, where there is a folder.
    pub envs: Option<Vec<String>>,
    /// The files below `files/`; absent where there is no folder.
    pub contents: Option<BTreeMap<String, Content>>,
    /// The environment of whoever applies.
    pub variables: BTreeMap<String, String>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Object {
    pub name: Name,
    pub body: Body,
    /// `web.yaml:12`; empty for what did not come from a file.
    pub origin: String,
    /// Where fields were written that do not stand at the origin, by their path.
    pub origins: BTreeMap<String, String>,
    pub links: Vec<Link>,
}

impl Object {
    pub fn kind(&self) -> Kind {
        self.body.kind()
    }
}

/// What a folder says, and where it says it.
#[derive(Clone, Debug)]
pub struct Compiled {
    /// By kind and name.
    pub objects: Vec<Object>,
    sources: Vec<SourceFile>,
    tree: Tree,
}

/// One entry an object: where its name stands, and its body.
pub(super) type Tree = BTreeMap<(Kind, String), (At, Node)>;

/// Either all is right, or all that is wrong is told.
pub fn compile(source: &Source) -> Result<Compiled, Problems> {
    let mut faults = Vec::new();
    let mut sources = Vec::new();
    let mut tree = read_trees(&source.files, &mut sources, &mut faults);
    let mut removed = BTreeMap::new();
    if let Some(env) = &source.env {
        let over = read_trees(&env.files, &mut sources, &mut faults);
        removed = overlay::lay(&mut tree, over, &mut faults);
        name_environment(&mut tree, &env.name);
    }
    for (_, body) in tree.values_mut() {
        interpolate::substitute(body, &source.variables, &mut faults);
    }
    // A value with a variable that is not set is read no further.
    let unset: Vec<At> = faults.iter().map(|fault| fault.at).collect();
    let told = faults.len();
    let (objects, links) = read_objects(&tree, source.contents.as_ref(), &sources, &mut faults);
    check_links(&objects, &links, source.envs.as_deref(), &tree, &removed, &sources, &mut faults);
    let mut index = 0;
    faults.retain(|fault| {
        index += 1;
        index <= told || !unset.contains(&fault.at)
    });
    if faults.is_empty() {
        return Ok(Compiled { objects, sources, tree });
    }
    faults.sort_by_key(|fault| fault.at);
    faults.dedup();
    if let Some(rest) = faults.get_mut(FAULTS_MAX) {
        *rest = fault(rest.at, MORE, None);
        faults.truncate(FAULTS_MAX + 1);
    }
    Err(Problems(faults.into_iter().map(|fault| placed(&sources, fault)).collect()))
}

fn placed(sources: &[SourceFile], fault: Fault) -> Problem {
    let source = sources.get(fault.at.file as usize);
    let line = (fault.at.line as usize).checked_sub(1).and_then(|index| source?.text.lines().nth(index));
    let text = line.filter(|line| line.len() <= LINE_BYTES_MAX).unwrap_or_default();
    Problem {
        file: source.map(|source| source.path.clone()).unwrap_or_default(),
        line: fault.at.line as usize,
        column: reference_in(text, fault.at.column as usize, &fault.message),
        text: text.to_owned(),
        message: fault.message,
        help: fault.help,
    }
}

/// A reference that a message is about stands inside of its value: there it is pointed at.
fn reference_in(line: &str, column: usize, message: &str) -> usize {
    let find = || {
        let start = message.find("${")?;
        let reference = message.get(start..=start + message.get(start..)?.find('}')?)?;
        let byte = line.char_indices().nth(column.checked_sub(1)?)?.0;
        let found = line.get(byte..)?.find(reference)?;
        Some(line.get(..byte + found)?.chars().count() + 1)
    };
    find().unwrap_or(column)
}

fn read_trees(files: &[SourceFile], sources: &mut Vec<SourceFile>, faults: &mut Vec<Fault>) -> Tree {
    let mut tree = Tree::new();
    for file in files {
        let number = u32::try_from(sources.len()).unwrap_or(u32::MAX);
        sources.push(file.clone());
        if let Some(root) = yaml::parse(&file.text, number, faults) {
            read_root(root, sources, &mut tree, faults);
        }
    }
    tree
}

fn read_root(root: Node, sources: &[SourceFile], tree: &mut Tree, faults: &mut Vec<Fault>) {
    let Value::Map(kinds) = root.value else {
        let message = format!("a spec is a map of kinds, and this is {}", root.value.describe());
        faults.push(fault(root.at, &message, Some("write it like this: check: {disk: {where: all, plugin: disk}}")));
        return;
    };
    if let Some((key, help)) = another_tool(&kinds) {
        let message = format!("a spec is written by kind and name, and has no {:?}", key.text);
        faults.push(fault(key.at, &message, Some(&help)));
        return;
    }
    for (key, node) in kinds {
        if key.text == "version" {
            if node.value != Value::Number("1".into()) {
                faults.push(fault(
                    node.at,
                    "only version 1 of the language exists",
                    Some("version: 1, or leave it out"),
                ));
            }
            continue;
        }
        let Some(kind) = Kind::parse(&key.text) else {
            faults.push(unknown_kind(key.at, &key.text));
            continue;
        };
        if kind == Kind::System {
            let name = match node.get("name").map(|name| &name.value) {
                Some(Value::Text(name)) => name.clone(),
                // Its body says what is wrong with it.
                _ => String::new(),
            };
            if let Some(named) = named_above(&node) {
                let message = format!("system has no field {:?}: its name is a field", named.text);
                let help = format!("write it like this: system: {{name: {}, ...}}", named.text);
                faults.push(fault(named.at, &message, Some(&help)));
                continue;
            }
            let first = tree.iter().find(|((found, _), _)| *found == Kind::System).map(|(_, (at, _))| *at);
            match first {
                Some(first) => {
                    let message = format!("a folder is one system, and another begins at {}", place(sources, first));
                    faults.push(fault(key.at, &message, Some("keep one of them, or use a folder each")));
                }
                None => drop(tree.insert((kind, name), (key.at, node))),
            }
            continue;
        }
        let named = match node.value {
            Value::Null => continue,
            Value::Map(named) => named,
            other => {
                let message = format!("{kind} is {}, and should be a map of names", other.describe());
                let body = if kind.record().fields.is_empty() { "{}" } else { "{...}" };
                let names = match &other {
                    Value::Text(name) if Name::new(name.clone()).is_ok() => vec![name.clone()],
                    Value::List(items) => items.iter().filter_map(|item| item.name_in_list()).collect(),
                    _ => Vec::new(),
                };
                let names = if names.is_empty() { vec!["NAME".to_owned()] } else { names };
                let entries: Vec<String> = names.iter().map(|name| format!("{name}: {body}")).collect();
                let help = format!("write it like this: {kind}: {{{}}}", entries.join(", "));
                faults.push(fault(node.at, &message, Some(&help)));
                continue;
            }
        };
        let is_field = |name: &str| kind.record().fields.iter().any(|field| field.key == name);
        let stray = named
            .iter()
            .position(|(name, body)| is_field(&name.text) && !matches!(body.value, Value::Map(_) | Value::Null));
        if let Some((index, (field, _))) = stray.and_then(|index| named.get(index).map(|entry| (index, entry))) {
            let above = named.iter().take(index).rev().find(|(_, body)| body.value == Value::Null);
            let help = match above {
                Some((name, _)) => format!("indent it deeper, below {}", name.text),
                None => format!("write it like this: {kind}: {{NAME: {{{}: ...}}}}", field.text),
            };
            let message = format!("{kind}: {} is a field, and a name should stand here", field.text);
            faults.push(fault(field.at, &message, Some(&help)));
            continue;
        }
        for (name, body) in named {
            if let Err(error) = Name::new(name.text.clone()) {
                let help = match as_name(&name.text) {
                    Some(near) => Some(format!("did you mean {near}?")),
                    None if error.to_string().contains("longer") => Some("make it shorter".to_owned()),
                    None => Some(format!("give it a name of plain letters and digits, such as {kind}1")),
                };
                faults.push(fault(name.at, &format!("{kind}: {error}"), help.as_deref()));
                continue;
            }
            let slot = (kind, name.text);
            if let Some((first, _)) = tree.get(&slot) {
                let message = format!("{kind} {} stands twice; the first is at {}", slot.1, place(sources, *first));
                faults.push(fault(name.at, &message, Some("keep one of them, or give one another name")));
            } else {
                tree.insert(slot, (name.at, body));
            }
        }
    }
}

/// `kind: service` and `name: shop` as fields of their own, as others have it.
fn another_tool(kinds: &[(yaml::Key, Node)]) -> Option<(&yaml::Key, String)> {
    let text = |key: &str| match kinds.iter().find(|(found, _)| found.text == key).map(|(_, node)| &node.value) {
        Some(Value::Text(text)) => Some(text.as_str()),
        _ => None,
    };
    let (key, _) = kinds.iter().find(|(key, _)| matches!(key.text.as_str(), "kind" | "apiVersion"))?;
    let kind = text("kind").and_then(|word| nearest_word(word, Kind::words())).unwrap_or("service");
    Some((key, format!("write it like this: {kind}: {{{}: {{...}}}}", text("name").unwrap_or("NAME"))))
}

/// `system: {shop: {...}}`, as every other kind is written.
fn named_above(node: &Node) -> Option<&yaml::Key> {
    let Value::Map(fields) = &node.value else { return None };
    match fields.as_slice() {
        [(key, Node { value: Value::Map(_) | Value::Null, .. })] => {
            let known = Kind::System.record().fields.iter().any(|field| field.key == key.text);
            (!known).then_some(key)
        }
        _ => None,
    }
}

fn place(sources: &[SourceFile], at: At) -> String {
    match sources.get(at.file as usize) {
        Some(source) => format!("{}:{}", source.path, at.line),
        None => String::new(),
    }
}

fn unknown_kind(at: At, word: &str) -> Fault {
    let help = match nearest_word(word, Kind::words()) {
        Some(kind) => format!("did you mean {kind}?"),
        None => format!("kinds are {}", Kind::words().join(", ")),
    };
    fault(at, &format!("there is no kind {word:?}"), Some(&help))
}

/// The system remembers which environment it was made with.
fn name_environment(tree: &mut Tree, env: &Name) {
    let system = tree.iter_mut().find(|((kind, _), _)| *kind == Kind::System);
    if let Some((_, (at, body))) = system
        && let Value::Map(fields) = &mut body.value
    {
        fields.retain(|(key, _)| key.text != "env");
        let key = yaml::Key { at: *at, text: "env".to_owned() };
        fields.push((key, Node::new(*at, Value::Text(env.to_string()))));
    }
}

/// The objects, and what of those that are wrong names others: by their owner.
fn read_objects(
    tree: &Tree,
    contents: Option<&BTreeMap<String, Content>>,
    sources: &[SourceFile],
    faults: &mut Vec<Fault>,
) -> (Vec<Object>, Vec<(String, Vec<Link>)>) {
    let mut objects = Vec::new();
    let mut links = Vec::new();
    for ((kind, name), (at, node)) in tree {
        let owner = if name.is_empty() { kind.to_string() } else { format!("{kind} {name}") };
        if faults.len() > FAULTS_MAX {
            break;
        }
        let mut reader = Reader::new(owner.clone(), contents);
        // Faults about a missing field point at the name where the body has no braces.
        let node = if node.value == Value::Null { &Node::new(*at, Value::Map(Vec::new())) } else { node };
        let body = Body::read(*kind, node, &mut reader);
        faults.append(&mut reader.faults);
        if let (Some(body), Ok(name)) = (body, Name::new(name.clone())) {
            let origin = place(sources, *at);
            let mut origins = BTreeMap::new();
            note_origins(node, String::new(), &origin, sources, &mut origins);
            objects.push(Object { name, body, origin, origins, links: reader.links });
        } else {
            links.push((owner, reader.links));
        }
    }
    (objects, links)
}

fn note_origins(
    node: &Node,
    path: String,
    origin: &str,
    sources: &[SourceFile],
    origins: &mut BTreeMap<String, String>,
) {
    match &node.value {
        _ if path.len() > PATH_BYTES_MAX => {}
        Value::Map(entries) => {
            for (key, value) in entries {
                let mut path = path.clone();
                super::shape::push_step(&mut path, &key.text);
                note_origins(value, path, origin, sources, origins);
            }
        }
        _ => {
            let here = place(sources, node.at);
            if here != origin && !path.is_empty() {
                origins.insert(path, here);
            }
        }
    }
}

/// What objects name must be there, in this folder.
fn check_links(
    objects: &[Object],
    unread: &[(String, Vec<Link>)],
    envs: Option<&[String]>,
    tree: &Tree,
    removed: &BTreeMap<(Kind, String), At>,
    sources: &[SourceFile],
    faults: &mut Vec<Fault>,
) {
    let count = |kind: Kind| tree.keys().filter(|(found, _)| *found == kind).count();
    let has_system = count(Kind::System) > 0;
    let nodes: Vec<(&Name, &Labels)> = objects
        .iter()
        .filter_map(|object| match &object.body {
            Body::Node(node) => Some((&object.name, &node.labels.0)),
            _ => None,
        })
        .collect();
    // The labels of a node that is wrong are not known.
    let knows_nodes = !nodes.is_empty() && nodes.len() == count(Kind::Node);
    let read = objects.iter().map(|object| (format!("{} {}", object.kind(), object.name), &object.links));
    for (owner, links) in read.chain(unread.iter().map(|(owner, links)| (owner.clone(), links))) {
        for link in links {
            if faults.len() > FAULTS_MAX {
                return;
            }
            let found = match &link.to {
                // Loose objects may name what others applied.
                Target::Object(kind, name) if has_system => {
                    let slot = (*kind, name.to_string());
                    missing_object(*kind, name, tree, sources).map(|(message, help)| match removed.get(&slot) {
                        Some(at) => {
                            let help = format!("it is removed at {}; remove this too, or keep it", place(sources, *at));
                            (message, help)
                        }
                        None => (message, help),
                    })
                }
                Target::Nodes(selector) if has_system && knows_nodes => {
                    let none = BTreeMap::new();
                    let facts = selector.names_facts();
                    let taken = nodes.iter().any(|(_, labels)| selector.matches(labels, &none));
                    (!taken && !facts).then(|| {
                        let help = match selector.as_label() {
                            Some((key, value)) => format!("label one: node: {{NAME: {{labels: {{{key}: {value}}}}}}}"),
                            None => "label one of the nodes below node: so that it is taken".to_owned(),
                        };
                        (format!("is {selector}, and no node here is taken by it"), help)
                    })
                }
                Target::Environment(name) => missing_environment(name, envs),
                Target::File { .. } | Target::Object(..) | Target::Nodes(_) => None,
            };
            if let Some((message, help)) = found {
                faults.push(fault(link.at, &format!("{owner}: {} {message}", link.path), Some(&help)));
            }
        }
    }
}

fn missing_object(kind: Kind, name: &Name, tree: &Tree, sources: &[SourceFile]) -> Option<(String, String)> {
    if tree.contains_key(&(kind, name.to_string())) {
        return None;
    }
    let known = || tree.keys().filter(|(found, _)| *found == kind).map(|(_, name)| name.as_str());
    let help = match nearest(name.as_str(), known()) {
        Some(near) => {
            let at = tree.get(&(kind, near.to_owned())).map(|(at, _)| place(sources, *at)).unwrap_or_default();
            format!("did you mean {near}, at {at}?")
        }
        None if kind == Kind::Secret => {
            format!("name it: secret: {{{name}: {{}}}}; its value: hostlerctl secret set {name}")
        }
        None => {
            let there = match known().take(5).collect::<Vec<_>>().as_slice() {
                [] => String::new(),
                [only] => format!("; the only one here is {only}"),
                several => format!("; there are {}", several.join(", ")),
            };
            format!("begin it like this: {kind}: {{{name}: {}}}{there}", example_of(kind.record()))
        }
    };
    let message = match kind {
        Kind::Secret => format!("names ${{secret:{name}}}, and there is no secret {name} here"),
        _ => format!("names the {kind} {name}, and there is none here"),
    };
    Some((message, help))
}

fn missing_environment(name: &Name, envs: Option<&[String]>) -> Option<(String, String)> {
    let envs = envs?;
    if envs.iter().any(|env| env == name.as_str()) {
        return None;
    }
    let help = match nearest(name.as_str(), envs.iter().map(String::as_str)) {
        Some(near) => format!("did you mean {near}?"),
        None if envs.is_empty() => format!("make env/{name}.yaml beside the spec"),
        None => format!("there are {}; make env/{name}.yaml beside the spec", envs.join(", ")),
    };
    Some((format!("names the environment {name}, and there is no env/{name}.yaml"), help))
}

impl Compiled {
    pub fn system(&self) -> Option<&Name> {
        self.objects.iter().find(|object| object.kind() == Kind::System).map(|object| &object.name)
    }

    pub fn env(&self) -> Option<&Name> {
        self.objects.iter().find_map(|object| match &object.body {
            Body::System(system) => system.env.as_ref(),
            _ => None,
        })
    }

    /// The files that objects refer to, and their digests.
    pub fn files(&self) -> BTreeMap<String, String> {
        let files = self.objects.iter().flat_map(|object| &object.links).filter_map(|link| match &link.to {
            Target::File { file, digest } => Some((file.clone(), digest.clone())),
            _ => None,
        });
        files.collect()
    }

    /// What somebody else found wrong, at its place in the files. A path that is
    /// not there points at the nearest part that is; one that ends in `~` points at
    /// the name instead of the value.
    pub fn problem(&self, kind: &str, name: &str, path: &str, message: &str, help: Option<String>) -> Problem {
        let entry = Kind::parse(kind).and_then(|kind| self.tree.get(&(kind, name.to_owned())));
        let (path, of_key) = path.strip_suffix('~').map_or((path, false), |path| (path, true));
        let at = entry.map(|(at, node)| find(node, path, of_key).unwrap_or(*at)).unwrap_or_default();
        let subject = if path.is_empty() { format!("{kind} {name}") } else { format!("{kind} {name}: {path}") };
        placed(&self.sources, Fault { at, message: format!("{subject} {message}"), help })
    }
}

/// The place of a path's value, or of the last part of it that is there.
fn find(node: &Node, path: &str, of_key: bool) -> Option<At> {
    let mut found = None;
    let mut node = node;
    for step in steps(path) {
        let next = match &node.value {
            Value::Map(entries) => entries.iter().find(|(key, _)| key.text == step).map(|(key, value)| (key.at, value)),
            Value::List(items) => {
                step.parse::<usize>().ok().and_then(|index| items.get(index)).map(|item| (item.at, item))
            }
            _ => None,
        };
        let Some((at, value)) = next else { break };
        found = Some(if of_key || matches!(value.value, Value::Map(_) | Value::List(_)) { at } else { value.at });
        node = value;
    }
    found
}

/// `a."b.c"[0]` to `a`, `b.c`, `0`.
fn steps(path: &str) -> Vec<String> {
    let mut steps = vec![String::new()];
    let mut quoted = false;
    let mut escaped = false;
    for c in path.chars() {
        let Some(last) = steps.last_mut() else { break };
        match c {
            _ if escaped => {
                last.push(c);
                escaped = false;
            }
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            '.' | '[' if !quoted => steps.push(String::new()),
            ']' if !quoted => {}
            _ => last.push(c),
        }
    }
    steps.retain(|step| !step.is_empty());
    steps
}

/// One object whose body is JSON: what comes over the wire or out of the store.
/// What it names is not looked for.
pub fn read_json(kind: &str, name: &str, body_json: &str, origin: &str) -> Result<Object, Problems> {
    let problem = |message: String, help: Option<String>| {
        let (file, line) = origin.rsplit_once(':').unwrap_or((origin, "0"));
        let line = line.parse().unwrap_or(0);
        Problem { file: file.to_owned(), line, column: 1, text: String::new(), message, help }
    };
    let Some(kind) = Kind::parse(kind) else {
        let found = unknown_kind(At::default(), kind);
        return Err(Problems(vec![problem(found.message, found.help)]));
    };
    let name = Name::new(name).map_err(|error| Problems(vec![problem(format!("{kind}: {error}"), None)]))?;
    let value: serde_json::Value = serde_json::from_str(body_json)
        .map_err(|error| Problems(vec![problem(format!("{kind} {name}: its body is not JSON: {error}"), None)]))?;
    // As a file would hold it, below its kind and its name.
    if depth(&value) + 2 > yaml::DEPTH_MAX {
        let message = format!("{kind} {name}: nested more than {} deep", yaml::DEPTH_MAX);
        return Err(Problems(vec![problem(message, None)]));
    }
    let mut reader = Reader::new(format!("{kind} {name}"), None);
    let tree = from_json(&value);
    interpolate::refuse_variables(&tree, &mut reader);
    match Body::read(kind, &tree, &mut reader) {
        Some(body) if reader.faults.is_empty() => {
            let (origin, origins) = (origin.to_owned(), BTreeMap::new());
            Ok(Object { name, body, origin, origins, links: reader.links })
        }
        _ => {
            let mut told = BTreeSet::new();
            reader.faults.retain(|fault| told.insert(fault.message.clone()));
            Err(Problems(reader.faults.into_iter().map(|fault| problem(fault.message, fault.help)).collect()))
        }
    }
}

/// How many maps and lists are around the innermost value.
fn depth(value: &serde_json::Value) -> usize {
    match value {
        serde_json::Value::Array(items) => 1 + items.iter().map(depth).max().unwrap_or(0),
        serde_json::Value::Object(map) => 1 + map.values().map(depth).max().unwrap_or(0),
        _ => 0,
    }
}

/// A tree without places.
pub(super) fn from_json(value: &serde_json::Value) -> Node {
    let value = match value {
        serde_json::Value::Null => Value::Null,
        serde_json::Value::Bool(truth) => Value::Bool(*truth),
        serde_json::Value::Number(number) => Value::Number(number.to_string()),
        serde_json::Value::String(text) => Value::Text(text.clone()),
        serde_json::Value::Array(items) => Value::List(items.iter().map(from_json).collect()),
        serde_json::Value::Object(map) => Value::Map(
            map.iter()
                .map(|(key, value)| (yaml::Key { at: At::default(), text: key.clone() }, from_json(value)))
                .collect(),
        ),
    };
    Node::new(At::default(), value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(kind: &str, body: &str) -> Vec<String> {
        let problems = read_json(kind, "a", body, "").expect_err("a body that is wrong");
        problems.0.into_iter().map(|problem| problem.message).collect()
    }

    #[test]
    fn a_variable_in_json_is_refused_wherever_it_stands() {
        let named = |path: &str| {
            format!("{path} names ${{env:X}}, and variables are put in place where a spec is applied, not here")
        };
        let plain = r#"{"where": "all", "cron": "0 2 * * *", "to": "s3:${env:X}", "paths": ["/srv"]}"#;
        assert_eq!(said("backup", plain), [named("backup a: to")]);
        let with = r#"{"where": "all", "plugin": "disk", "with": {"paths": ["/", "${env:X}"]}}"#;
        assert_eq!(said("check", with), [named("check a: with.paths[1]")]);
        let template = r#"{"where": "all", "command": "echo ${env:X} ${env:X}"}"#;
        assert_eq!(said("service", template), [named("service a: command")]);
        let wrong_too = r#"{"where": "all", "cron": "often", "to": "s3:${env:X}"}"#;
        assert_eq!(said("backup", wrong_too).len(), 2);
    }

    #[test]
    fn what_only_looks_like_a_variable_is_text_in_json() {
        let body = r#"{"where": "all", "cron": "0 2 * * *", "to": "s3:$${env:X} $X ${env:X", "paths": ["/srv"]}"#;
        assert!(read_json("backup", "a", body, "").is_ok());
    }
}
