//! Specs as they arrive: read again by the same rules that the client read them
//! by, since a client may be anything.

use super::env_of;
use crate::blobs::Blobs;
use crate::systems::Document;
use hostler_core::applied::LOOSE;
use hostler_core::plan::{Problem, Wanted};
use hostler_proto::admin as wire;
use hostler_types::Name;
use hostler_types::spec::{Kind, Object, Problems, Target, read_json};
use std::collections::BTreeMap;
use std::sync::Arc;
use tonic::Status;

/// Four times the largest system that anyone described to us.
const OBJECTS_MAX: usize = 20_000;
/// What one message and one blob may well hold.
const SPEC_BYTES_MAX: usize = 16 * 1024 * 1024;
/// A body is written by people; content lies in files.
const BODY_BYTES_MAX: usize = 64 * 1024;
/// Why, not what: the changes are kept beside it.
const MESSAGE_CHARACTERS_MAX: usize = 500;

pub struct Spec {
    pub wanted: Wanted,
}

pub fn spec(spec: wire::Spec) -> Result<Spec, Status> {
    if spec.documents.len() > OBJECTS_MAX {
        return Err(Status::invalid_argument(format!(
            "{} objects in one system, and at most {OBJECTS_MAX} may be: make several systems of it",
            spec.documents.len()
        )));
    }
    let bytes: usize = spec.documents.iter().map(|one| one.body_json.len()).sum();
    if bytes > SPEC_BYTES_MAX {
        return Err(Status::invalid_argument(format!(
            "the objects have {bytes} bytes, and at most {SPEC_BYTES_MAX} may be: make several systems of them"
        )));
    }
    let mut objects: BTreeMap<(Kind, Name), Arc<Object>> = BTreeMap::new();
    let mut problems = Vec::new();
    for document in spec.documents {
        if document.body_json.len() > BODY_BYTES_MAX {
            return Err(Status::invalid_argument(format!(
                "{} {} has {} bytes, and at most {BODY_BYTES_MAX} may be: put content into files",
                document.kind,
                document.name,
                document.body_json.len()
            )));
        }
        match read_json(&document.kind, &document.name, &document.body_json, &document.origin) {
            Ok(object) => {
                let object = Object { origins: document.origins.into_iter().collect(), ..object };
                let key = (object.kind(), object.name.clone());
                if objects.insert(key, Arc::new(object)).is_some() {
                    let twice = format!("{} {} is there twice", document.kind, document.name);
                    return Err(Status::invalid_argument(twice));
                }
            }
            Err(Problems(mut found)) => problems.append(&mut found),
        }
    }
    if !problems.is_empty() {
        return Err(Status::invalid_argument(Problems(problems).to_string()));
    }
    let mut systems = objects.keys().filter(|(kind, _)| *kind == Kind::System).map(|(_, name)| name.clone());
    let system = match (systems.next(), systems.next()) {
        (None, _) => Name::new(LOOSE).map_err(|error| Status::internal(error.to_string()))?,
        (Some(one), None) if one.as_str() == LOOSE => {
            return Err(Status::invalid_argument(format!(
                "a system can't be called {LOOSE}: that is where objects without a system go"
            )));
        }
        (Some(one), None) => one,
        (Some(one), Some(other)) => {
            return Err(Status::invalid_argument(format!("one system at a time, and these are {one} and {other}")));
        }
    };
    Ok(Spec { wanted: Wanted { system, objects: objects.into_values().collect() } })
}

impl Spec {
    pub fn env(&self) -> String {
        self.wanted.objects.iter().find_map(|object| env_of(&object.body)).unwrap_or_default()
    }

    /// Content that must have been sent before.
    pub fn missing_files(&self, blobs: &Blobs) -> Vec<Problem> {
        let missing = |object: &Arc<Object>| {
            let files = object.links.iter().filter_map(|link| match &link.to {
                Target::File { file, digest } if !blobs.has(digest) => Some(Problem {
                    kind: object.kind(),
                    name: object.name.clone(),
                    path: link.path.clone(),
                    message: format!("is {file}, whose content the control plane does not have"),
                    help: Some("apply the folder that holds it".to_owned()),
                    origin: object.origin.clone(),
                }),
                _ => None,
            });
            files.collect::<Vec<_>>()
        };
        self.wanted.objects.iter().flat_map(missing).collect()
    }
}

pub fn message(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(MESSAGE_CHARACTERS_MAX).collect()
}

/// For an answer that has no place for problems.
pub fn told(problems: &[Problem]) -> String {
    let line = |one: &Problem| {
        let help = one.help.as_ref().map(|help| format!("; {help}")).unwrap_or_default();
        format!("{} {} {}{help}", one.kind, one.name, one.message)
    };
    problems.iter().map(line).collect::<Vec<_>>().join("\n")
}

pub fn to_wire(object: &Object) -> wire::Document {
    wire::Document {
        kind: object.kind().word().to_owned(),
        name: object.name.to_string(),
        body_json: object.body.to_json(false).to_string(),
        origin: object.origin.clone(),
        origins: object.origins.clone().into_iter().collect(),
    }
}

pub fn to_document(object: &Object) -> Document {
    Document {
        kind: object.kind().word().to_owned(),
        name: object.name.to_string(),
        body: object.body.to_json(false).to_string(),
        origin: object.origin.clone(),
        origins: object.origins.clone(),
    }
}
