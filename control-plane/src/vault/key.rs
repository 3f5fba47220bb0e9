//! The master key: where it comes from, and what it does.

use crate::files;
use crate::upkeep::seal::{MAGIC, Opener, Sealer};
use data_encoding::HEXLOWER;
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::rand::{SecureRandom, SystemRandom};
use std::fmt;
use std::io::{self, BufRead, Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::str::FromStr;
use zeroize::Zeroizing;

pub const FILE: &str = "secrets.key";
const KEY_BYTES: usize = 32;
/// What systemd tells a service its credentials' folder by.
const CREDENTIALS: &str = "CREDENTIALS_DIRECTORY";

/// Where the key comes from; the word after it in the settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// A file beside the state, for its owner alone.
    File,
    /// The same, closed by a passphrase that is asked for at each start.
    Passphrase,
    /// A credential that systemd hands over.
    Credential(String),
}

#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    #[error("the secrets' key {path}")]
    File { path: PathBuf, source: io::Error },
    #[error("the secrets' key {path} {problem}")]
    Unusable { path: PathBuf, problem: String },
    #[error(
        "{path} is gone, and there are secrets sealed under it: put it back (a backup with a passphrase has it), or remove the secrets' records by `hostlerctl secret rm` once the control plane runs with a new key, for which this start needs an empty file there"
    )]
    Gone { path: PathBuf },
    #[error("read the passphrase from standard input")]
    Passphrase(#[source] io::Error),
    #[error("the passphrase is empty: give it on standard input, as one line")]
    NoPassphrase,
    #[error("the passphrase is not the one that {path} was closed with")]
    WrongPassphrase { path: PathBuf },
    #[error("systemd hands over no credential {0}: add LoadCredential={0}:/path/of/it to the unit")]
    NoCredential(String),
    #[error("this machine has no randomness")]
    Random,
}

impl FromStr for Source {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once(':') {
            None if text == "file" => Ok(Self::File),
            None if text == "passphrase" => Ok(Self::Passphrase),
            Some(("credential", name)) if !name.is_empty() && !name.contains('/') => {
                Ok(Self::Credential(name.to_owned()))
            }
            _ => Err(format!("{text:?} is none of file, passphrase or credential:NAME")),
        }
    }
}

/// One key. Neither shown nor printed.
#[derive(Clone)]
struct Key {
    /// Of its digest: says which key it is, and nothing about it.
    id: String,
    bytes: Zeroizing<[u8; KEY_BYTES]>,
}

impl Key {
    fn new(bytes: Zeroizing<[u8; KEY_BYTES]>) -> Self {
        let digest = ring::digest::digest(&ring::digest::SHA256, &*bytes);
        let id = HEXLOWER.encode(digest.as_ref().get(..8).unwrap_or_default());
        Self { id, bytes }
    }

    fn random() -> Result<Self, KeyError> {
        let mut bytes = Zeroizing::new([0; KEY_BYTES]);
        SystemRandom::new().fill(&mut *bytes).map_err(|_| KeyError::Random)?;
        Ok(Self::new(bytes))
    }

    fn cipher(&self) -> Option<LessSafeKey> {
        UnboundKey::new(&AES_256_GCM, &*self.bytes).ok().map(LessSafeKey::new)
    }
}

/// The key that seals, and older ones while not all is sealed anew.
#[derive(Clone)]
pub struct MasterKey {
    newest: Key,
    older: Vec<Key>,
}

impl fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "master key {}", self.newest.id)
    }
}

impl MasterKey {
    fn random() -> Result<Self, KeyError> {
        Ok(Self { newest: Key::random()?, older: Vec::new() })
    }

    pub fn id(&self) -> &str {
        &self.newest.id
    }

    pub fn has_older(&self) -> bool {
        !self.older.is_empty()
    }

    /// A new one before those that there are.
    pub fn with_new(&self) -> Result<Self, KeyError> {
        let older = std::iter::once(&self.newest).chain(&self.older).cloned().collect();
        Ok(Self { newest: Key::random()?, older })
    }

