//! A backup as a file: a tar, compressed by zstd, sealed if there is a passphrase.
//! Without one, any `tar --zstd -x` opens it and `sha256sum -c` checks it.

use super::seal::{self, Opener, Sealer};
use ring::digest::{Context, SHA256};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Component, Path, PathBuf};

/// What it is of, and when: the first file in it.
pub const MANIFEST: &str = "backup.json";
/// Of every file, in the form that sha256sum reads: the last one.
const SUMS: &str = "SHA256SUMS";
pub const FORMAT: u32 = 1;
const LEVEL: i32 = 3;
/// Of manifest and checksums: some hundred thousand files.
const TEXT_BYTES_MAX: u64 = 64 * 1024 * 1024;

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Manifest {
    pub format: u32,
    /// Of the control plane that wrote it.
    pub version: String,
    pub at_ms: u64,
    pub lineage: u64,
    pub revision: u64,
    pub nodes: usize,
    /// Where its agents look for it.
    pub addresses: Vec<String>,
}

enum Sink<W: Write> {
    Plain(W),
    Sealed(Box<Sealer<W>>),
}

impl<W: Write> Write for Sink<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Sink::Plain(out) => out.write(bytes),
            Sink::Sealed(out) => out.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Sink::Plain(out) => out.flush(),
            Sink::Sealed(out) => out.flush(),
        }
    }
}

/// Writes whatever lies below a folder, the manifest first.
pub fn write<W: Write>(out: W, passphrase: &str, manifest: &Manifest, folder: &Path) -> io::Result<W> {
    let sink = match passphrase {
        "" => Sink::Plain(out),
        words => Sink::Sealed(Box::new(Sealer::new(out, words.as_bytes())?)),
    };
    let mut packed = zstd::Encoder::new(sink, LEVEL)?;
    packed.include_checksum(true)?;
    let mut tar = tar::Builder::new(packed);
    let mut sums = String::new();
    let text = serde_json::to_vec_pretty(manifest).map_err(io::Error::other)?;
    add(&mut tar, MANIFEST, &text, &mut sums)?;
    for path in files_below(folder)? {
        let name = path.strip_prefix(folder).unwrap_or(&path).to_string_lossy().into_owned();
        let size = fs::metadata(&path)?.len();
        let mut input = Summing { inner: File::open(&path)?, sum: Context::new(&SHA256) };
        tar.append_data(&mut header(size), &name, &mut input)?;
        sums.push_str(&sum_line(input.sum, &name));
    }
    add(&mut tar, SUMS, sums.clone().as_bytes(), &mut sums)?;
    let sink = tar.into_inner()?.finish()?;
    let mut out = match sink {
        Sink::Plain(out) => out,
        Sink::Sealed(sealer) => sealer.finish()?,
    };
    out.flush()?;
    Ok(out)
}

fn header(size: u64) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_size(size);
    header.set_mode(0o600);
    header
}

fn add<W: Write>(tar: &mut tar::Builder<W>, name: &str, content: &[u8], sums: &mut String) -> io::Result<()> {
    tar.append_data(&mut header(content.len() as u64), name, content)?;
    let mut sum = Context::new(&SHA256);
    sum.update(content);
    sums.push_str(&sum_line(sum, name));
    Ok(())
}

fn sum_line(sum: Context, name: &str) -> String {
    format!("{}  {name}\n", data_encoding::HEXLOWER.encode(sum.finish().as_ref()))
}

struct Summing<T> {
    inner: T,
    sum: Context,
}

impl<T: Read> Read for Summing<T> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(into)?;
        self.sum.update(into.get(..count).unwrap_or_default());
        Ok(count)
    }
}

fn files_below(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder)? {
            let path = entry?.path();
            if path.is_dir() { folders.push(path) } else { found.push(path) }
        }
    }
    found.sort();
    Ok(found)
}

fn wrong(text: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, text.into())
}

