//! The schema, the reference and the examples of every field, against the types
//! they are made from.

use super::folder;
use hostler_types::spec::{Field, Flavour, Form, Kind, Record, explain, json_schema, reference, schema_text};
use std::path::Path;

/// Written anew with `HOSTLER_REGENERATE=1`.
fn committed(path: &str, want: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/docs").join(path);
    if std::env::var_os("HOSTLER_REGENERATE").is_some() {
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("the folder is made");
        std::fs::write(&path, want).expect("the file is written");
    }
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(found == want, "{} is out of date: run `cargo xtask codegen`", path.display());
}

#[test]
fn the_pages_are_as_the_types_say() {
    committed("specs.md", &reference());
    committed("spec.schema.json", &schema_text(Flavour::Spec));
    committed("overlay.schema.json", &schema_text(Flavour::Overlay));
}

#[test]
fn the_schema_accepts_the_examples() {
    let (spec, overlay) = (json_schema(Flavour::Spec), json_schema(Flavour::Overlay));
    jsonschema::meta::validate(&spec).expect("a schema");
    jsonschema::meta::validate(&overlay).expect("a schema");
    let spec = jsonschema::draft202012::new(&spec).expect("a schema");
    let overlay = jsonschema::draft202012::new(&overlay).expect("a schema");
    let source = folder::read(&folder::example("revitron"), Some("prod"));
    let staging = folder::read(&folder::example("revitron"), Some("staging"));
    let overlays = source.env.iter().chain(&staging.env).flat_map(|env| &env.files);
    let files = source.files.iter().map(|file| (&spec, file)).chain(overlays.map(|file| (&overlay, file)));
    for (schema, file) in files {
        let value = folder::to_json(&file.text).expect("YAML");
        let errors: Vec<String> =
            schema.iter_errors(&value).map(|error| format!("{}: {error}", error.instance_path())).collect();
        assert!(errors.is_empty(), "{}: {errors:#?}", file.path);
    }
}

/// The files of a case, by their paths.
fn parts(spec: &str) -> Vec<(String, String)> {
    let mut parts = vec![(String::new(), String::new())];
    for line in spec.lines() {
        match (line.strip_prefix("--- "), parts.last_mut()) {
            (Some(path), _) => parts.push((path.to_owned(), String::new())),
            (None, Some((_, text))) => text.push_str(&format!("{line}\n")),
            (None, None) => {}
        }
    }
    parts
}

/// Which of the wrong specs an editor marks by the schema alone. What names
/// something else, or a rule between fields, it can't know; YAML that can't be read
/// needs no schema.
#[test]
fn the_schema_rejects_what_a_schema_can() {
    let [spec, overlay] = [Flavour::Spec, Flavour::Overlay]
        .map(|flavour| jsonschema::draft202012::new(&json_schema(flavour)).expect("a schema"));
    let (mut told, mut rejected, mut readable) = (String::new(), 0, 0);
    for path in super::wrong::paths() {
        let text = std::fs::read_to_string(&path).expect("a file of wrong specs");
        let shown = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        for case in super::wrong::cases(&text) {
            let verdicts: Vec<_> = parts(&case.spec)
                .into_iter()
                .filter(|(path, _)| !path.starts_with("files/"))
                .map(|(path, text)| {
                    let schema = if path.starts_with("env/") { &overlay } else { &spec };
                    folder::to_json(&text).map(|value| value.is_null() || schema.is_valid(&value))
                })
                .collect();
            let verdict = match () {
                () if verdicts.iter().any(Result::is_err) => "is no YAML",
                () if verdicts.contains(&Ok(false)) => "rejected  ",
                () => "accepted  ",
            };
            readable += usize::from(verdict != "is no YAML");
            rejected += usize::from(verdict == "rejected  ");
            told.push_str(&format!("{verdict}  {shown}: {}\n", case.title));
        }
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/specs/schema_verdicts.txt");
    if std::env::var_os("HOSTLER_REGENERATE").is_some() {
        std::fs::write(&path, &told).expect("written");
    }
    assert_eq!(std::fs::read_to_string(&path).unwrap_or_default(), told, "{} is out of date", path.display());
    assert!(rejected * 2 > readable, "{rejected} of {readable}");
}

fn fields(path: &str, record: &'static Record, into: &mut Vec<(String, &'static Field)>) {
    fn inner(form: &'static Form) -> Option<&'static Record> {
        match form {
            Form::Record(record) => Some(record()),
            Form::List(of) => inner(of),
            Form::Map { value, .. } => inner(value),
            Form::Either(forms) => forms.iter().find_map(inner),
            _ => None,
        }
    }
    for field in &record.fields {
        let path = format!("{path}.{}", field.key);
        if let Some(record) = inner(&field.form) {
            fields(&path, record, into);
        }
        into.push((path, field));
    }
}

fn every_field() -> Vec<(String, &'static Field)> {
    let mut all = Vec::new();
    for kind in Kind::ALL {
        fields(kind.word(), kind.record(), &mut all);
    }
    all
}

#[test]
fn every_field_is_told_and_its_example_is_valid() {
    let all = every_field();
    assert!(all.len() > 150, "{}", all.len());
    let overlay = json_schema(Flavour::Overlay);
    for (path, field) in all {
        let told = explain(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
        assert!(told.contains(field.example), "{told}");
        assert!(field.doc.ends_with('.') && field.doc.len() > 10, "{path}: {:?} is no sentence", field.doc);
        let value = folder::to_json(field.example).unwrap_or_else(|error| panic!("{path}: {}: {error}", field.example));
        let only = value.as_object().expect("one field");
        assert_eq!(only.keys().map(String::as_str).collect::<Vec<_>>(), [field.key], "{path}");
        // At the top of a kind, a schema without required fields can judge it.
        if path.matches('.').count() == 1 {
            let kind = path.split('.').next().expect("a kind");
            let mut schema = overlay["$defs"][kind].clone();
            schema["$schema"] = overlay["$schema"].clone();
            let schema = jsonschema::draft202012::new(&schema).expect("a schema");
            assert!(schema.is_valid(&value), "{path}: {}", field.example);
        }
    }
}

#[test]
fn explaining_helps_those_who_mistype() {
    for (path, says) in [
        ("servce", "did you mean service?"),
        ("service.rolout", "did you mean rollout?"),
        ("service.rollout.canary.more", "service.rollout.canary has no fields"),
        ("check.zzz", "its fields are where, service, plugin"),
    ] {
        let error = explain(path).expect_err(path).to_string();
        assert!(error.contains(says), "{path}: {error}");
    }
    let told = explain("service.rollout.canary").expect("there");
    assert_eq!(
        told,
        "service.rollout.canary\n\n  How many nodes try it first.\n\n  it is    a whole number, or a share like 80% or \
         99.9%\n  needed   no\n  written  canary: 1\n"
    );
    assert!(explain("").expect("the kinds").lines().all(|line| line.chars().count() <= 80));
    assert!(explain("backup.paths.newer").is_ok(), "through lists");
}
