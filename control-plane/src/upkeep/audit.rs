//! `hostler-control-plane audit verify`: the log held against the folder's own keys
//! and state.

use crate::audit::{self, Files, read};
use crate::pki::Pki;
use crate::{clock, records};
use anyhow::{Context, Result};
use hostler_core::audit::Point;
use hostler_types::terminal::sanitize;
use std::path::Path;

/// Whether all of it is what was written.
pub fn verify(data: &Path, store: &Path) -> Result<bool> {
    let pki = Pki::look(&data.join("pki"), clock::wall()).context("open the keys")?;
    let mut head = Ok(None);
    hostler_store::inspect(store, &mut |key, value| {
        if key == records::AUDIT_HEAD {
            head = audit::head(Some(value));
        }
    })
    .context("read the state store")?;
    let known: Vec<Point> = head?.into_iter().collect();
    let files = Files::find(&data.join(audit::FOLDER)).context("open the audit log")?;
    let verdict = read::verify(&files, &pki.signing_public_key(), &known).context("read the audit log")?;
    Ok(match verdict {
        Ok(report) => {
            println!(
                "the audit log is what was written: {} calls, records {} to {}, {} checkpoints",
                report.calls, report.first, report.last, report.checkpoints
            );
            if report.torn_bytes > 0 {
                println!("behind them lie {} bytes of a record that was never finished", report.torn_bytes);
            }
            true
        }
        Err(bad) => {
            println!("BAD: {} ({})", sanitize(&bad.to_string()), bad.at);
            false
        }
    })
}
