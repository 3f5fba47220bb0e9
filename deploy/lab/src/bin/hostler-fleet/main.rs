//! `hostler-fleet`: so many agents in this one process, over real streams, against a
//! control plane that runs already; as `cargo xtask bench fleet` asks for it. One figure a
//! line, a name and a number.
//!
//! They do nothing: what is measured is the control plane, and what it costs.

mod agents;
mod echo;
mod process;
mod rounds;

use hostler_lab::played::Failure;
use hostler_proto::context::Contexts;
use std::path::PathBuf;
use std::process::ExitCode;

/// What is measured, and by whom it is asked.
struct Asked {
    agents: usize,
    /// The control plane's.
    pid: String,
    contexts: Contexts,
    /// On the disk of its store.
    folder: PathBuf,
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    // One thread: the cores are the control plane's.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let outcome = runtime.map_err(Failure::from).and_then(|runtime| match words.as_slice() {
        ["echo", folder] => runtime.block_on(echo::serve(folder.as_ref())),
        [agents, pid, contexts, folder] => {
            let asked = Asked {
                agents: agents.parse()?,
                pid: (*pid).to_owned(),
                contexts: Contexts::parse(&std::fs::read_to_string(contexts)?)?,
                folder: PathBuf::from(folder),
            };
            runtime.block_on(measure(asked))
        }
        _ => Err("usage: hostler-fleet AGENTS PID CONTEXT-FILE FOLDER".into()),
    });
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("hostler-fleet: {error}");
            ExitCode::FAILURE
        }
    }
}

fn say(name: &str, value: f64) {
    println!("{name} {value:.3}");
}

async fn measure(asked: Asked) -> Result<(), Failure> {
    echo::measure(&asked).await?;
    process::syncs(&asked.folder)?;
    let fleet = agents::Fleet::join(&asked).await?;
    rounds::measure(&asked, fleet).await
}
