//! The language as a JSON schema (draft 2020-12), for editors.
//!
//! A schema can't know everything (a name that is not there, a cron line that
//! never comes): it accepts too much rather than too little.

use super::form::{Field, Form, Json as JsonKind, Need, Record, Scalar};
use super::kind::Kind;
use super::yaml;
use serde_json::{Map, Value, json};

/// What a file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flavour {
    /// A file of the system's folder.
    Spec,
    /// `env/NAME.yaml`: nothing is required in it, and null removes.
    Overlay,
}

const NAME_PATTERN: &str = "^[a-z0-9][a-z0-9._-]{0,62}$";

pub fn json_schema(flavour: Flavour) -> Value {
    let mut properties = Map::new();
    properties.insert("version".to_owned(), json!({ "description": "The version of the language.", "const": 1 }));
    let mut definitions = Map::new();
    for kind in Kind::ALL {
        let reference = json!({ "$ref": format!("#/$defs/{kind}") });
        let record = kind.record();
        definitions.insert(kind.word().to_owned(), of_record(record, flavour));
        let property = if *kind == Kind::System {
            json!({ "description": record.doc, "$ref": format!("#/$defs/{kind}") })
        } else {
            // A name without a body is one with nothing to say.
            let body = json!({ "anyOf": [reference, { "type": "null" }] });
            json!({
                "description": record.doc,
                "type": ["object", "null"],
                "propertyNames": { "pattern": NAME_PATTERN },
                "additionalProperties": body,
            })
        };
        properties.insert(kind.word().to_owned(), property);
    }
    let (title, about) = match flavour {
        Flavour::Spec => ("Hostler spec", "A file of a system's folder: any kind, any number of objects."),
        Flavour::Overlay => ("Hostler overlay", "env/NAME.yaml: what differs in an environment; null removes."),
    };
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": title,
        "description": about,
        "type": "object",
        "properties": properties,
        "additionalProperties": false,
        "$defs": definitions,
    })
}

fn of_record(record: &Record, flavour: Flavour) -> Value {
    let properties: Map<String, Value> =
        record.fields.iter().map(|field| (field.key.to_owned(), of_field(field, flavour))).collect();
    let mut schema = Map::new();
    schema.insert("description".to_owned(), record.doc.as_str().into());
    schema.insert("type".to_owned(), "object".into());
    schema.insert("properties".to_owned(), properties.into());
    schema.insert("additionalProperties".to_owned(), false.into());
    if flavour == Flavour::Spec {
        let required: Vec<&str> =
            record.fields.iter().filter(|field| field.need == Need::Required).map(|field| field.key).collect();
        if !required.is_empty() {
            schema.insert("required".to_owned(), required.into());
        }
        if !record.one_of.is_empty() {
            let groups: Vec<Value> = record
                .one_of
                .iter()
                .map(|group| json!({ "oneOf": group.iter().map(|key| json!({ "required": [key] })).collect::<Vec<_>>() }))
                .collect();
            schema.insert("allOf".to_owned(), groups.into());
        }
    }
    let whole = Value::Object(schema);
    match record.short.and_then(|short| record.fields.iter().find(|field| field.key == short)) {
        Some(short) => json!({ "anyOf": [of_form(&short.form, flavour), whole] }),
        None => whole,
    }
}

fn of_field(field: &Field, flavour: Flavour) -> Value {
    let form = of_form(&field.form, flavour);
    let form = if flavour == Flavour::Overlay { json!({ "anyOf": [form, { "type": "null" }] }) } else { form };
    let Value::Object(mut schema) = form else { return form };
    schema.insert("description".to_owned(), field.doc.as_str().into());
    if let Need::Default(default) = &field.need {
        schema.insert("default".to_owned(), default.clone());
    }
    if let Some(example) = example(field) {
        schema.insert("examples".to_owned(), vec![example].into());
    }
    Value::Object(schema)
}

/// The example's value, out of `every: 10s`.
fn example(field: &Field) -> Option<Value> {
    let mut faults = Vec::new();
    let node = yaml::parse(field.example, 0, &mut faults)?;
    node.get(field.key).map(yaml::Node::to_json)
}

fn of_form(form: &Form, flavour: Flavour) -> Value {
    match form {
        Form::Scalar(scalar) => of_scalar(scalar),
        Form::Words(words) => {
            let each: Vec<Value> =
                words.iter().map(|word| json!({ "const": word.word, "description": word.doc.trim() })).collect();
            json!({ "oneOf": each })
        }
        Form::Reference(kind) => {
            json!({ "type": "string", "pattern": NAME_PATTERN, "description": format!("The name of {}.", kind.with_article()) })
        }
        Form::List(of) => json!({ "type": "array", "items": of_form(of, flavour) }),
        Form::Map { key, value } => {
            let mut schema = json!({ "type": "object", "additionalProperties": of_form(value, flavour) });
            if let (Some(pattern), Value::Object(map)) = (key.pattern, &mut schema) {
                map.insert("propertyNames".to_owned(), json!({ "pattern": pattern }));
            }
            schema
        }
        Form::Record(record) => of_record(record(), flavour),
        Form::Either(forms) => {
            json!({ "anyOf": forms.iter().map(|form| of_form(form, flavour)).collect::<Vec<_>>() })
        }
        Form::Any => json!({}),
    }
}

fn of_scalar(scalar: &Scalar) -> Value {
    let word = match scalar.json {
        JsonKind::Text => "string",
        JsonKind::Whole => "integer",
        JsonKind::Number => "number",
        JsonKind::Flag => "boolean",
    };
    let mut schema = Map::new();
    schema.insert("type".to_owned(), word.into());
    if let Some(pattern) = scalar.pattern {
        schema.insert("pattern".to_owned(), pattern.into());
    } else if scalar.json == JsonKind::Text {
        schema.insert("minLength".to_owned(), 1.into());
    }
    // Bounds of text, such as durations, are words to a schema.
    if matches!(scalar.json, JsonKind::Whole | JsonKind::Number) {
        for (key, bound) in [("minimum", &scalar.least), ("maximum", &scalar.most)] {
            if let Some(bound) = bound.as_ref().and_then(|bound| bound.parse::<i64>().ok()) {
                schema.insert(key.to_owned(), bound.into());
            }
        }
    }
    Value::Object(schema)
}