    pub fn without_older(&self) -> Self {
        Self { newest: self.newest.clone(), older: Vec::new() }
    }

    /// Nonce and sealed value.
    pub fn seal(&self, purpose: &[u8], value: &[u8]) -> Option<(Vec<u8>, Vec<u8>)> {
        let mut nonce = [0; NONCE_LEN];
        SystemRandom::new().fill(&mut nonce).ok()?;
        let mut sealed = value.to_vec();
        let cipher = self.newest.cipher()?;
        cipher.seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::from(purpose), &mut sealed).ok()?;
        Some((nonce.to_vec(), sealed))
    }

    pub fn opens(&self, key_id: &str) -> bool {
        self.find(key_id).is_some()
    }

    fn find(&self, key_id: &str) -> Option<&Key> {
        std::iter::once(&self.newest).chain(&self.older).find(|key| key.id == key_id)
    }

    pub fn open(&self, key_id: &str, purpose: &[u8], nonce: &[u8], sealed: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
        let cipher = self.find(key_id)?.cipher()?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let mut value = Zeroizing::new(sealed.to_vec());
        let length = cipher.open_in_place(nonce, Aad::from(purpose), &mut value).ok()?.len();
        value.truncate(length);
        Some(value)
    }

    /// A key a line, the newest first.
    fn to_text(&self) -> Zeroizing<String> {
        let keys = std::iter::once(&self.newest).chain(&self.older);
        Zeroizing::new(keys.map(|key| HEXLOWER.encode(&*key.bytes) + "\n").collect())
    }

    fn from_text(text: &str) -> Result<Self, String> {
        let mut keys =
            text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')).map(|line| {
                let bytes = HEXLOWER.decode(line.to_ascii_lowercase().as_bytes()).map(Zeroizing::new).ok();
                let bytes = bytes.and_then(|bytes| <[u8; KEY_BYTES]>::try_from(bytes.as_slice()).ok());
                bytes.map(|bytes| Key::new(Zeroizing::new(bytes))).ok_or_else(|| {
                    format!(
                        "should hold {} hexadecimal digits a line, as `openssl rand -hex {KEY_BYTES}` makes them",
                        2 * KEY_BYTES
                    )
                })
            });
        let newest = keys.next().ok_or("holds no key")??;
        Ok(Self { newest, older: keys.collect::<Result<_, _>>()? })
    }
}

/// What lies where the key should.
enum Lying {
    Kept(MasterKey),
    /// By a passphrase that it was not closed with yet.
    ToClose(MasterKey),
    Empty,
    Gone(PathBuf),
}

/// The key, and what it takes to keep a new one.
pub struct Keeper {
    source: Source,
    file: PathBuf,
    passphrase: Zeroizing<String>,
}

impl Keeper {
    /// `fresh` says that nothing was ever sealed here.
    pub fn open(source: Source, file: PathBuf, fresh: bool) -> Result<(Self, MasterKey), KeyError> {
        let passphrase = match source {
            Source::Passphrase => read_passphrase(&mut io::stdin().lock())?,
            Source::File | Source::Credential(_) => Zeroizing::default(),
        };
        let keeper = Self { source, file, passphrase };
        let key = keeper.load(fresh)?;
        Ok((keeper, key))
    }

    pub fn describe(&self) -> String {
        match &self.source {
            Source::File => self.file.display().to_string(),
            Source::Passphrase => format!("{}, closed by a passphrase", self.file.display()),
            Source::Credential(name) => format!("systemd's credential {name}"),
        }
    }

    /// Whether a new key can be kept; why not, otherwise.
    pub fn can_keep(&self) -> Result<(), String> {
        let Source::Credential(name) = &self.source else { return Ok(()) };
        Err(format!(
            "the key comes from the credential {name}: put the line that `openssl rand -hex {KEY_BYTES}` prints before the old key there, restart, and run this again"
        ))
    }

