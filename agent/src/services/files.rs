//! Puts a service's packages and files in place, through the executor. Their content
//! is fetched by digest and stays on the disk, for a host that starts cut off.

use super::drift::stood_of;
use super::process;
use super::runtime::{Runtime, by_root, program, user_of};
use crate::connect::status_text;
use crate::files;
use crate::vault::Vault;
use data_encoding::HEXLOWER;
use hostler_agent_core::hash::fnv1a;
use hostler_agent_core::supervision::{FilesPut, Found, Placed, Prints, Stands, Trouble, files_fingerprint};
use hostler_executor::protocol::{self, Act, Content};
use hostler_proto::agent::FetchRequest;
use hostler_proto::agent::agent_link_client::AgentLinkClient;
use hostler_proto::transport::MESSAGE_BYTES_MAX;
use hostler_types::service::{FileAssignment, Runs};
use hostler_types::spec::{filled, names_secret};
use hostler_types::{Name, ServiceAssignment};
use ring::digest::{SHA256, digest};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError};
use std::time::Duration;
use tokio::sync::{Mutex, watch};
use tonic::transport::Channel;

/// Between two chunks of 64 KiB; a slower line than that is a broken one.
const CHUNK_TIMEOUT: Duration = Duration::from_secs(30);
/// As much as hostlerctl takes of one file.
const CONTENT_BYTES_MAX: usize = 16 * 1024 * 1024;
/// What one request to the executor can hold as Base64, less what stands around it.
const FILE_BYTES_MAX: usize = protocol::MESSAGE_BYTES_MAX / 4 * 3 - 64 * 1024;
const MODE: u32 = 0o644;
/// For whoever owns it and their group: a secret stands in it.
const SECRET_MODE: u32 = 0o640;
const FILE_MARK: &str = "${file}";
/// In its place while the command is taken apart, since a shell would read the braces.
const FILE_WORD: &str = "\u{1}file\u{1}";

/// What is known of a service's files before they are put.
pub enum Before {
    /// How they stand by our hand, for those that need not be looked at.
    Stands(Prints),
    /// The same, for a start where `drift: alarm` leaves what others changed since.
    Left(Prints),
    /// Whatever stands there, it is put.
    Unknown,
}

/// The content of files, by digest. Cheap to clone.
#[derive(Clone)]
pub struct Contents {
    folder: PathBuf,
    channel: watch::Receiver<Option<Channel>>,
    /// One download at a time, and of each file one.
    fetching: Arc<Mutex<()>>,
    /// The host's packages, which one at a time changes.
    installing: Arc<Mutex<()>>,
    /// Of each service, so that two replicas do not write one file at once.
    putting: Arc<std::sync::Mutex<BTreeMap<Name, Arc<Mutex<()>>>>>,
}

impl Contents {
    pub fn new(folder: PathBuf, channel: watch::Receiver<Option<Channel>>) -> Self {
        Self { folder, channel, fetching: Arc::default(), installing: Arc::default(), putting: Arc::default() }
    }

    fn lock_of(&self, service: &Name) -> Arc<Mutex<()>> {
        let mut locks = self.putting.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(locks.entry(service.clone()).or_default())
    }

    /// Brings it here before the host may be cut off.
    pub async fn bring(&self, wanted: &BTreeSet<String>) {
        for digest in wanted {
            if let Err(words) = self.get(digest).await {
                tracing::warn!(digest, words, "what a service or a schedule needs is not here yet");
            }
        }
    }

    pub fn keep_only(&self, wanted: &BTreeSet<String>) {
        if let Err(error) = self.remove_others(wanted) {
            tracing::warn!(error = %error, "removing content that is no longer assigned failed");
        }
    }

    fn remove_others(&self, wanted: &BTreeSet<String>) -> io::Result<()> {
        let entries = match std::fs::read_dir(&self.folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            entries => entries?,
        };
        for entry in entries {
            let entry = entry?;
            if !entry.file_name().to_str().is_some_and(|name| wanted.contains(name)) {
                files::remove_if_there(&entry.path())?;
            }
        }
        Ok(())
    }

