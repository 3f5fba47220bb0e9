//! The agent's end of the socket pair to the executor, which does what takes root.

use hostler_executor::clock::boottime_ms;
use hostler_executor::protocol::{Act, Answer, Decoder, FD_VARIABLE, Outcome, Request, encode};
use std::collections::BTreeMap;
use std::io;
use std::os::fd::{FromRawFd, OwnedFd};
use std::os::unix::net::UnixStream as StdUnixStream;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

/// As many as a host has services that start at once; whoever asks waits.
const QUEUE: usize = 64;
/// Between two halves on one host nothing takes longer to arrive.
const VALID_FOR: Duration = Duration::from_secs(10);
const READ_BYTES: usize = 4 * 1024;

type Asked = (Act, oneshot::Sender<Outcome>);

/// Cheap to clone. Without an executor everything is refused, with the reason.
#[derive(Clone)]
pub struct Executor {
    asks: Option<mpsc::Sender<Asked>>,
}

/// What was asked may have been done, or not.
#[derive(Debug)]
pub struct Lost;

impl Executor {
    pub fn absent() -> Self {
        Self { asks: None }
    }

    /// And what keeps it going, if this agent was started by one.
    pub fn inherited() -> (Self, Option<Connection>) {
        match inherited() {
            Ok(Some(socket)) => {
                let (asks, asked) = mpsc::channel(QUEUE);
                (Self { asks: Some(asks) }, Some(Connection { socket, asked }))
            }
            Ok(None) => (Self::absent(), None),
            Err(error) => {
                tracing::error!(error = %error, "the executor can't be spoken to: services are only watched");
                (Self::absent(), None)
            }
        }
    }

    pub fn is_absent(&self) -> bool {
        self.asks.is_none()
    }

    pub async fn ask(&self, act: Act) -> Result<Outcome, Lost> {
        let Some(asks) = &self.asks else {
            return Ok(Outcome::Refused {
                rule: "executor".to_owned(),
                words: "this agent was started without an executor, and only watches: start it by \
                        hostler-executor run -- hostler-agent run"
                    .to_owned(),
            });
        };
        let (answer, answered) = oneshot::channel();
        asks.send((act, answer)).await.map_err(|_| Lost)?;
        answered.await.map_err(|_| Lost)
    }
}

/// The descriptor is ours from here on: whoever we start does not get it.
#[allow(unsafe_code, reason = "a descriptor that was inherited has no safe owner")]
fn inherited() -> io::Result<Option<StdUnixStream>> {
    let Some(number) = std::env::var(FD_VARIABLE).ok().and_then(|text| text.parse::<i32>().ok()) else {
        return Ok(None);
    };
    // SAFETY: the executor opened this descriptor for us and named it in our
    // environment; it is taken once, before anything else can have been opened there.
    let fd = unsafe { OwnedFd::from_raw_fd(number) };
    rustix::io::fcntl_setfd(&fd, rustix::io::FdFlags::CLOEXEC)?;
    let socket = StdUnixStream::from(fd);
    socket.set_nonblocking(true)?;
    Ok(Some(socket))
}

pub struct Connection {
    socket: StdUnixStream,
    asked: mpsc::Receiver<Asked>,
}

impl Connection {
    /// Ends when the executor does: it starts the agent anew with another.
    pub async fn run(self, stop: CancellationToken) {
        let Self { socket, mut asked } = self;
        let Ok(mut socket) = UnixStream::from_std(socket) else { return };
        let mut waiting: BTreeMap<u64, oneshot::Sender<Outcome>> = BTreeMap::new();
        let (mut decoder, mut id) = (Decoder::<Answer>::default(), 0);
        let mut buffer = vec![0; READ_BYTES];
        loop {
            // Reading can be dropped half-way: it has taken nothing then.
            tokio::select! {
                () = stop.cancelled() => return,
                Some((act, answer)) = asked.recv() => {
                    id += 1;
                    let expires_at_ms = boottime_ms() + hostler_types::time::whole_millis(VALID_FOR);
                    match encode(&Request { id, expires_at_ms, act }) {
                        Ok(bytes) => {
                            waiting.insert(id, answer);
                            if socket.write_all(&bytes).await.is_err() {
                                return;
                            }
                        }
                        Err(error) => {
                            let _ = answer.send(Outcome::Failed { words: error.to_string() });
                        }
                    }
                }
                read = socket.read(&mut buffer) => {
                    let read = match read {
                        Ok(0) | Err(_) => return,
                        Ok(read) => read,
                    };
                    decoder.feed(buffer.get(..read).unwrap_or_default());
                    loop {
                        match decoder.take() {
                            Ok(Some(Answer { id, outcome })) => {
                                if let Some(answer) = waiting.remove(&id) {
                                    let _ = answer.send(outcome);
                                }
                            }
                            Ok(None) => break,
                            Err(error) => {
                                tracing::error!(error = %error, "the executor says what can't be read");
                                return;
                            }
                        }
                    }
                }
            }
        }
    }
}
