//! A plan in a file: what was shown, and exactly what applying it sends.

use crate::folder::digest;
use crate::problem::Problem;
use hostler_proto::admin as wire;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

const FORMAT: u64 = 1;
/// The largest spec that a control plane takes, before and after, with room for
/// how JSON writes it.
const FILE_BYTES_MAX: u64 = 128 * 1024 * 1024;

/// The digest tells damage from a plan; it is no signature.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Sealed {
    format: u64,
    digest: String,
    plan: PlanFile,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlanFile {
    pub lineage: u64,
    /// Where the control plane was reached: for people, who know it by that.
    pub control_plane: String,
    pub system: String,
    env_before: String,
    pub env: String,
    pub seen: u64,
    pub made_at_ms: u64,
    notes: Vec<String>,
    changes: Vec<Change>,
    documents: Vec<Document>,
    /// `files/haproxy.cfg` to its digest; the content is on the control plane.
    pub files: BTreeMap<String, String>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Change {
    kind: String,
    name: String,
    act: String,
    effect: String,
    fields: Vec<(String, String, String)>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    kind: String,
    name: String,
    body: String,
    origin: String,
    origins: BTreeMap<String, String>,
}

/// When and where a plan is made, and what it needs there.
pub struct Made {
    pub control_plane: String,
    pub at_ms: u64,
    pub files: BTreeMap<String, String>,
}

impl PlanFile {
    pub fn new(plan: &wire::PlanResponse, spec: &wire::Spec, made: Made) -> Self {
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
            lineage: plan.lineage,
            control_plane: made.control_plane,
            system: plan.system.clone(),
            env_before: plan.env_before.clone(),
            env: plan.env.clone(),
            seen: plan.seen,
            made_at_ms: made.at_ms,
            notes: plan.notes.clone(),
            changes: plan.changes.iter().map(change).collect(),
            documents: spec.documents.iter().map(document).collect(),
            files: made.files,
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
            env_before: self.env_before.clone(),
            env: self.env.clone(),
            seen: self.seen,
            lineage: self.lineage,
            changes: self.changes.iter().map(change).collect(),
            notes: self.notes.clone(),
            problems: Vec::new(),
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
        let unwritable = |error: serde_json::Error| Problem::Failed(error.to_string());
        let digest = self.digest().map_err(unwritable)?;
        let sealed = Sealed { format: FORMAT, digest, plan: self.clone() };
        let text = serde_json::to_string_pretty(&sealed).map_err(unwritable)?;
        let written = write_private(path, text.as_bytes());
        written.map_err(|source| Problem::File { operation: "write the plan to", path: path.to_owned(), source })
    }

    pub fn read(path: &Path) -> Result<Self, Problem> {
        let mut bytes = Vec::new();
        let read = File::open(path).and_then(|file| file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes));
        read.map_err(|source| Problem::File { operation: "read the plan in", path: path.to_owned(), source })?;
        let parsed = if bytes.len() as u64 > FILE_BYTES_MAX { Err(FileError::TooLarge) } else { Self::parse(&bytes) };
        parsed.map_err(|error| Problem::Failed(format!("{} {error}", path.display())))
    }

    fn parse(bytes: &[u8]) -> Result<Self, FileError> {
        let value: serde_json::Value = serde_json::from_slice(bytes).map_err(FileError::NoJson)?;
        match value.get("format").and_then(serde_json::Value::as_u64) {
            Some(FORMAT) => {}
            Some(format) => return Err(FileError::Format(format)),
            None => return Err(FileError::NoPlan),
        }
        let sealed: Sealed = serde_json::from_value(value).map_err(FileError::Fields)?;
        if sealed.plan.digest().map_err(FileError::Fields)? != sealed.digest {
            return Err(FileError::Digest);
        }
        Ok(sealed.plan)
    }

    fn digest(&self) -> Result<String, serde_json::Error> {
        Ok(digest(serde_json::to_string(self)?.as_bytes()))
    }
}

/// Each reads on from the file's name.
#[derive(Debug, thiserror::Error)]
enum FileError {
    #[error("is no plan, or a damaged one ({0}): make it again with hostlerctl plan --out FILE")]
    NoJson(serde_json::Error),
    #[error("is no plan: make one with hostlerctl plan --out FILE")]
    NoPlan,
    #[error("is larger than any plan: make one with hostlerctl plan --out FILE")]
    TooLarge,
    #[error("is a plan of format {0}, and this hostlerctl reads format {FORMAT}: apply it with the one that made it")]
    Format(u64),
    #[error("is a damaged plan ({0}): make it again with hostlerctl plan --out FILE")]
    Fields(serde_json::Error),
    #[error("is a damaged plan (it was changed after it was made): make it again with hostlerctl plan --out FILE")]
    Digest,
}

