//! Objects to YAML that reads back as the same objects.

use super::read::Object;
use serde_json::{Map, Value};

/// `kind: {name: body}`, kinds in their order, names sorted.
pub fn write_yaml(objects: &[Object], full: bool) -> String {
    let value = to_value(objects, full);
    if value.as_object().is_none_or(Map::is_empty) {
        return String::new();
    }
    // Plain values only: strings, numbers, lists and maps all have a form.
    serde_saphyr::to_string(&value).unwrap_or_default()
}

/// The same as a JSON value.
pub fn to_value(objects: &[Object], full: bool) -> Value {
    let mut kinds = Map::new();
    for object in objects {
        let kind = kinds.entry(object.body.kind().word()).or_insert_with(|| Value::Object(Map::new()));
        if let Value::Object(named) = kind {
            named.insert(object.name.to_string(), object.body.to_json(full));
        }
    }
    Value::Object(kinds)
}