    /// From the disk, or from the control plane and then on the disk.
    pub async fn get(&self, wanted: &str) -> Result<Vec<u8>, String> {
        let _one = self.fetching.lock().await;
        let path = self.folder.join(wanted);
        if let Ok(Some(bytes)) = files::read_if_there(&path)
            && is(&bytes, wanted)
        {
            return Ok(bytes);
        }
        let channel = self.channel.borrow().clone();
        let channel = channel.ok_or("its content is not here yet, and there is no connection to the control plane")?;
        let bytes = fetch(channel, wanted).await?;
        let failed = |error: io::Error| format!("write {}: {error}", path.display());
        files::private_folder(&self.folder).map_err(failed)?;
        files::replace(&path, &bytes, files::PRIVATE).map_err(failed)?;
        Ok(bytes)
    }
}

fn is(bytes: &[u8], wanted: &str) -> bool {
    HEXLOWER.encode(digest(&SHA256, bytes).as_ref()) == wanted
}

async fn fetch(channel: Channel, wanted: &str) -> Result<Vec<u8>, String> {
    let late = |_| "the control plane did not send its content in time".to_owned();
    let mut client = AgentLinkClient::new(channel).max_decoding_message_size(MESSAGE_BYTES_MAX);
    let ask = FetchRequest { digest: wanted.to_owned(), offset: 0 };
    let answer = tokio::time::timeout(CHUNK_TIMEOUT, client.fetch(ask)).await.map_err(late)?;
    let mut chunks = answer.map_err(|status| status_text(&status))?.into_inner();
    let mut bytes = Vec::new();
    loop {
        let chunk = tokio::time::timeout(CHUNK_TIMEOUT, chunks.message()).await.map_err(late)?;
        let Some(chunk) = chunk.map_err(|status| status_text(&status))? else { break };
        bytes.extend_from_slice(&chunk.data);
        if bytes.len() > CONTENT_BYTES_MAX {
            return Err(format!("its content is larger than {} MiB: it was thrown away", CONTENT_BYTES_MAX >> 20));
        }
    }
    if is(&bytes, wanted) {
        Ok(bytes)
    } else {
        Err(format!("what the control plane sent is not {wanted}: it was thrown away"))
    }
}

/// Whether a start can go on: where something is wrong, with the files as they were.
pub fn stands(service: &ServiceAssignment, put: &FilesPut, had: &BTreeSet<String>) -> bool {
    let there = |file: &FileAssignment| had.contains(&file.path);
    put.trouble.is_none() || (!service.files.is_empty() && service.files.iter().all(there))
}

/// What is not here yet is a reason to wait, as what can't be done is.
pub fn at_start(trouble: Trouble) -> Trouble {
    match trouble {
        Trouble::Lost(words) => Trouble::Failed(words),
        other => other,
    }
}

impl Runtime {
    /// Packages first, which may bring users and folders, then its own of these, then
    /// files.
    pub async fn put_files(&self, service: &ServiceAssignment, before: &Before) -> FilesPut {
        let lock = self.contents.lock_of(&service.name);
        let _one = lock.lock().await;
        let mut put = FilesPut { wanted: files_fingerprint(service), ..FilesPut::default() };
        if let Err(trouble) = self.prepare_for_files(service).await {
            put.trouble = Some(trouble);
            return put;
        }
        for file in &service.files {
            match self.put_file(service, file, before).await {
                Ok((placed, found)) => {
                    put.placed.push(placed);
                    put.found.extend(found);
                }
                Err(trouble) => {
                    put.trouble = Some(trouble);
                    break;
                }
            }
        }
        if let Some(Trouble::Refused(words) | Trouble::Failed(words) | Trouble::Lost(words)) = &put.trouble {
            tracing::warn!(service = %service.name, words, "its files can't be put in place");
        }
        put
    }

    async fn prepare_for_files(&self, service: &ServiceAssignment) -> Result<(), Trouble> {
        if !service.packages.is_empty() {
            let _one = self.contents.installing.lock().await;
            self.done(Act::InstallPackages { names: service.packages.clone() }).await?;
        }
        match &service.runs {
            Runs::Process(program) | Runs::Written { program, .. } => self.prepare(program).await,
            Runs::Unit { .. } | Runs::Container { .. } => Ok(()),
        }
    }

