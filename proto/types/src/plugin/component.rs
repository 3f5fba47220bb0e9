//! The manifest inside a component.
//!
//! Control plane, agent and tools all read it from uploads nobody has checked
//! yet, so the sections are walked by hand: a few lines, no parser of the whole
//! format to trust, and no bytes that make it panic.

use super::signature::SIGNATURE_SECTION;
use super::{Manifest, ManifestError};

/// The custom section that holds the text of plugin.toml.
pub const MANIFEST_SECTION: &str = "hostler:manifest";

const MAGIC: &[u8] = b"\0asm";
/// The second half of the version word: 0 is a core module, 1 a component.
const LAYER_COMPONENT: u16 = 1;
const CUSTOM_SECTION: u8 = 0;

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ComponentError {
    #[error("this is not WebAssembly: it does not begin with \\0asm")]
    NotWasm,
    #[error(
        "this is a core module, not a component: link it with wasm-component-ld, as plugins/.cargo/config.toml does"
    )]
    CoreModule,
    #[error("the component is damaged at byte {at}: {what}")]
    Malformed { at: usize, what: &'static str },
    #[error("the component has no manifest: pack it with `hostler-plugin pack`")]
    NoManifest,
    #[error("the component has more than one manifest: pack it again with `hostler-plugin pack`")]
    TwoManifests,
    #[error("the manifest in the component is not text")]
    NotText,
    #[error("the signature in the component is not as it should be: {0}")]
    Signature(String),
    #[error(transparent)]
    Manifest(#[from] ManifestError),
}

pub fn embedded_manifest(component: &[u8]) -> Result<Manifest, ComponentError> {
    let mut found = None;
    for section in Sections::new(component)? {
        let section = section?;
        if let Some(data) = section.custom(MANIFEST_SECTION) {
            if found.is_some() {
                return Err(ComponentError::TwoManifests);
            }
            found = Some(data);
        }
    }
    let data = found.ok_or(ComponentError::NoManifest)?;
    let text = std::str::from_utf8(data).map_err(|_| ComponentError::NotText)?;
    Ok(Manifest::parse(text)?)
}

/// The component with this manifest, in place of any it had. The manifest must
/// be one that [`embedded_manifest`] will read.
pub fn embed_manifest(component: &[u8], manifest_toml: &str) -> Result<Vec<u8>, ComponentError> {
    Manifest::parse(manifest_toml)?;
    let sections = Sections::new(component)?;
    let mut out = Vec::with_capacity(component.len() + manifest_toml.len() + 32);
    out.extend_from_slice(sections.header());
    for section in sections {
        let section = section?;
        // A signature of what it was is none of what it will be.
        if section.custom(MANIFEST_SECTION).or(section.custom(SIGNATURE_SECTION)).is_none() {
            out.extend_from_slice(section.whole);
        }
    }
    push_section(&mut out, MANIFEST_SECTION, manifest_toml.as_bytes());
    Ok(out)
}

/// A custom section, behind whatever there is.
pub(super) fn push_section(out: &mut Vec<u8>, name: &str, data: &[u8]) {
    let mut body = Vec::with_capacity(data.len() + 32);
    push_leb128(&mut body, name.len());
    body.extend_from_slice(name.as_bytes());
    body.extend_from_slice(data);
    out.push(CUSTOM_SECTION);
    push_leb128(out, body.len());
    out.extend_from_slice(&body);
}

pub(super) struct Section<'a> {
    /// Id, length and content.
    pub(super) whole: &'a [u8],
    /// A custom one's name and data.
    named: Option<(&'a [u8], &'a [u8])>,
}

impl<'a> Section<'a> {
    /// The data, if it is a custom section of this name.
    pub(super) fn custom(&self, name: &str) -> Option<&'a [u8]> {
        self.named.filter(|(found, _)| *found == name.as_bytes()).map(|(_, data)| data)
    }
}