pub fn is_sealed(file: &Path) -> io::Result<bool> {
    let mut start = Vec::new();
    File::open(file)?.take(seal::MAGIC.len() as u64).read_to_end(&mut start)?;
    Ok(start == seal::MAGIC)
}

/// Unpacks it into a folder, and fails unless all of it is there as it was written.
pub fn read(file: &Path, passphrase: &str, into: &Path) -> io::Result<Manifest> {
    let input: Box<dyn Read> = if is_sealed(file)? {
        Box::new(Opener::new(io::BufReader::new(File::open(file)?), passphrase.as_bytes())?)
    } else {
        Box::new(File::open(file)?)
    };
    let mut archive = tar::Archive::new(zstd::Decoder::new(input).map_err(no_backup)?);
    let (mut manifest, mut sums) = (None, BTreeMap::new());
    for (index, entry) in archive.entries().map_err(no_backup)?.enumerate() {
        let mut entry = entry.map_err(if index == 0 { no_backup } else { cut_short })?;
        let name = entry.path()?.to_string_lossy().into_owned();
        if index == 0 {
            manifest = Some(read_manifest(&name, &mut entry)?);
            continue;
        }
        if name == SUMS {
            let mut text = String::new();
            entry.by_ref().take(TEXT_BYTES_MAX).read_to_string(&mut text)?;
            check(&text, &sums)?;
            // What follows is the end of the tar, and the checksums of its wrapping.
            drop(entry);
            let mut rest = archive.into_inner();
            io::copy(&mut rest, &mut io::sink()).map_err(cut_short)?;
            return manifest.ok_or_else(|| no_backup(wrong("it has no manifest")));
        }
        let sum = unpack(&name, &mut entry, into)?;
        sums.insert(name, sum);
    }
    Err(cut_short(wrong("its checksums are missing")))
}

fn no_backup(error: io::Error) -> io::Error {
    if error.to_string().contains("passphrase") {
        return error;
    }
    wrong(format!("it is no backup of a control plane ({error})"))
}

fn cut_short(error: io::Error) -> io::Error {
    wrong(format!("the backup is damaged or cut short ({error})"))
}

fn read_manifest(name: &str, entry: &mut impl Read) -> io::Result<Manifest> {
    let mut text = String::new();
    entry.take(TEXT_BYTES_MAX).read_to_string(&mut text).map_err(no_backup)?;
    let manifest: Option<Manifest> = serde_json::from_str(&text).ok().filter(|_| name == MANIFEST);
    let manifest = manifest.ok_or_else(|| no_backup(wrong("it does not begin with what it is of")))?;
    if manifest.format > FORMAT {
        return Err(wrong(format!("it was written by a newer version ({}): upgrade first", manifest.version)));
    }
    Ok(manifest)
}

/// Only below the folder, and only plain files.
fn unpack(name: &str, entry: &mut impl Read, into: &Path) -> io::Result<String> {
    let relative = Path::new(name);
    if !relative.components().all(|part| matches!(part, Component::Normal(_))) {
        return Err(wrong(format!("it holds {name:?}, which is no path of a backup")));
    }
    let path = into.join(relative);
    if let Some(folder) = path.parent() {
        crate::files::private_folder(folder)?;
    }
    let mut input = Summing { inner: entry, sum: Context::new(&SHA256) };
    let mut file = crate::files::create_private(&path)?;
    io::copy(&mut input, &mut file).map_err(cut_short)?;
    file.sync_all()?;
    Ok(data_encoding::HEXLOWER.encode(input.sum.finish().as_ref()))
}