    async fn put_file(
        &self,
        service: &ServiceAssignment,
        file: &FileAssignment,
        before: &Before,
    ) -> Result<(Placed, Option<Found>), Trouble> {
        let named = |words: String| format!("{}: {words}", file.path);
        let content = filled_in(&self.contents, &self.vault, file).await?;
        let own = own_user(service);
        let mode = mode_of(file);
        let owner = file.owner.clone().or_else(|| own.clone()).or_else(|| by_root().then(|| "root".to_owned()));
        let print = fnv1a(&[
            &HEXLOWER.encode(digest(&SHA256, &content).as_ref()),
            owner.as_deref().unwrap_or_default(),
            &mode.to_string(),
        ]);
        if let Some(found) = self.is_left(file, print, before).await? {
            return Ok((Placed { path: file.path.clone(), print, changed: false, stood: None }, found));
        }
        let path = PathBuf::from(&file.path);
        if let Some(words) = missing_folder(service, &path) {
            return Err(Trouble::Failed(words));
        }
        let home = program(service).and_then(|program| program.home.as_deref());
        let validate = validate(&self.vault, file, home).map_err(|words| Trouble::Failed(named(words)))?;
        let user = validate.as_ref().and(own);
        let content_base64 = Content(content);
        let put = Act::PutFile { path, content_base64, owner, mode: Some(mode), validate, user };
        let done = self.done(put).await.map_err(|trouble| self.clean(trouble))?;
        if done.changed {
            tracing::info!(service = %service.name, path = file.path, "file put in place");
        }
        let stood = done.files.first().and_then(stood_of);
        Ok((Placed { path: file.path.clone(), print, changed: done.changed, stood }, None))
    }

    /// What the spec still says the same of is not put again, and what was found there
    /// instead, if that was looked at. What is gone is put: a start may not do without it.
    async fn is_left(
        &self,
        file: &FileAssignment,
        print: u64,
        before: &Before,
    ) -> Result<Option<Option<Found>>, Trouble> {
        let same = |prints: &Prints| prints.get(&file.path) == Some(&print);
        match before {
            Before::Stands(prints) => Ok(same(prints).then_some(None)),
            Before::Left(prints) if same(prints) => {
                let found = self.look_at(vec![(file.path.clone(), None)]).await?.pop();
                Ok(found.filter(|one| matches!(one.stands, Some(Stands::There(_) | Stands::NoFile))).map(Some))
            }
            Before::Left(_) | Before::Unknown => Ok(None),
        }
    }

    /// What a check prints of a file may be what nobody is to read.
    fn clean(&self, trouble: Trouble) -> Trouble {
        match trouble {
            Trouble::Failed(words) => Trouble::Failed(self.vault.redact(words)),
            other => other,
        }
    }
}

/// Its content with its values in place.
pub async fn filled_in(contents: &Contents, vault: &Vault, file: &FileAssignment) -> Result<Vec<u8>, Trouble> {
    let named = |words: String| format!("{}: {words}", file.path);
    let content = contents.get(&file.digest).await.map_err(|words| Trouble::Lost(named(words)))?;
    let values = resolved(vault, &file.with).map_err(|words| Trouble::Failed(named(words)))?;
    let content = filled(&content, &values).map_err(|name| {
        let words = format!(
            "`with` gives a value for {name}, and the file has no ${{{name}}}: write it in, or leave {name} out"
        );
        Trouble::Failed(named(words))
    })?;
    if content.len() > FILE_BYTES_MAX {
        let most = FILE_BYTES_MAX >> 10;
        let words = format!("it is larger than {most} KiB, and files of specs are configuration and scripts");
        return Err(Trouble::Failed(named(words)));
    }
    Ok(content)
}

pub fn mode_of(file: &FileAssignment) -> u32 {
    let secret = file.with.values().any(|text| names_secret(text));
    file.mode.unwrap_or(if secret { SECRET_MODE } else { MODE })
}

