//! Takes out of a record what nobody but the plugin was to see.

use data_encoding::{BASE64, HEXLOWER};
use serde_json::Value;

/// What stands for a secret.
pub const REDACTED: &str = "REDACTED";

/// The secrets that a run was shown, in the forms they travel in.
#[derive(Default)]
pub struct Secrets(Vec<Vec<u8>>);

impl Secrets {
    pub fn add(&mut self, secret: &str) {
        for form in [secret.to_owned(), secret.trim().to_owned(), BASE64.encode(secret.as_bytes())] {
            if !form.is_empty() {
                self.0.push(form.into_bytes());
            }
        }
        // The longest first: one may be a part of another.
        self.0.sort_by_key(|form| std::cmp::Reverse(form.len()));
        self.0.dedup();
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn text(&self, text: &str) -> String {
        let texts = self.0.iter().filter_map(|secret| std::str::from_utf8(secret).ok());
        texts.fold(text.to_owned(), |text, secret| text.replace(secret, REDACTED))
    }

    /// Every text and all bytes of a value.
    pub fn value(&self, value: &mut Value) {
        if self.is_empty() {
            return;
        }
        match value {
            Value::String(text) => *text = self.text(text),
            Value::Array(items) => items.iter_mut().for_each(|item| self.value(item)),
            Value::Object(map) => {
                let bytes = map.get("hex").and_then(Value::as_str).filter(|_| map.len() == 1);
                if let Some(bytes) = bytes.and_then(|hex| HEXLOWER.decode(hex.as_bytes()).ok()) {
                    let clean = self.0.iter().fold(bytes, |bytes, secret| replace(&bytes, secret));
                    map.insert("hex".to_owned(), HEXLOWER.encode(&clean).into());
                    return;
                }
                map.values_mut().for_each(|value| self.value(value));
            }
            _ => {}
        }
    }
}

fn replace(bytes: &[u8], secret: &[u8]) -> Vec<u8> {
    let (mut clean, mut rest) = (Vec::with_capacity(bytes.len()), bytes);
    while let Some((first, after)) = rest.split_first() {
        match rest.strip_prefix(secret) {
            Some(behind) => {
                clean.extend_from_slice(REDACTED.as_bytes());
                rest = behind;
            }
            None => {
                clean.push(*first);
                rest = after;
            }
        }
    }
    clean
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_secret_is_found_in_all_its_forms() {
        let mut secrets = Secrets::default();
        secrets.add("s3cret\n");
        let hex = HEXLOWER.encode(b"\xffs3cret\xff");
        let mut value = json!({"url": "http://x/?k=s3cret", "b": BASE64.encode(b"s3cret\n"), "l": ["a s3cret b", 1], "der": {"hex": hex}});
        secrets.value(&mut value);
        let hex = HEXLOWER.encode(b"\xffREDACTED\xff");
        let clean =
            json!({"url": "http://x/?k=REDACTED", "b": "REDACTED", "l": ["a REDACTED b", 1], "der": {"hex": hex}});
        assert_eq!(value, clean);
    }
}