fn check(text: &str, found: &BTreeMap<String, String>) -> io::Result<()> {
    let mut wanted: BTreeMap<&str, &str> =
        text.lines().filter_map(|line| line.split_once("  ").map(|(sum, name)| (name, sum))).collect();
    wanted.remove(MANIFEST);
    for (name, sum) in &wanted {
        if found.get(*name).is_none_or(|is| is != sum) {
            return Err(wrong(format!("the backup is damaged: {name} is not what was saved")));
        }
    }
    if wanted.len() == found.len() { Ok(()) } else { Err(wrong("the backup holds files that were not saved")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest() -> Manifest {
        let addresses = vec!["hostler.example:7443".to_owned()];
        Manifest { format: FORMAT, version: "0.1.0".into(), at_ms: 5, lineage: 1, revision: 7, nodes: 3, addresses }
    }

    fn written(passphrase: &str) -> Vec<u8> {
        let dir = tempfile::tempdir().expect("a folder");
        fs::create_dir_all(dir.path().join("store/journal")).expect("folders");
        fs::write(dir.path().join("store/journal/1.log"), vec![9; 300_000]).expect("a file");
        fs::write(dir.path().join("key"), "secret").expect("a file");
        write(Vec::new(), passphrase, &manifest(), dir.path()).expect("writes")
    }

    fn unpacked(bytes: &[u8], passphrase: &str) -> Result<tempfile::TempDir, String> {
        let dir = tempfile::tempdir().expect("a folder");
        let file = dir.path().join("backup");
        fs::write(&file, bytes).expect("writes");
        let into = tempfile::tempdir().expect("a folder");
        let manifest = read(&file, passphrase, into.path()).map_err(|error| error.to_string())?;
        assert_eq!(manifest.revision, 7);
        Ok(into)
    }

    #[test]
    fn a_backup_unpacks_as_it_was() {
        for passphrase in ["", "correct horse"] {
            let into = unpacked(&written(passphrase), passphrase).expect("unpacks");
            assert_eq!(fs::read(into.path().join("store/journal/1.log")).expect("there"), vec![9; 300_000]);
            assert_eq!(fs::read_to_string(into.path().join("key")).expect("there"), "secret");
        }
    }

    #[test]
    fn a_damaged_one_is_refused_and_says_why() {
        let plain = written("");
        let sealed = written("correct horse");
        let cut = unpacked(&plain[..plain.len() - 40], "").expect_err("cut");
        assert!(cut.contains("damaged or cut short"), "{cut}");
        let cut = unpacked(&sealed[..sealed.len() - 40], "correct horse").expect_err("cut");
        assert!(cut.contains("passphrase is wrong, or the file is damaged"), "{cut}");
        let wrong = unpacked(&sealed, "battery staple").expect_err("another passphrase");
        assert!(wrong.contains("passphrase is wrong"), "{wrong}");
        for text in ["", "hello", "PK\u{3}\u{4}"] {
            let error = unpacked(text.as_bytes(), "").expect_err("something else");
            assert!(error.contains("no backup of a control plane"), "{error}");
        }
        let mut flipped = plain.clone();
        for at in (0..plain.len()).step_by(7) {
            flipped[at] ^= 16;
            // A bit that means nothing may change; what is unpacked may not.
            if let Ok(into) = unpacked(&flipped, "") {
                assert_eq!(fs::read(into.path().join("store/journal/1.log")).expect("there"), vec![9; 300_000], "{at}");
                assert_eq!(fs::read_to_string(into.path().join("key")).expect("there"), "secret", "{at}");
            }
            flipped[at] ^= 16;
        }
    }

    #[test]
    fn nothing_leaves_the_folder() {
        let mut tar = tar::Builder::new(zstd::Encoder::new(Vec::new(), 1).expect("begins"));
        let mut sums = String::new();
        add(&mut tar, MANIFEST, &serde_json::to_vec(&manifest()).expect("JSON"), &mut sums).expect("adds");
        let mut header = header(1);
        let name = b"../evil";
        header.as_mut_bytes()[..name.len()].copy_from_slice(name);
        header.set_cksum();
        tar.append(&header, &b"x"[..]).expect("adds");
        let bytes = tar.into_inner().and_then(zstd::Encoder::finish).expect("ends");
        let error = unpacked(&bytes, "").expect_err("outside");
        assert!(error.contains("no path of a backup"), "{error}");
    }
}