/// With their secrets in place.
pub fn resolved(vault: &Vault, texts: &BTreeMap<String, String>) -> Result<BTreeMap<String, String>, String> {
    let unreadable = |error| format!("its values can't be read: {error}");
    let text = serde_json::to_string(texts).map_err(unreadable)?;
    serde_json::from_str(&vault.configure(&text.into())?).map_err(unreadable)
}

/// With its secrets in place; the new file still to be named.
pub fn validate(vault: &Vault, file: &FileAssignment, home: Option<&str>) -> Result<Option<Vec<String>>, String> {
    let Some(text) = &file.validate else { return Ok(None) };
    let values = resolved(vault, &BTreeMap::from([(String::new(), text.replace(FILE_MARK, FILE_WORD))]))?;
    let text = values.into_values().next().unwrap_or_default();
    let words = process::command(&text, home).map_err(|words| format!("validate: {words}"))?;
    Ok(Some(words.into_iter().map(|word| word.replace(FILE_WORD, FILE_MARK)).collect()))
}

/// Whom its files are checked as, and belong to.
fn own_user(service: &ServiceAssignment) -> Option<String> {
    match &service.runs {
        Runs::Process(program) | Runs::Written { program, .. } => user_of(program),
        Runs::Unit { .. } | Runs::Container { .. } => None,
    }
}

/// Where its folder is not there: what would make it.
fn missing_folder(service: &ServiceAssignment, path: &Path) -> Option<String> {
    let folder = path.parent()?;
    // What can't be seen from here, the executor will tell.
    if !matches!(folder.try_exists(), Ok(false)) {
        return None;
    }
    let home = program(service).and_then(|program| program.home.as_deref());
    let below = home.and_then(|home| folder.strip_prefix(home).ok());
    let help = match below {
        Some(below) => format!("add it to the service's dirs: [{}]", below.display()),
        None => "name the package that brings it in the service's packages, or make it on the host".to_owned(),
    };
    Some(format!("{}: the folder {} is not there: {help}", path.display(), folder.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn service(dirs: &str) -> ServiceAssignment {
        let program = hostler_types::service::Program { home: Some(dirs.to_owned()), ..Default::default() };
        ServiceAssignment::new(Name::new("shop").expect("a name"), Runs::Process(program))
    }

    #[test]
    fn a_missing_folder_says_what_would_make_it() {
        let home = tempfile::tempdir().expect("a folder");
        let shop = service(&home.path().display().to_string());
        assert_eq!(missing_folder(&shop, &home.path().join("a.conf")), None);
        let words = missing_folder(&shop, &home.path().join("config/app/a.conf")).expect("missing");
        assert!(words.ends_with("is not there: add it to the service's dirs: [config/app]"), "{words}");
        let words = missing_folder(&shop, Path::new("/etc/no-such-folder/a.conf")).expect("missing");
        assert!(words.contains("name the package that brings it"), "{words}");
    }

    #[tokio::test]
    async fn content_stays_on_the_disk_as_long_as_it_is_wanted_and_whole() {
        let folder = tempfile::tempdir().expect("a folder");
        let below = folder.path().join("files");
        let contents = Contents::new(below.clone(), watch::Sender::new(None).subscribe());
        let wanted = HEXLOWER.encode(digest(&SHA256, b"one").as_ref());
        let error = contents.get(&wanted).await.expect_err("not there");
        assert!(error.contains("no connection"), "{error}");
        std::fs::create_dir(&below).expect("made");
        std::fs::write(below.join(&wanted), "one").expect("written");
        std::fs::write(below.join("other"), "two").expect("written");
        assert_eq!(contents.get(&wanted).await.as_deref(), Ok(b"one".as_slice()));
        contents.remove_others(&BTreeSet::from([wanted.clone()])).expect("removed");
        assert!(below.join(&wanted).exists() && !below.join("other").exists());
        std::fs::write(below.join(&wanted), "damaged").expect("written");
        assert!(contents.get(&wanted).await.is_err());
    }
}