/// For its owner alone, since specs may say what not everybody is to read; and
/// whole or not at all. A pipe or a terminal is written to as it is.
fn write_private(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let path = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    if fs::metadata(&path).is_ok_and(|found| !found.is_file()) {
        return OpenOptions::new().write(true).open(&path)?.write_all(bytes);
    }
    let mut beside = path.file_name().unwrap_or_default().to_owned();
    beside.push(".new");
    let beside = path.with_file_name(beside);
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&beside)?;
    file.set_permissions(Permissions::from_mode(0o600))?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&beside, &path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example() -> (wire::PlanResponse, wire::Spec, PlanFile) {
        let spec = wire::Spec {
            documents: vec![wire::Document {
                kind: "check".into(),
                name: "disk".into(),
                body_json: "{\"every\":\"10s\"}".into(),
                origin: "a.yaml:1".into(),
                origins: [("where".to_owned(), "b.yaml:2".to_owned())].into(),
            }],
        };
        let field =
            wire::FieldChange { path: "every".into(), before_json: "\"5s\"".into(), after_json: "\"10s\"".into() };
        let plan = wire::PlanResponse {
            system: "shop".into(),
            seen: 3,
            lineage: 7,
            env_before: "staging".into(),
            env: "prod".into(),
            notes: vec!["no node has role=drill yet".into()],
            changes: vec![wire::Change {
                kind: "check".into(),
                name: "disk".into(),
                act: "update".into(),
                effect: "runs on 1 node".into(),
                fields: vec![field],
            }],
            problems: Vec::new(),
        };
        let made = Made {
            control_plane: "127.0.0.1:7480".into(),
            at_ms: 1_772_373_735_250,
            files: [("files/a".to_owned(), "01".repeat(32))].into(),
        };
        let file = PlanFile::new(&plan, &spec, made);
        (plan, spec, file)
    }

    #[test]
    fn a_plan_file_reads_back_and_is_its_owners_alone() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("plan.json");
        let (plan, spec, file) = example();
        // Not even where a file that everybody reads was there before.
        fs::write(&path, "old").expect("written");
        fs::set_permissions(&path, Permissions::from_mode(0o644)).expect("set");
        file.write(&path).expect("written");
        assert_eq!(fs::metadata(&path).expect("there").permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(folder.path()).expect("read").count(), 1);
        let again = PlanFile::read(&path).expect("reads");
        assert_eq!((again.plan(), again.spec()), (plan, spec));
        assert_eq!(again, file);
        assert!(file.write(&folder.path().join("none/plan.json")).is_err());
        file.write(Path::new("/dev/null")).expect("written to what is no file");
    }

    #[test]
    fn damage_is_told_from_what_is_newer() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("plan.json");
        example().2.write(&path).expect("written");
        let text = fs::read_to_string(&path).expect("reads");
        for (damaged, told) in [
            (text.replace("\"format\": 1", "\"format\": 9"), "a plan of format 9, and this hostlerctl reads format 1"),
            (text.get(..40).unwrap_or_default().to_owned(), "a damaged one"),
            (text.replace("\"seen\"", "\"sene\""), "a damaged plan"),
            (text.replace("\"seen\": 3", "\"seen\": 4"), "changed after it was made"),
            (text.replace("10s", "99s"), "changed after it was made"),
            ("{}".to_owned(), "is no plan: make one"),
            ("[]".to_owned(), "is no plan: make one"),
            ("check: {}".to_owned(), "is no plan, or a damaged one"),
            (String::new(), "is no plan, or a damaged one"),
            ("[".repeat(100_000), "is no plan, or a damaged one"),
        ] {
            assert_ne!(damaged, text);
            fs::write(&path, &damaged).expect("written");
            let error = PlanFile::read(&path).expect_err(told).to_string();
            assert!(error.contains("plan.json is ") && error.contains(told), "{error}");
        }
        fs::write(&path, b"\xff\xfe").expect("written");
        assert!(PlanFile::read(&path).is_err());
        assert!(PlanFile::read(folder.path()).is_err());
    }
}
