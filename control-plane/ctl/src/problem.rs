//! Why a command did not do what was asked, in words that help.

use crate::client::ClientError;
use hostler_types::spec::Problems;
use hostler_types::terminal::{sanitize, sanitize_lines};
use std::error::Error;
use std::io;
use std::path::PathBuf;
use std::process::ExitCode;
use tonic::{Code, Status};

#[derive(Debug, thiserror::Error)]
pub enum Problem {
    #[error("{0}")]
    Usage(String),
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error("{}", from_server(.0))]
    Server(#[from] Box<Status>),
    #[error("{operation} {path}")]
    File { operation: &'static str, path: PathBuf, source: io::Error },
    #[error("{0}")]
    Spec(#[from] Problems),
    #[error("{0}")]
    Failed(String),
    #[error("write to standard output")]
    Output(#[source] io::Error),
}

impl From<Status> for Problem {
    fn from(status: Status) -> Self {
        Self::Server(Box::new(status))
    }
}

fn from_server(status: &Status) -> String {
    match status.code() {
        Code::Unimplemented => format!("{}: is hostlerctl newer than the control plane?", status.message()),
        _ if status.message().is_empty() => format!("the control plane answered {:?}", status.code()),
        _ => status.message().to_owned(),
    }
}

/// By which the audit log knows the call; of no use where the words already say what to
/// write differently.
fn request_id(status: &Status) -> Option<&str> {
    let is_ours = matches!(
        status.code(),
        Code::InvalidArgument | Code::NotFound | Code::AlreadyExists | Code::FailedPrecondition | Code::OutOfRange
    );
    status.metadata().get("x-request-id").filter(|_| !is_ours).and_then(|id| id.to_str().ok())
}

/// The server's words may quote anybody's: no line but the first begins as ours do.
fn indented(words: &str) -> String {
    let mut lines = words.lines();
    let first = lines.next().unwrap_or_default().to_owned();
    lines.fold(first, |text, line| format!("{text}\n{}{line}", if line.starts_with(' ') { "" } else { "  " }))
}

/// As what it waits for a second person, if that is why it was not done.
pub fn approval_id(problem: &Problem) -> Option<String> {
    let Problem::Server(status) = problem else { return None };
    status.metadata().get("x-approval-id").and_then(|id| id.to_str().ok()).map(str::to_owned)
}

impl Problem {
    pub fn report(&self) -> ExitCode {
        // Whoever closed the pipe has seen enough.
        if let Problem::Output(error) = self
            && error.kind() == io::ErrorKind::BrokenPipe
        {
            return ExitCode::SUCCESS;
        }
        let words = sanitize_lines(&self.to_string());
        eprintln!("hostlerctl: {}", if matches!(self, Problem::Server(_)) { indented(&words) } else { words });
        if let Problem::Server(status) = self
            && let Some(id) = request_id(status)
        {
            eprintln!("  request: {}", sanitize(id));
        }
        // Those three say it all in their own words.
        let told = matches!(self, Problem::Server(_) | Problem::Spec(_) | Problem::Usage(_));
        let mut source = self.source().filter(|_| !told);
        while let Some(error) = source {
            eprintln!("  because: {}", sanitize(&error.to_string()));
            source = error.source();
        }
        ExitCode::from(if matches!(self, Problem::Usage(_)) { 2 } else { 1 })
    }
}
