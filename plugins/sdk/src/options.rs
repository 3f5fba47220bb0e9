//! Options from the check's `with:`, with errors that name the option.

use serde::de::DeserializeOwned;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    /// The JSON pointer of the wrong value; empty: the whole.
    pub pointer: String,
    pub message: String,
}

impl ConfigError {
    pub fn new(pointer: impl Into<String>, message: impl Into<String>) -> ConfigError {
        ConfigError { pointer: pointer.into(), message: message.into() }
    }
}

/// For a check that has none.
#[derive(Clone, Copy, Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NoOptions {}

pub fn read<T: DeserializeOwned>(json: &str) -> Result<T, ConfigError> {
    let mut reader = serde_json::Deserializer::from_str(json);
    serde_path_to_error::deserialize(&mut reader).map_err(|error| {
        let mut pointer = String::new();
        for segment in error.path().iter() {
            use serde_path_to_error::Segment;
            match segment {
                Segment::Seq { index } => pointer.push_str(&format!("/{index}")),
                Segment::Map { key } | Segment::Enum { variant: key } => {
                    pointer.push('/');
                    pointer.push_str(&key.replace('~', "~0").replace('/', "~1"));
                }
                Segment::Unknown => {}
            }
        }
        // Line and column mean nothing: the JSON was written by the agent.
        let message = error.inner().to_string();
        let message = message.split(" at line ").next().unwrap_or_default().to_owned();
        ConfigError { pointer, message }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Options {
        #[allow(dead_code)]
        list: Vec<u8>,
    }

    #[test]
    fn errors_point_at_the_option() {
        for (json, pointer, says) in [
            (r#"{"list":[1,"x"]}"#, "/list/1", "invalid type"),
            (r#"{"lst":[]}"#, "/lst", "unknown field `lst`"),
            (r#"{}"#, "", "missing field `list`"),
        ] {
            let error = read::<Options>(json).expect_err(json);
            assert_eq!(error.pointer, pointer, "{error:?}");
            assert!(error.message.contains(says) && !error.message.contains("line"), "{error:?}");
        }
    }
}