    /// The key as it lies there; nothing is changed.
    pub fn look(source: Source, file: PathBuf) -> Result<MasterKey, KeyError> {
        let passphrase = match source {
            Source::Passphrase => read_passphrase(&mut io::stdin().lock())?,
            Source::File | Source::Credential(_) => Zeroizing::default(),
        };
        let keeper = Self { source, file, passphrase };
        match keeper.read()? {
            Lying::Kept(key) | Lying::ToClose(key) => Ok(key),
            Lying::Empty | Lying::Gone(_) => Err(KeyError::Gone { path: keeper.file }),
        }
    }

    fn load(&self, fresh: bool) -> Result<MasterKey, KeyError> {
        let key = match self.read()? {
            Lying::Kept(key) => return Ok(key),
            // Was open until now: closed from here on.
            Lying::ToClose(key) => key,
            Lying::Gone(path) if !fresh => return Err(KeyError::Gone { path }),
            Lying::Gone(_) | Lying::Empty => MasterKey::random()?,
        };
        self.keep(&key)?;
        Ok(key)
    }

    fn read(&self) -> Result<Lying, KeyError> {
        let path = match &self.source {
            Source::Credential(name) => {
                let folder = std::env::var_os(CREDENTIALS).map(PathBuf::from);
                let path = folder.map(|folder| folder.join(name)).filter(|path| path.is_file());
                path.ok_or_else(|| KeyError::NoCredential(name.clone()))?
            }
            Source::File | Source::Passphrase => self.file.clone(),
        };
        let failed = |source| KeyError::File { path: path.clone(), source };
        let unusable = |problem: String| KeyError::Unusable { path: path.clone(), problem };
        let Some(bytes) = files::read_if_there(&path).map_err(failed)?.map(Zeroizing::new) else {
            return Ok(Lying::Gone(path));
        };
        if bytes.is_empty() {
            return Ok(Lying::Empty);
        }
        if self.source == Source::File {
            let mode = std::fs::metadata(&path).map_err(failed)?.mode();
            if mode & 0o077 != 0 {
                return Err(unusable(format!("can be read by others (mode {:03o}): chmod 0600 it", mode & 0o777)));
            }
        }
        let closed = bytes.starts_with(MAGIC);
        let text = match (&self.source, closed) {
            (Source::Passphrase, true) => self.unclosed(&bytes)?,
            (Source::Passphrase, false) => {
                return parse(&bytes).map(Lying::ToClose).map_err(unusable);
            }
            (_, true) => {
                return Err(unusable("is closed by a passphrase: set secrets_key = \"passphrase\"".to_owned()));
            }
            (_, false) => bytes,
        };
        parse(&text).map(Lying::Kept).map_err(unusable)
    }

    fn unclosed(&self, bytes: &[u8]) -> Result<Zeroizing<Vec<u8>>, KeyError> {
        let wrong = || KeyError::WrongPassphrase { path: self.file.clone() };
        let mut text = Zeroizing::new(Vec::new());
        let mut opener = Opener::new(bytes, self.passphrase.as_bytes()).map_err(|_| wrong())?;
        opener.read_to_end(&mut text).map_err(|_| wrong())?;
        Ok(text)
    }

    pub fn keep(&self, key: &MasterKey) -> Result<(), KeyError> {
        let failed = |source| KeyError::File { path: self.file.clone(), source };
        let text = key.to_text();
        let bytes = match self.source {
            Source::File => Zeroizing::new(text.as_bytes().to_vec()),
            Source::Passphrase => {
                let mut sealer = Sealer::new(Vec::new(), self.passphrase.as_bytes()).map_err(failed)?;
                sealer.write_all(text.as_bytes()).map_err(failed)?;
                Zeroizing::new(sealer.finish().map_err(failed)?)
            }
            Source::Credential(_) => return Ok(()),
        };
        files::write_private(&self.file, &bytes).map_err(failed)
    }
}

