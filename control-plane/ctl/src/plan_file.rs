//! A plan in a file: what was shown, and exactly what applying it sends.

use crate::problem::Problem;
use hostler_proto::admin as wire;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

const FORMAT: u32 = 1;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PlanFile {
    format: u32,
    pub lineage: u64,
    pub system: String,
    pub env: String,
    pub seen: u64,
    pub made_at: String,
    pub notes: Vec<String>,
    changes: Vec<Change>,
    documents: Vec<Document>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Change {
    kind: String,
    name: String,
    act: String,
    effect: String,
    fields: Vec<(String, String, String)>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Document {
    kind: String,
    name: String,
    body: String,
    origin: String,
    origins: BTreeMap<String, String>,
}

impl PlanFile {
    pub fn new(plan: &wire::PlanResponse, spec: &wire::Spec, made_at: String) -> Self {
        let change = |one: &wire::Change| Change {
            kind: one.kind.clone(),
            name: one.name.clone(),
            act: one.act.clone(),
            effect: one.effect.clone(),
            fields: one
                .fields
                .iter()
                .map(|field| (field.path.clone(), field.before_json.clone(), field.after_json.clone()))
                .collect(),
        };
        let document = |one: &wire::Document| Document {
            kind: one.kind.clone(),
            name: one.name.clone(),
            body: one.body_json.clone(),
            origin: one.origin.clone(),
            origins: one.origins.clone().into_iter().collect(),
        };
        Self {
            format: FORMAT,
            lineage: plan.lineage,
            system: plan.system.clone(),
            env: plan.env.clone(),
            seen: plan.seen,
            made_at,
            notes: plan.notes.clone(),
            changes: plan.changes.iter().map(change).collect(),
            documents: spec.documents.iter().map(document).collect(),
        }
    }

    pub fn plan(&self) -> wire::PlanResponse {
        let field = |(path, before, after): &(String, String, String)| wire::FieldChange {
            path: path.clone(),
            before_json: before.clone(),
            after_json: after.clone(),
        };
        let change = |one: &Change| wire::Change {
            kind: one.kind.clone(),
            name: one.name.clone(),
            act: one.act.clone(),
            effect: one.effect.clone(),
            fields: one.fields.iter().map(field).collect(),
        };
        wire::PlanResponse {
            system: self.system.clone(),
            env: self.env.clone(),
            seen: self.seen,
            lineage: self.lineage,
            changes: self.changes.iter().map(change).collect(),
            notes: self.notes.clone(),
            ..wire::PlanResponse::default()
        }
    }

    pub fn spec(&self) -> wire::Spec {
        let document = |one: &Document| wire::Document {
            kind: one.kind.clone(),
            name: one.name.clone(),
            body_json: one.body.clone(),
            origin: one.origin.clone(),
            origins: one.origins.clone().into_iter().collect(),
        };
        wire::Spec { documents: self.documents.iter().map(document).collect() }
    }

    pub fn write(&self, path: &Path) -> Result<(), Problem> {
        let failed = |source| Problem::File { operation: "write the plan to", path: path.to_owned(), source };
        let text = serde_json::to_string_pretty(self).map_err(|error| Problem::Failed(error.to_string()))?;
        // Specs may say what not everybody is to read.
        let mut file =
            fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path).map_err(failed)?;
        file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(failed)
    }

    pub fn read(path: &Path) -> Result<Self, Problem> {
        let text = fs::read_to_string(path).map_err(|source| Problem::File {
            operation: "read the plan in",
            path: path.to_owned(),
            source,
        })?;
        let wrong = |told: String| Problem::Failed(format!("{}: {told}", path.display()));
        let value: serde_json::Value = serde_json::from_str(&text)
            .map_err(|error| wrong(format!("is no plan, or a damaged one ({error}): make it again with --out")))?;
        match value.get("format").and_then(serde_json::Value::as_u64) {
            Some(format) if format == u64::from(FORMAT) => {}
            Some(format) => {
                return Err(wrong(format!("is a plan of format {format}: use the hostlerctl that made it")));
            }
            None => return Err(wrong("is no plan: make one with hostlerctl plan --out FILE".to_owned())),
        }
        serde_json::from_value(value)
            .map_err(|error| wrong(format!("is a damaged plan ({error}): make it again with --out")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_file_reads_back_and_damage_is_told() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("plan.json");
        let spec = wire::Spec {
            documents: vec![wire::Document {
                kind: "check".into(),
                name: "disk".into(),
                body_json: "{}".into(),
                origin: "a.yaml:1".into(),
                origins: [("where".to_owned(), "b.yaml:2".to_owned())].into(),
            }],
        };
        let plan = wire::PlanResponse {
            system: "shop".into(),
            seen: 3,
            lineage: 7,
            changes: vec![wire::Change { kind: "check".into(), act: "create".into(), ..wire::Change::default() }],
            ..wire::PlanResponse::default()
        };
        let file = PlanFile::new(&plan, &spec, "now".into());
        file.write(&path).expect("written");
        let again = PlanFile::read(&path).expect("reads");
        assert_eq!((again.plan(), again.spec()), (plan, spec));
        let text = fs::read_to_string(&path).expect("reads");
        for (damaged, told) in [
            (text.replace("\"format\": 1", "\"format\": 9"), "of format 9"),
            (text.get(..40).unwrap_or_default().to_owned(), "a damaged one"),
            (text.replace("\"seen\"", "\"sene\""), "a damaged plan"),
            ("{}".to_owned(), "is no plan"),
        ] {
            fs::write(&path, &damaged).expect("written");
            let error = PlanFile::read(&path).expect_err(&damaged).to_string();
            assert!(error.contains(told), "{error}");
        }
    }
}
