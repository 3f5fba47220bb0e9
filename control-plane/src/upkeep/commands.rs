//! `hostler-control-plane store ...` and `restore`: for when it does not run.

use super::{archive, audit, restore, verify};
use crate::config::Config;
use anyhow::{Context, Result, bail};
use clap::Subcommand;
use hostler_store::{Finding, Options};
use hostler_types::Timestamp;
use hostler_types::terminal::sanitize;
use std::fs::{self, File};
use std::io::{self, BufReader, BufWriter, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

#[derive(Subcommand, Debug)]
pub enum Command {
    /// Look after the state store of a control plane that does not run
    #[command(subcommand)]
    Store(StoreCommand),
    /// Look after the audit log of a control plane that does not run
    #[command(subcommand)]
    Audit(AuditCommand),
    /// Put a backup in place: of `hostlerctl system backup FILE`
    Restore {
        file: PathBuf,
        /// Where the passphrase of a sealed backup stands, on its first line
        #[arg(long, value_name = "FILE")]
        passphrase_file: Option<PathBuf>,
        /// Put what is there now aside, and keep it
        #[arg(long)]
        replace: bool,
    },
}

#[derive(Subcommand, Debug)]
pub enum AuditCommand {
    /// Read all of it, and name the first record that is not what was written
    Verify,
}

#[derive(Subcommand, Debug)]
pub enum StoreCommand {
    /// Read all of it, say what is damaged and what to do; changes nothing
    Verify,
    /// Write all of it as JSON lines, for other programs [- for standard output]
    Export { file: PathBuf },
    /// Make a store of an export, where none is
    Import { file: PathBuf },
    /// Write it anew, so that it takes no more of the disk than it must
    Compact,
    /// Try the state alone
    #[command(hide = true)]
    Probe { folder: PathBuf },
}

/// Whether all is well. What root leaves behind in a folder belongs to the folder's
/// owner, or the control plane could not open it any more.
pub fn run(config: &Config, command: Command) -> Result<bool> {
    let data = &config.data_dir;
    let owner = fs::metadata(data).map(|meta| (meta.uid(), meta.gid())).ok();
    let outcome = act(config, command);
    if let Some((user, group)) = owner.filter(|_| rustix::process::geteuid().is_root()) {
        give(data, user, group).with_context(|| format!("give {} back to its owner", data.display()))?;
    }
    outcome
}

fn give(path: &Path, user: u32, group: u32) -> io::Result<()> {
    let meta = fs::symlink_metadata(path)?;
    if (meta.uid(), meta.gid()) != (user, group) {
        std::os::unix::fs::lchown(path, Some(user), Some(group))?;
    }
    if meta.is_dir() {
        for entry in fs::read_dir(path)? {
            give(&entry?.path(), user, group)?;
        }
    }
    Ok(())
}

fn act(config: &Config, command: Command) -> Result<bool> {
    let data = &config.data_dir;
    match command {
        Command::Store(StoreCommand::Verify) => look_over(config),
        Command::Store(StoreCommand::Export { file }) => export(data, &file).map(|()| true),
        Command::Store(StoreCommand::Import { file }) => import(data, &file).map(|()| true),
        Command::Store(StoreCommand::Compact) => compact(data).map(|()| true),
        Command::Store(StoreCommand::Probe { folder }) => {
            println!("{}", hostler_store::probe(&folder)?);
            Ok(true)
        }
        Command::Audit(AuditCommand::Verify) => {
            let store = store_of(data)?;
            audit::verify(data, &store)
        }
        Command::Restore { file, passphrase_file, replace } => {
            put_back(data, &file, passphrase_file.as_deref(), replace).map(|()| true)
        }
    }
}

/// A mistyped folder must not be made.
fn store_of(data: &Path) -> Result<PathBuf> {
    let store = data.join("store");
    if !store.exists() {
        bail!(
            "there is no store in {}: name the folder by --data-dir, or the configuration by --config",
            data.display()
        );
    }
    Ok(store)
}

fn look_over(config: &Config) -> Result<bool> {
    store_of(&config.data_dir)?;
    let findings = verify::verify(&config.data_dir, Some(config.secrets_key.clone()))?;
    print!("{}", told(&findings));
    Ok(findings.iter().all(|finding| finding.is_good()))
}

fn told(findings: &[Finding]) -> String {
    let mut text = String::new();
    for finding in findings {
        let mark = if finding.is_good() { "good" } else { "BAD " };
        text.push_str(&format!("{mark}  {:<12} {}\n", sanitize(&finding.what), sanitize(&finding.said)));
        if let Some(help) = &finding.help {
            text.push_str(&format!("      {:<12} {}\n", "", sanitize(help)));
        }
    }
    let bad = findings.iter().filter(|finding| !finding.is_good()).count();
    text.push_str(&match bad {
        0 => "all is well\n".to_owned(),
        1 => "1 thing is not as it should be\n".to_owned(),
        more => format!("{more} things are not as they should be\n"),
    });
    text
}

fn export(data: &Path, file: &Path) -> Result<()> {
    let store = store_of(data)?;
    let mut out: Box<dyn Write> = if file == Path::new("-") {
        Box::new(io::stdout().lock())
    } else {
        Box::new(BufWriter::new(
            crate::files::create_private(file).with_context(|| format!("write {}", file.display()))?,
        ))
    };
    let records = hostler_store::export(Options::new(&store), &mut out)?;
    out.flush().context("write the export")?;
    eprintln!("exported {records} records");
    Ok(())
}

fn import(data: &Path, file: &Path) -> Result<()> {
    let input = File::open(file).with_context(|| format!("read {}", file.display()))?;
    crate::files::private_folder(data).with_context(|| format!("make {}", data.display()))?;
    let records = hostler_store::import(&data.join("store"), &mut BufReader::new(input))?;
    restore::begin_lineage(data)?;
    println!("imported {records} records into {}", data.display());
    println!("the store alone is not a control plane: pki, blobs and documents come with a backup");
    Ok(())
}

fn compact(data: &Path) -> Result<()> {
    let (before, after) = hostler_store::compact(Options::new(&store_of(data)?))?;
    println!("{} before, {} now", size(before), size(after));
    Ok(())
}

fn size(bytes: u64) -> String {
    match bytes {
        0..1_048_576 => format!("{} KiB", bytes.div_ceil(1024)),
        _ => format!("{:.1} MiB", bytes as f64 / 1_048_576.0),
    }
}

fn put_back(data: &Path, file: &Path, passphrase_file: Option<&Path>, replace: bool) -> Result<()> {
    let sealed = archive::is_sealed(file).with_context(|| format!("read {}", file.display()))?;
    let passphrase = match passphrase_file {
        Some(path) => {
            let text = fs::read_to_string(path).with_context(|| format!("read {}", path.display()))?;
            text.lines().next().unwrap_or_default().to_owned()
        }
        None if sealed => bail!("{} is sealed: give its passphrase by --passphrase-file FILE", file.display()),
        None => String::new(),
    };
    let restored = restore::restore(file, &passphrase, data, replace)?;
    let manifest = restored.manifest;
    println!(
        "restored what was at {} (revision {}, {} nodes) to {}",
        Timestamp::from_millis(manifest.at_ms),
        manifest.revision,
        manifest.nodes,
        data.display()
    );
    for warning in restored.warnings {
        println!("damaged when it was saved: {}: {}", sanitize(&warning.what), sanitize(&warning.said));
    }
    if let Some(before) = restored.before {
        println!("what was there is kept in {}", before.display());
    }
    println!("its agents look for it at {}: it must answer there", manifest.addresses.join(", "));
    println!("next:  systemctl start hostler-control-plane");
    Ok(())
}