fn parse(bytes: &[u8]) -> Result<MasterKey, String> {
    MasterKey::from_text(std::str::from_utf8(bytes).map_err(|_| "is no text".to_owned())?)
}

fn read_passphrase(from: &mut impl BufRead) -> Result<Zeroizing<String>, KeyError> {
    let mut line = Zeroizing::new(String::new());
    from.read_line(&mut line).map_err(KeyError::Passphrase)?;
    let words = Zeroizing::new(line.trim_end_matches(['\n', '\r']).to_owned());
    if words.is_empty() { Err(KeyError::NoPassphrase) } else { Ok(words) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn keeper(source: Source, folder: &Path, passphrase: &str) -> Keeper {
        Keeper { source, file: folder.join(FILE), passphrase: Zeroizing::new(passphrase.to_owned()) }
    }

    #[test]
    fn a_key_is_made_once_for_its_owner_alone_and_not_replaced() {
        let folder = tempfile::tempdir().expect("a folder");
        let keeper = keeper(Source::File, folder.path(), "");
        let made = keeper.load(true).expect("makes").id().to_owned();
        assert_eq!(keeper.load(false).expect("reads").id(), made);
        let path = folder.path().join(FILE);
        let open = std::os::unix::fs::PermissionsExt::from_mode(0o644);
        std::fs::set_permissions(&path, open).expect("chmod");
        assert!(keeper.load(false).expect_err("open").to_string().contains("chmod 0600"));
        std::fs::remove_file(&path).expect("removes");
        assert!(matches!(keeper.load(false), Err(KeyError::Gone { .. })));
        std::fs::write(&path, "abc\n").expect("writes");
        std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).expect("chmod");
        assert!(keeper.load(false).expect_err("no key").to_string().contains("openssl rand -hex 32"));
    }

    #[test]
    fn a_passphrase_closes_the_file_and_opens_it_alone() {
        let folder = tempfile::tempdir().expect("a folder");
        let plain = keeper(Source::File, folder.path(), "").load(true).expect("makes");
        let closing = keeper(Source::Passphrase, folder.path(), "a good one");
        assert_eq!(closing.load(false).expect("closes").id(), plain.id());
        let bytes = std::fs::read(folder.path().join(FILE)).expect("reads");
        assert!(!bytes.windows(16).any(|part| plain.to_text().as_bytes().windows(16).any(|other| part == other)));
        assert_eq!(closing.load(false).expect("opens").id(), plain.id());
        let wrong = keeper(Source::Passphrase, folder.path(), "a bad one").load(false);
        assert!(matches!(wrong, Err(KeyError::WrongPassphrase { .. })));
        let bare = keeper(Source::File, folder.path(), "").load(false).expect_err("closed").to_string();
        assert!(bare.contains("secrets_key = \"passphrase\""), "{bare}");
        assert!(read_passphrase(&mut &b"\n"[..]).is_err());
        assert_eq!(*read_passphrase(&mut &b"two words\r\n"[..]).expect("reads"), "two words");
    }

    #[test]
    fn a_new_key_opens_what_older_ones_sealed_until_they_go() {
        let first = MasterKey::random().expect("makes");
        let (nonce, sealed) = first.seal(b"p", b"value").expect("seals");
        let second = first.with_new().expect("makes");
        let read = MasterKey::from_text(&second.to_text()).expect("reads");
        assert_eq!(*read.open(first.id(), b"p", &nonce, &sealed).expect("opens"), b"value");
        assert!(read.open(first.id(), b"q", &nonce, &sealed).is_none());
        assert!(read.without_older().open(first.id(), b"p", &nonce, &sealed).is_none());
        assert_ne!(read.id(), first.id());
    }

    #[test]
    fn sources_are_read_as_they_are_written() {
        assert_eq!("credential:hostler".parse(), Ok(Source::Credential("hostler".to_owned())));
        for wrong in ["", "credential:", "credential:a/b", "vault"] {
            assert!(wrong.parse::<Source>().is_err(), "{wrong}");
        }
    }
}
