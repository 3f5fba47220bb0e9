//! What the same exchange takes at least: as many TLS connections to another process,
//! which says a word to each, hears one, and says the last; no state, no disk, no RPC.

use crate::process::{cpu_seconds, spread};
use crate::{Asked, say};
use hostler_lab::played::Failure;
use rcgen::{CertificateParams, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Instant;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio_rustls::{TlsAcceptor, TlsConnector};

/// About as long as an offer, what is said of it, and its ack.
const OFFER: usize = 160;
const ANSWER: usize = 150;
const ACK: usize = 16;
const ROUNDS: usize = 11;
const NAME: &str = "localhost";

/// The other process: its port on standard output, its certificate in the folder, and
/// a round for each line of standard input.
pub async fn serve(folder: &Path) -> Result<(), Failure> {
    let key = KeyPair::generate()?;
    let certificate = CertificateParams::new(vec![NAME.to_owned()])?.self_signed(&key)?;
    std::fs::write(folder.join("echo.der"), certificate.der())?;
    let key = PrivateKeyDer::Pkcs8(key.serialize_der().into());
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key)?;
    let (acceptor, listener) = (TlsAcceptor::from(Arc::new(config)), TcpListener::bind(("127.0.0.1", 0)).await?);
    println!("{}", listener.local_addr()?.port());
    let (go, round) = watch::channel(0_u32);
    std::thread::spawn(move || {
        for _ in std::io::stdin().lines() {
            go.send_modify(|round| *round += 1);
        }
        std::process::exit(0);
    });
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                connections.spawn(say_and_hear(accepted?.0, acceptor.clone(), round.clone()));
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn say_and_hear(
    stream: TcpStream,
    acceptor: TlsAcceptor,
    mut round: watch::Receiver<u32>,
) -> Result<(), Failure> {
    stream.set_nodelay(true)?;
    let mut tls = acceptor.accept(stream).await?;
    tls.write_all(&[0]).await?;
    let mut answer = [0; ANSWER];
    loop {
        round.changed().await?;
        tls.write_all(&[0; OFFER]).await?;
        tls.read_exact(&mut answer).await?;
        tls.write_all(&[0; ACK]).await?;
    }
}

pub async fn measure(asked: &Asked) -> Result<(), Failure> {
    let mut command = tokio::process::Command::new(std::env::current_exe()?);
    command.arg("echo").arg(&asked.folder).stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
    let mut child = command.spawn()?;
    let (mut stdin, stdout) = (child.stdin.take().ok_or("no input")?, child.stdout.take().ok_or("no output")?);
    let line = BufReader::new(stdout).lines().next_line().await?.ok_or("the echo said nothing")?;
    let address = format!("127.0.0.1:{line}");
    let connector = connector(&asked.folder.join("echo.der"))?;
    let (tell, mut done) = mpsc::channel(asked.agents);
    let mut clients = JoinSet::new();
    for _ in 0..asked.agents {
        let (address, connector, tell) = (address.clone(), connector.clone(), tell.clone());
        clients.spawn(async move { hear_and_say(&address, connector, tell).await });
        done.recv().await.ok_or("a client of the echo is gone")?;
    }
    let pid = child.id().ok_or("the echo has ended")?.to_string();
    let (theirs, ours) = (cpu_seconds(&pid)?, cpu_seconds("self")?);
    let mut times = Vec::with_capacity(ROUNDS * asked.agents);
    for _ in 0..ROUNDS {
        let began = Instant::now();
        stdin.write_all(b"go\n").await?;
        for _ in 0..asked.agents {
            times.push(done.recv().await.ok_or("a client of the echo is gone")?.duration_since(began));
        }
    }
    let tasks = (ROUNDS * asked.agents) as f64;
    let (middle, most) = spread(times);
    say("echo-p50-ms", middle);
    say("echo-p99-ms", most);
    say("echo-cpu-us", (cpu_seconds(&pid)? - theirs) / tasks * 1e6);
    say("echo-own-cpu-us", (cpu_seconds("self")? - ours) / tasks * 1e6);
    drop(stdin);
    child.wait().await?;
    Ok(())
}

fn connector(certificate: &Path) -> Result<TlsConnector, Failure> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from(std::fs::read(certificate)?))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
}

/// Tells of its first byte, and of the end of each round.
async fn hear_and_say(address: &str, connector: TlsConnector, tell: mpsc::Sender<Instant>) -> Result<(), Failure> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let mut tls = connector.connect(ServerName::try_from(NAME)?, stream).await?;
    let (mut first, mut offer, mut ack) = ([0; 1], [0; OFFER], [0; ACK]);
    tls.read_exact(&mut first).await?;
    loop {
        tell.send(Instant::now()).await?;
        tls.read_exact(&mut offer).await?;
        tls.write_all(&[0; ANSWER]).await?;
        tls.read_exact(&mut ack).await?;
    }
}
