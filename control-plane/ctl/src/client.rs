//! Finding the context file, and connecting with what it says.

use crate::cli::Global;
use crate::problem::Problem;
use hostler_proto::admin::admin_client::AdminClient;
use hostler_proto::context::{Context, ContextError, Contexts, TOKEN_VARIABLE, file_candidates};
use hostler_proto::transport::{self, ConnectError};
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use tonic::metadata::{Ascii, Binary, MetadataValue};
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Channel;
use tonic::{Request, Status};

#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    #[error(
        "there is no context file ({}): the control plane writes one at its first start; name another with --context-file",
        .0.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", ")
    )]
    NoFile(Vec<PathBuf>),
    #[error("{path} belongs to somebody else: run this as the user who started the control plane (sudo?)")]
    Forbidden { path: PathBuf },
    #[error("the context file {path}: {source}")]
    Context { path: PathBuf, source: ContextError },
    #[error("connect to the control plane of context {context}")]
    Connect { context: String, source: ConnectError },
}

pub struct Opened {
    pub path: PathBuf,
    pub contexts: Contexts,
}

/// The first of the places that has one.
pub fn open_contexts(global: &Global) -> Result<Opened, Problem> {
    let home = std::env::var_os("HOME").map(PathBuf::from);
    let candidates = file_candidates(global.context_file.clone(), home);
    for path in &candidates {
        let text = match fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                return Err(ClientError::Forbidden { path: path.clone() }.into());
            }
            Err(source) => return Err(Problem::File { operation: "read", path: path.clone(), source }),
        };
        let contexts = Contexts::parse(&text).map_err(|source| ClientError::Context { path: path.clone(), source })?;
        return Ok(Opened { path: path.clone(), contexts });
    }
    Err(ClientError::NoFile(candidates).into())
}

/// For its owner alone, and whole or not at all.
pub fn write_contexts(path: &Path, contexts: &Contexts) -> Result<(), Problem> {
    // A link stays a link: the file it leads to is the one that is written.
    let target = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let path = target.as_path();
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    let beside = path.with_file_name(name);
    let write = || -> io::Result<()> {
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&beside)?;
        file.write_all(contexts.print().as_bytes())?;
        file.sync_all()?;
        fs::rename(&beside, path)
    };
    write().map_err(|source| Problem::File { operation: "write", path: path.to_owned(), source })
}

pub type Client = AdminClient<InterceptedService<Channel, Bearer>>;

/// Shows the token with each call, where there is one, and says why an approval is
/// done without.
#[derive(Clone)]
pub struct Bearer {
    token: Option<MetadataValue<Ascii>>,
    /// Why it is done without a second approval.
    reason: Option<MetadataValue<Binary>>,
}

const OVERRIDE: &str = "x-override-approval-bin";

impl Bearer {
    fn new(token: &str, reason: Option<&str>) -> Result<Self, Problem> {
        let reason = reason.map(|reason| MetadataValue::from_bytes(reason.as_bytes()));
        if token.is_empty() {
            return Ok(Self { token: None, reason });
        }
        let wrong = |_| Problem::Failed(format!("the token in {TOKEN_VARIABLE} or the context file is damaged"));
        let mut value: MetadataValue<Ascii> = format!("Bearer {token}").parse().map_err(wrong)?;
        value.set_sensitive(true);
        Ok(Self { token: Some(value), reason })
    }
}

impl Interceptor for Bearer {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(value) = &self.token {
            request.metadata_mut().insert("authorization", value.clone());
        }
        if let Some(value) = &self.reason {
            request.metadata_mut().insert_bin(OVERRIDE, value.clone());
        }
        Ok(request)
    }
}

/// The variable wins over the file, and a token over a certificate.
fn token(context: &Context) -> String {
    let given = std::env::var(TOKEN_VARIABLE).unwrap_or_default();
    let given = given.trim();
    if given.is_empty() { context.token.clone() } else { given.to_owned() }
}

/// Where the chosen context's control plane is: `127.0.0.1:7480`.
pub fn addresses(global: &Global) -> Result<String, Problem> {
    let Opened { path, contexts } = open_contexts(global)?;
    let chosen = contexts.choose(global.context.as_deref());
    let (_, context) = chosen.map_err(|source| ClientError::Context { path, source })?;
    Ok(context.addresses.join(", "))
}

/// Tries the context's addresses in order.
pub async fn connect(global: &Global) -> Result<Client, Problem> {
    let Opened { path, contexts } = open_contexts(global)?;
    let wrong = |source| ClientError::Context { path: path.clone(), source };
    let (name, context) = contexts.choose(global.context.as_deref()).map_err(wrong)?;
    let token = token(context);
    let channel = dial(name, context, &token).await.map_err(|error| match error {
        DialError::Context(source) => wrong(source),
        DialError::Connect(source) => ClientError::Connect { context: name.to_owned(), source },
    })?;
    // An answer may hold a whole fleet's table, unlike what agents send.
    Ok(AdminClient::with_interceptor(channel, Bearer::new(&token, global.override_approval.as_deref())?)
        .max_decoding_message_size(ANSWER_BYTES_MAX))
}

const ANSWER_BYTES_MAX: usize = 256 * 1024 * 1024;

enum DialError {
    Context(ContextError),
    Connect(ConnectError),
}

async fn dial(name: &str, context: &Context, token: &str) -> Result<Channel, DialError> {
    let (trust, identity) = context.credentials(name).map_err(DialError::Context)?;
    if identity.is_none() && token.is_empty() {
        return Err(DialError::Context(ContextError::NoCredential { context: name.to_owned() }));
    }
    // With both, the connection would be one person's and the calls another's.
    let identity = identity.filter(|_| token.is_empty());
    let mut last = ConnectError::Address { address: "(none)".to_owned() };
    for address in &context.addresses {
        match transport::connect(address, &trust, identity.clone()).await {
            Ok(channel) => return Ok(channel),
            Err(error) => last = error,
        }
    }
    Err(DialError::Connect(last))
}
