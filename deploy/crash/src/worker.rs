//! The process that is broken: writers that say every acknowledgement at once,
//! one line each, so that whoever reads them knows what must not be lost.

use crate::model::{self, WRITERS, last_key};
use crate::store;
use hostler_store::Store;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// It ended because the store had.
pub const EXIT_STOPPED: u8 = 3;
const RETRY: Duration = Duration::from_millis(20);
const READ_EVERY: Duration = Duration::from_millis(10);

#[derive(clap::Args, Debug)]
pub struct Options {
    folder: PathBuf,
    #[arg(long)]
    seed: u64,
    /// A failpoint and what it does: NAME=ACTION
    #[arg(long = "fail", value_parser = parse_fail)]
    fails: Vec<(String, String)>,
    /// Read in a loop, and say how each read went
    #[arg(long)]
    reads: bool,
}

fn parse_fail(text: &str) -> Result<(String, String), String> {
    let (name, action) = text.split_once('=').ok_or("not NAME=ACTION")?;
    Ok((name.to_owned(), action.to_owned()))
}

/// One line, out before it returns.
fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    if writeln!(out, "{line}").and_then(|()| out.flush()).is_err() {
        // Nobody reads any more.
        std::process::exit(1);
    }
}

pub fn work(options: &Options) -> ExitCode {
    for (name, action) in &options.fails {
        fail::cfg(name, action).expect("a failpoint's action");
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    runtime.expect("a runtime").block_on(run(options))
}

async fn run(options: &Options) -> ExitCode {
    let mut term = signal(SignalKind::terminate()).expect("a handler for SIGTERM");
    let store = match store::open(&options.folder) {
        Ok(store) => store,
        Err(error) => {
            eprintln!("{}", store::words(&error));
            return ExitCode::FAILURE;
        }
    };
    say(&format!("open {}", store.revision().await.expect("the revision")));
    let (stop, stopping) = watch::channel(false);
    let mut tasks = JoinSet::new();
    for writer in 0..WRITERS {
        tasks.spawn(write(Arc::clone(&store), options.seed, writer, stopping.clone()));
    }
    if options.reads {
        tasks.spawn(read(Arc::clone(&store), stopping));
    }
    tokio::select! {
        _ = term.recv() => stop.send_replace(true),
        () = store.stopped() => {
            say("stopped");
            std::process::exit(i32::from(EXIT_STOPPED));
        }
        Some(Err(panic)) = tasks.join_next() => panic!("a task ended: {panic}"),
    };
    while let Some(ended) = tasks.join_next().await {
        ended.expect("a task ends well");
    }
    match tokio::task::spawn_blocking(|| store::close(store)).await.expect("closing ends well") {
        Ok(()) => ExitCode::SUCCESS,
        Err(text) => {
            eprintln!("{text}");
            ExitCode::FAILURE
        }
    }
}

async fn write(store: Arc<dyn Store>, seed: u64, writer: u32, stopping: watch::Receiver<bool>) {
    let last = store.get(&last_key(writer)).await.expect("read the writer's last");
    let last = last.map_or(0, |entry| String::from_utf8_lossy(&entry.value).parse().expect("a number"));
    for seq in last + 1.. {
        let txn = store::as_txn(model::txn(seed, writer, seq));
        loop {
            if *stopping.borrow() {
                return;
            }
            match store.commit(txn.clone()).await {
                Ok(revision) => {
                    say(&format!("ack {writer} {seq} {revision}"));
                    break;
                }
                Err(error) if error.may_pass() => {
                    say(&format!("refused {writer} {seq} {}", store::words(&error)));
                    tokio::time::sleep(RETRY).await;
                }
                Err(error) => panic!("transaction {seq} of writer {writer}: {}", store::words(&error)),
            }
        }
    }
}

async fn read(store: Arc<dyn Store>, stopping: watch::Receiver<bool>) {
    let mut writers = (0..WRITERS).cycle();
    while !*stopping.borrow() {
        let writer = writers.next().unwrap_or(0);
        match store.get(&last_key(writer)).await {
            Ok(_) => say("read ok"),
            Err(error) => say(&format!("read failed {}", store::words(&error))),
        }
        tokio::time::sleep(READ_EVERY).await;
    }
}