pub(super) struct Sections<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Sections<'a> {
    const HEADER_BYTES: usize = 8;

    pub(super) fn new(bytes: &'a [u8]) -> Result<Self, ComponentError> {
        if !bytes.starts_with(MAGIC) {
            return Err(ComponentError::NotWasm);
        }
        match bytes.get(6..Self::HEADER_BYTES) {
            Some(layer) if layer == LAYER_COMPONENT.to_le_bytes() => Ok(Self { bytes, at: Self::HEADER_BYTES }),
            Some([0, 0]) => Err(ComponentError::CoreModule),
            _ => Err(ComponentError::NotWasm),
        }
    }

    pub(super) fn header(&self) -> &'a [u8] {
        self.bytes.get(..Self::HEADER_BYTES).unwrap_or_default()
    }

    fn section(&mut self) -> Result<Section<'a>, ComponentError> {
        let start = self.at;
        let malformed = |what| ComponentError::Malformed { at: start, what };
        let id = *self.bytes.get(start).ok_or_else(|| malformed("a section has no id"))?;
        let after_id = self.bytes.get(start + 1..).unwrap_or_default();
        let (length, length_bytes) =
            read_leb128(after_id).ok_or_else(|| malformed("a section's length is no number"))?;
        let content_at = start + 1 + length_bytes;
        let end = content_at.checked_add(length).ok_or_else(|| malformed("a section is longer than the file"))?;
        let content = self.bytes.get(content_at..end).ok_or_else(|| malformed("a section is longer than the file"))?;
        let named = if id == CUSTOM_SECTION {
            let (name_length, name_at) =
                read_leb128(content).ok_or_else(|| malformed("a custom section has no name"))?;
            let rest = content.get(name_at..).unwrap_or_default();
            let (name, data) =
                rest.split_at_checked(name_length).ok_or_else(|| malformed("a custom section has no name"))?;
            Some((name, data))
        } else {
            None
        };
        self.at = end;
        Ok(Section { whole: self.bytes.get(start..end).unwrap_or_default(), named })
    }
}

impl<'a> Iterator for Sections<'a> {
    type Item = Result<Section<'a>, ComponentError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.at >= self.bytes.len() {
            return None;
        }
        let section = self.section();
        if section.is_err() {
            self.at = self.bytes.len();
        }
        Some(section)
    }
}

/// An unsigned 32-bit LEB128: the number and how many bytes it took.
fn read_leb128(bytes: &[u8]) -> Option<(usize, usize)> {
    let mut value: u64 = 0;
    for (index, byte) in bytes.iter().take(5).enumerate() {
        value |= u64::from(byte & 0x7f) << (7 * index);
        if byte & 0x80 == 0 {
            let value = u32::try_from(value).ok()?;
            return Some((usize::try_from(value).ok()?, index + 1));
        }
    }
    None
}

fn push_leb128(out: &mut Vec<u8>, mut value: usize) {
    loop {
        let low = u8::try_from(value & 0x7f).unwrap_or_default();
        value >>= 7;
        if value == 0 {
            out.push(low);
            return;
        }
        out.push(low | 0x80);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const EMPTY: &[u8] = b"\0asm\x0d\0\x01\0";
    const MANIFEST: &str = "name = \"x\"\nversion = \"1\"\nworld = \"check\"\n";

    #[test]
    fn what_was_packed_is_read_and_replaced() {
        let packed = embed_manifest(EMPTY, MANIFEST).expect("packs");
        assert_eq!(embedded_manifest(&packed).expect("reads").version, "1");
        let again = embed_manifest(&packed, &MANIFEST.replace('1', "2")).expect("packs");
        assert_eq!(embedded_manifest(&again).expect("reads").version, "2");
        assert_eq!(again.len(), packed.len());
    }

    #[test]
    fn a_long_section_has_a_long_length() {
        let manifest = format!("{MANIFEST}#{}", "x".repeat(9_000));
        let packed = embed_manifest(EMPTY, &manifest).expect("packs");
        assert!(embedded_manifest(&packed).is_ok());
    }

    #[test]
    fn says_what_is_wrong() {
        let packed = embed_manifest(EMPTY, MANIFEST).expect("packs");
        let twice = [packed.as_slice(), &packed[8..]].concat();
        let cut = &packed[..packed.len() - 1];
        for (bytes, says) in [
            (&b"#!/bin/sh"[..], "not WebAssembly"),
            (&b""[..], "not WebAssembly"),
            (&b"\0asm"[..], "not WebAssembly"),
            (&b"\0asm\x01\0\0\0"[..], "core module"),
            (EMPTY, "hostler-plugin pack"),
            (&twice, "more than one manifest"),
            (cut, "damaged at byte 8"),
        ] {
            let error = embedded_manifest(bytes).expect_err(says).to_string();
            assert!(error.contains(says), "{error:?} does not say {says:?}");
        }
        assert!(embed_manifest(EMPTY, "nmae = 1").is_err());
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(tail in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = embedded_manifest(&tail);
            let _ = embedded_manifest(&[EMPTY, tail.as_slice()].concat());
            let _ = embed_manifest(&[EMPTY, tail.as_slice()].concat(), MANIFEST);
        }

        #[test]
        fn no_flipped_byte_makes_it_panic(at in 0usize..70, to in any::<u8>()) {
            let mut packed = embed_manifest(EMPTY, MANIFEST).expect("packs");
            if let Some(byte) = packed.get_mut(at) { *byte = to; }
            let _ = embedded_manifest(&packed);
        }
    }
}
