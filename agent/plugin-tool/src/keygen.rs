//! `hostler-plugin keygen`, and the files that keys are kept in.

use crate::called_as::called_as;
use crate::output::print;
use crate::subject::within;
use anyhow::{Context, Result, anyhow, bail, ensure};
use data_encoding::BASE64;
use hostler_types::Name;
use hostler_types::plugin::key_id;
use ring::signature::{Ed25519KeyPair, KeyPair};
use rustix::fs::OFlags;
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// The word before a public key in its file.
const PUBLIC_WORD: &str = "hostler-plugin-key";

const PEM_BEGIN: &str = "-----BEGIN PRIVATE KEY-----";
const PEM_END: &str = "-----END PRIVATE KEY-----";
/// A line of PEM.
const PEM_LINE: usize = 64;
/// A key has some 160 bytes.
const KEY_FILE_BYTES_MAX: u64 = 16 * 1024;

#[derive(clap::Args)]
pub struct Arguments {
    /// What the key is called: its files are NAME.key and NAME.pub
    #[arg(value_name = "NAME")]
    name: String,
    /// Where to write them
    #[arg(long, value_name = "DIR", default_value = ".")]
    out: PathBuf,
}

pub fn keygen(arguments: &Arguments) -> Result<()> {
    let name = Name::new(arguments.name.as_str()).context("the key's name")?;
    let out = within(&arguments.out);
    let (private, public) = (out.join(format!("{name}.key")), out.join(format!("{name}.pub")));
    // The key would be written before it turned out that its other half can't be.
    if public.exists() {
        bail!("{} is already there: choose another name, or another place by --out", public.display());
    }
    let random = ring::rand::SystemRandom::new();
    let pkcs8 =
        Ed25519KeyPair::generate_pkcs8(&random).map_err(|_| anyhow!("this host has no randomness for a key"))?;
    let pair = Ed25519KeyPair::from_pkcs8(pkcs8.as_ref()).map_err(|error| anyhow!("make a key: {error}"))?;
    let public_key = pair.public_key().as_ref();
    write_new(&private, &pem(pkcs8.as_ref()), 0o600)?;
    write_new(&public, &format!("{PUBLIC_WORD} {} {name}\n", BASE64.encode(public_key)), 0o644)?;
    print(&format!(
        "{name}  key {}\n{}  signs: keep it secret, `{} sign --key {}`\n{}  is for others: \
         `hostlerctl plugin trust add {name} {}`\n",
        key_id(public_key),
        private.display(),
        called_as(),
        private.display(),
        public.display(),
        public.display()
    ))
}

fn write_new(path: &Path, text: &str, mode: u32) -> Result<()> {
    let mut options = std::fs::OpenOptions::new();
    let mut file = match options.write(true).create_new(true).mode(mode).open(path) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            bail!("{} is already there: choose another name, or another place by --out", path.display())
        }
        result => result.with_context(|| format!("create {}", path.display()))?,
    };
    file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).with_context(|| format!("write {}", path.display()))
}

fn pem(der: &[u8]) -> String {
    let base64 = BASE64.encode(der);
    let mut text = format!("{PEM_BEGIN}\n");
    let mut rest = base64.as_str();
    while !rest.is_empty() {
        let (line, more) = rest.split_at_checked(PEM_LINE).unwrap_or((rest, ""));
        text.push_str(line);
        text.push('\n');
        rest = more;
    }
    format!("{text}{PEM_END}\n")
}

/// A private key's file, which nobody but its owner may read.
pub fn read_key(path: &Path) -> Result<Ed25519KeyPair> {
    let shown = path.display();
    let mut options = std::fs::OpenOptions::new();
    // Whoever gives a pipe by mistake is told at once.
    let nonblock = i32::try_from(OFlags::NONBLOCK.bits()).unwrap_or_default();
    let file = options.read(true).custom_flags(nonblock).open(path).with_context(|| format!("open {shown}"))?;
    let found = file.metadata().with_context(|| format!("read {shown}"))?;
    ensure!(found.is_file() && found.len() <= KEY_FILE_BYTES_MAX, "{shown} is no file of a key");
    let mut text = String::new();
    file.take(KEY_FILE_BYTES_MAX).read_to_string(&mut text).with_context(|| format!("read {shown}"))?;
    if text.starts_with(PUBLIC_WORD) {
        bail!("{shown} is a public key, and signing needs the other half: the .key file beside it");
    }
    let mode = found.mode() & 0o7777;
    ensure!(
        mode & 0o077 == 0,
        "{shown} can be read by others (mode {mode:04o}): a key that others may have signs nothing. If nobody has \
         read it, chmod 600 {shown}"
    );
    let wrong = || anyhow!("{shown} is no private key: give a .key file of `{} keygen NAME`", called_as());
    let body = text.trim().strip_prefix(PEM_BEGIN).and_then(|rest| rest.strip_suffix(PEM_END)).ok_or_else(wrong)?;
    let base64: String = body.chars().filter(|c| !c.is_whitespace()).collect();
    let der = BASE64.decode(base64.as_bytes()).map_err(|_| wrong())?;
    // As others make them, without their public half.
    Ed25519KeyPair::from_pkcs8_maybe_unchecked(&der).map_err(|_| anyhow!("{shown} is no Ed25519 key: only those sign"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn made(folder: &Path) -> Result<()> {
        keygen(&Arguments { name: "ci".to_owned(), out: folder.to_owned() })
    }

    #[test]
    fn a_key_is_its_owners_and_never_replaced() {
        let folder = tempfile::tempdir().expect("tempdir");
        made(folder.path()).expect("makes one");
        let key = folder.path().join("ci.key");
        assert_eq!(std::fs::metadata(&key).expect("there").mode() & 0o777, 0o600);
        let pair = read_key(&key).expect("reads");
        let public = std::fs::read_to_string(folder.path().join("ci.pub")).expect("reads");
        assert_eq!(public, format!("hostler-plugin-key {} ci\n", BASE64.encode(pair.public_key().as_ref())));

        let before = std::fs::read(&key).expect("reads");
        let error = made(folder.path()).expect_err("there already").to_string();
        assert!(error.contains("ci.pub is already there"), "{error}");
        std::fs::remove_file(folder.path().join("ci.pub")).expect("removes");
        let error = made(folder.path()).expect_err("there already").to_string();
        assert!(error.contains("ci.key is already there"), "{error}");
        assert_eq!(std::fs::read(&key).expect("reads"), before);
    }

    #[test]
    fn what_is_no_good_key_is_refused() {
        let folder = tempfile::tempdir().expect("tempdir");
        made(folder.path()).expect("makes one");
        let key = folder.path().join("ci.key");
        let refused = |path: &Path| read_key(path).err().map(|error| error.to_string()).unwrap_or_default();
        std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o640)).expect("chmod");
        assert!(refused(&key).contains("can be read by others (mode 0640)"), "{}", refused(&key));
        std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o600)).expect("chmod");
        let public = folder.path().join("ci.pub");
        assert!(refused(&public).contains("is a public key"), "{}", refused(&public));
        for (text, says) in [("x", "is no private key"), (&pem(b"x"), "is no Ed25519 key")] {
            std::fs::write(&key, text).expect("write");
            assert!(refused(&key).contains(says), "{}", refused(&key));
        }
        assert!(refused(folder.path()).contains("is no file of a key"));
        assert!(refused(&folder.path().join("none")).contains("open "));
    }
}
