//! Secrets: what the control plane gave this host, then the host's own, a file
//! each, that root or the agent owns and nobody else can read.

use super::MachineConfig;
use crate::call::CallError;
use crate::limits;
use std::fs::{File, Metadata, OpenOptions};
use std::io::{ErrorKind, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Arc;
use zeroize::Zeroizing;

/// Neither shown nor printed: only who asks for its bytes has them.
pub(super) struct Secret(Zeroizing<Vec<u8>>);

impl Secret {
    pub(super) fn bytes(&self) -> &[u8] {
        &self.0
    }

    pub(super) fn reveal(self) -> Result<String, CallError> {
        String::from_utf8(self.0.to_vec())
            .map_err(|_| CallError::other("secret", "it is no text, and can only be sent"))
    }
}

/// What this host was given, by name.
pub type Given = Arc<dyn Fn(&str) -> Option<Zeroizing<Vec<u8>>> + Send + Sync>;

/// Of a file, without the one line end that an editor leaves.
pub(super) fn read(config: &MachineConfig, name: &str) -> Result<Secret, CallError> {
    if let Some(given) = config.secrets_given.as_ref().and_then(|given| given(name)) {
        return Ok(Secret(given));
    }
    of_file(&config.secrets_folder, name)
}

fn of_file(folder: &Path, name: &str) -> Result<Secret, CallError> {
    let named = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    if name.is_empty()
        || name.len() > limits::SECRET_NAME_BYTES_MAX
        || name.starts_with('.')
        || !name.chars().all(named)
    {
        return Err(CallError::Invalid(format!(
            "{name:?} is no name of a secret: use letters, digits, '.', '_' and '-'"
        )));
    }
    let path = folder.join(name);
    let other = |says: String| CallError::other("secret", says);
    let failed = |error: std::io::Error| match error.kind() {
        ErrorKind::NotFound => other(format!(
            "there is no secret {name} on this host: `hostlerctl secret set {name}` where a spec gives it to this host, or put it into {} (mode 0600)",
            path.display()
        )),
        ErrorKind::PermissionDenied => {
            other(format!("{} may not be read by the agent: give it its user", path.display()))
        }
        _ => other(format!("read {}: {error}", path.display())),
    };
    // Not to wait for ever, should it be a pipe.
    let flags = rustix::fs::OFlags::NONBLOCK.bits();
    let file = OpenOptions::new().read(true).custom_flags(flags.cast_signed()).open(&path).map_err(failed)?;
    let metadata = file.metadata().map_err(failed)?;
    if let Some(problem) = problem(&metadata) {
        return Err(other(format!("{} {problem}", path.display())));
    }
    let mut bytes = read_all(&file).map_err(failed)?;
    if bytes.last() == Some(&b'\n') {
        bytes.pop();
    }
    if bytes.last() == Some(&b'\r') {
        bytes.pop();
    }
    Ok(Secret(Zeroizing::new(bytes)))
}

fn problem(metadata: &Metadata) -> Option<String> {
    let us = rustix::process::geteuid().as_raw();
    if !metadata.is_file() {
        return Some("is no file".to_owned());
    }
    if ![0, us].contains(&metadata.uid()) {
        return Some(format!("is owned by user {}: it must be root's or the agent's", metadata.uid()));
    }
    if metadata.mode() & 0o007 != 0 {
        return Some("can be read by everybody: chmod 0600 it".to_owned());
    }
    (metadata.len() > limits::SECRET_BYTES_MAX).then(|| format!("has more than {} bytes", limits::SECRET_BYTES_MAX))
}

fn read_all(file: &File) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.take(limits::SECRET_BYTES_MAX).read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn folder(name: &str, text: &str, mode: u32) -> tempfile::TempDir {
        let folder = tempfile::tempdir().expect("tempdir");
        let path = folder.path().join(name);
        std::fs::write(&path, text).expect("write");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).expect("chmod");
        folder
    }

    fn says(folder: &Path, name: &str) -> String {
        match of_file(folder, name) {
            Ok(_) => panic!("{name} was read"),
            Err(CallError::Other { value, .. }) => value.replace(&folder.display().to_string(), "FOLDER"),
            Err(error) => format!("{error:?}"),
        }
    }

    #[test]
    fn one_line_end_is_not_part_of_it() {
        for (text, expect) in [("s3cret", "s3cret"), ("s3cret\n", "s3cret"), ("s\r\n", "s"), ("a\n\n", "a\n"), ("", "")]
        {
            let folder = folder("db.password", text, 0o600);
            let secret = of_file(folder.path(), "db.password").unwrap_or_else(|error| panic!("{text:?}: {error:?}"));
            assert_eq!(secret.bytes(), expect.as_bytes());
            assert_eq!(secret.reveal(), Ok(expect.to_owned()));
        }
    }

    #[test]
    fn a_secret_that_others_read_is_none() {
        for mode in [0o644, 0o604, 0o602] {
            let folder = folder("a", "x", mode);
            assert_eq!(says(folder.path(), "a"), "FOLDER/a can be read by everybody: chmod 0600 it");
        }
        let folder = folder("a", "x", 0o640);
        assert!(of_file(folder.path(), "a").is_ok());
    }

    #[test]
    fn what_is_missing_is_said_with_its_place() {
        let folder = folder("a", "x", 0o600);
        let expect = "there is no secret b on this host: `hostlerctl secret set b` where a spec gives it to this host, or put it into FOLDER/b (mode 0600)";
        assert_eq!(says(folder.path(), "b"), expect);
    }

    #[test]
    fn no_name_leads_out_of_the_folder() {
        let folder = folder("a", "x", 0o600);
        for name in ["", ".", "..", "../a", "a/b", "/etc/shadow", "a b", "\u{e9}", "a\0"] {
            assert!(matches!(of_file(folder.path(), name), Err(CallError::Invalid(_))), "{name:?}");
        }
        std::fs::create_dir(folder.path().join("d")).expect("a folder");
        assert_eq!(says(folder.path(), "d"), "FOLDER/d is no file");
    }

    #[test]
    fn bytes_are_sent_and_not_shown() {
        let folder = tempfile::tempdir().expect("tempdir");
        let path = folder.path().join("key");
        std::fs::write(&path, [0xff, 0xfe]).expect("write");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).expect("chmod");
        let secret = of_file(folder.path(), "key").unwrap_or_else(|error| panic!("{error:?}"));
        assert_eq!(secret.bytes(), [0xff, 0xfe]);
        assert!(secret.reveal().is_err());
    }

    #[test]
    fn what_was_given_comes_before_the_hosts_own() {
        let folder = folder("a", "the file's", 0o600);
        let given: Given = Arc::new(|name| (name == "a").then(|| Zeroizing::new(b"given".to_vec())));
        let config = |secrets_given| MachineConfig {
            secrets_given,
            secrets_folder: folder.path().to_owned(),
            ..MachineConfig::default()
        };
        assert_eq!(read(&config(Some(given)), "a").expect("is there").bytes(), b"given");
        assert_eq!(read(&config(None), "a").expect("is there").bytes(), b"the file's");
    }
}
