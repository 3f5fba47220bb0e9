//! `hostler-plugin sign`: vouches for a plugin, in its own file.

use crate::keygen::read_key;
use crate::output::{print, write_whole};
use anyhow::{Context, Result};
use data_encoding::HEXLOWER;
use hostler_types::Timestamp;
use hostler_types::plugin::{Signature, attach_signature, embedded_manifest, key_id, split_signature};
use hostler_types::time::whole_millis;
use hostler_types::units::parse_duration;
use ring::signature::KeyPair;
use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

#[derive(clap::Args)]
pub struct Arguments {
    /// The built plugin; it is signed in its place
    #[arg(value_name = "FILE.wasm")]
    file: PathBuf,
    /// The private key, as keygen made it
    #[arg(long, value_name = "NAME.key")]
    key: PathBuf,
    /// How long the signature counts, such as 365d [default: for ever]
    #[arg(long, value_name = "DURATION", value_parser = span)]
    expires: Option<Duration>,
}

fn span(text: &str) -> Result<Duration, String> {
    match parse_duration(text) {
        Ok(span) if span.is_zero() => Err("it would have expired at once: write it like 365d".to_owned()),
        Ok(span) => Ok(span),
        Err(error) => Err(error.to_string()),
    }
}

pub fn sign(arguments: &Arguments) -> Result<()> {
    let shown = arguments.file.display();
    // A link stays one.
    let file = arguments.file.canonicalize().with_context(|| format!("find {shown}"))?;
    let bytes = std::fs::read(&file).with_context(|| format!("read {shown}"))?;
    let manifest = embedded_manifest(&bytes).with_context(|| format!("{shown}"))?;
    let key = read_key(&arguments.key)?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).context("read the clock")?;
    let expires = arguments.expires.map(|span| Timestamp::from_millis(whole_millis(now)).plus(span));

    let (rest, _) = split_signature(&bytes).with_context(|| format!("{shown}"))?;
    let digest = ring::digest::digest(&ring::digest::SHA256, &rest);
    let mut signature = Signature {
        key: key_id(key.public_key().as_ref()),
        name: manifest.name.to_string(),
        version: manifest.version.clone(),
        expires_ms: expires.map(Timestamp::as_millis),
        signature: String::new(),
    };
    signature.signature = HEXLOWER.encode(key.sign(&signature.message(digest.as_ref())).as_ref());
    write_whole(&file, &attach_signature(&rest, &signature))?;
    print(&format!("{} {}  signed by {}\n", manifest.name, manifest.version, told(&signature)))
}

/// `key 3f2a..., expires 2027-01-01T00:00:00.000Z`
pub fn told(signature: &Signature) -> String {
    let expires = match signature.expires_ms {
        Some(at) => format!("expires {}", Timestamp::from_millis(at)),
        None => "never expires".to_owned(),
    };
    format!("key {}, {expires}", signature.key)
}
