//! The built file: what it asks for, what it gives, how large it is.

use super::finding::{Findings, Level};
use crate::build::{Interface, Language, Surface, wasi_advice};
use crate::subject::Subject;
use hostler_types::plugin::Grants;

/// Python's have 18 MB; each node fetches it, and compiles it.
const SIZE_BYTES_MAX: usize = 32 << 20;
/// What Rust and C take is some hundred KiB.
const SMALL_BYTES: usize = 1 << 20;

/// Which grants an interface is of no use without.
fn grants_of(interface: &str) -> &'static [&'static str] {
    match interface {
        "http" => &["http"],
        "tcp" | "tls" => &["tcp"],
        "dns" => &["dns"],
        "icmp" => &["icmp"],
        "files" => &["files"],
        "commands" => &["commands"],
        "units" => &["units"],
        "containers" => &["containers"],
        // http and tcp name its type, whether a secret is sent or not.
        "secrets" => &[],
        "secrets-reveal" => &["reveal"],
        "system" => &["system"],
        "processes" => &["processes"],
        _ => &[],
    }
}

/// Whether a host could load it.
pub fn check(subject: &Subject, language: Option<Language>, findings: &mut Findings) -> bool {
    let file = subject.wasm.display().to_string();
    let mut fits = true;
    let mut error = |findings: &mut Findings, message: String| {
        fits = false;
        findings.add(Level::Error, &file, None, message);
    };
    let size = subject.bytes.len();
    if size > SIZE_BYTES_MAX {
        error(findings, format!("it has {}, and may have {}", mib(size), mib(SIZE_BYTES_MAX)));
    }
    let (surface, interface) = match (Surface::of(&subject.bytes), Interface::read(&subject.manifest.world)) {
        (Ok(surface), Ok(interface)) => (surface, interface),
        (Err(told), _) | (_, Err(told)) => {
            error(findings, format!("{told:#}"));
            return false;
        }
    };
    let wasi = surface.wasi();
    if !wasi.is_empty() {
        let advice = wasi_advice(language.unwrap_or(Language::Rust));
        error(findings, format!("it asks for {}, which no host gives: {advice}", wasi.join(", ")));
    }
    let known = interface.imports();
    let strange: Vec<&str> = surface
        .imports
        .iter()
        .filter(|name| !wasi.contains(name) && !known.contains(name))
        .map(String::as_str)
        .collect();
    if !strange.is_empty() {
        error(findings, format!("it asks for {}, which the interface does not have", strange.join(", ")));
    }
    let exports = interface.exports();
    let missing: Vec<&str> =
        exports.iter().filter(|wanted| !surface.exports.contains(wanted)).map(String::as_str).collect();
    if !missing.is_empty() {
        let world = &subject.manifest.world;
        error(
            findings,
            format!("it does not provide {}, which world {world:?} of plugin.toml has", missing.join(", ")),
        );
    }
    if size > SMALL_BYTES && matches!(language, Some(Language::Rust | Language::C)) {
        let message = format!("it has {}: is it built for release, without debug information?", mib(size));
        findings.add(Level::Note, &file, None, message);
    }
    ungranted(&surface, &known, &subject.manifest.grants, &file, findings);
    fits
}

/// Python and JavaScript ask for everything, whatever they use.
fn ungranted(surface: &Surface, known: &[String], grants: &Grants, file: &str, findings: &mut Findings) {
    if known.iter().all(|name| surface.imports.contains(name)) {
        return;
    }
    let granted: Vec<&str> = grants.lines().map(|(key, _)| key).collect();
    for name in &surface.imports {
        let short = name.strip_prefix("hostler:host/").and_then(|name| name.split('@').next()).unwrap_or_default();
        let wanted = grants_of(short);
        if !wanted.is_empty() && !wanted.iter().any(|key| granted.contains(key)) {
            let keys = wanted.join(" or ");
            let message = format!("it uses {short}, and plugin.toml asks for no grant of {keys}: every call is denied");
            findings.add(Level::Warning, file, None, message);
        }
    }
}

fn mib(bytes: usize) -> String {
    format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_interface_that_needs_a_grant_is_known() {
        let free = ["types", "log", "clock", "random", "config", "metrics", "kv", "secrets"];
        for name in Interface::read("check").expect("the interface").imports() {
            let short = name.trim_start_matches("hostler:host/").trim_end_matches("@1.0.0");
            assert_eq!(grants_of(short).is_empty(), free.contains(&short), "{name}");
        }
    }
}
