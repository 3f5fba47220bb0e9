//! Pings, by the kernel's own sockets for them: no privilege, and no other
//! host's answers to see.

use super::network::{self, io_words};
use crate::answer::Echo;
use crate::call::CallError;
use crate::limits;
use hostler_types::plugin::{Grants, Need};
use ring::rand::SecureRandom;
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, ipproto, socket_with};
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use tokio::net::UdpSocket;

/// Loss is an answer, so this ends before the call does.
pub(super) async fn ping(host: &str, count: u32, timeout: Duration, grants: &Grants) -> Result<Echo, CallError> {
    let deadline = Instant::now() + timeout.saturating_sub(limits::HOST_CALL_MARGIN);
    let need = Need::Icmp { host: host.to_owned() };
    let addresses = network::resolve(host, 0, &need, grants).await?;
    let socket = open(&addresses).await?;
    let count = count.clamp(1, limits::PING_COUNT_MAX);
    let interval = limits::PING_INTERVAL.min(timeout / (count + 1));
    Pings::new(socket)?.run(count, interval, deadline).await
}

/// To the first address that there is a way to.
async fn open(addresses: &[SocketAddr]) -> Result<Socket, CallError> {
    let mut failed = CallError::Unreachable("no route to host".to_owned());
    for address in addresses {
        let (family, protocol) = match address.is_ipv4() {
            true => (AddressFamily::INET, ipproto::ICMP),
            false => (AddressFamily::INET6, ipproto::ICMPV6),
        };
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = socket_with(family, SocketType::DGRAM, flags, Some(protocol)).map_err(refused)?;
        // It is addressed, written and read like one of UDP.
        let socket = UdpSocket::from_std(socket.into()).map_err(|error| CallError::other("icmp", error))?;
        match socket.connect(address).await {
            Ok(()) => return Ok(Socket { socket, four: address.is_ipv4() }),
            Err(error) => failed = CallError::Unreachable(io_words(&error)),
        }
    }
    Err(failed)
}

fn refused(error: Errno) -> CallError {
    match error {
        Errno::ACCESS | Errno::PERM => CallError::other(
            "icmp",
            "the kernel lets the agent send no pings: sysctl net.ipv4.ping_group_range=\"0 2147483647\" does",
        ),
        Errno::AFNOSUPPORT | Errno::PROTONOSUPPORT => CallError::other("icmp", "this host has no such network"),
        error => CallError::other("icmp", io_words(&error.into())),
    }
}

struct Socket {
    socket: UdpSocket,
    four: bool,
}

const HEADER_BYTES: usize = 8;
const TOKEN_BYTES: usize = 16;

/// Type, code, checksum and number of the asker, which the kernel fills in, the
/// number of the question, and what the answer must repeat.
fn packet(four: bool, sequence: u16, token: &[u8; TOKEN_BYTES]) -> Vec<u8> {
    let mut packet = vec![if four { 8 } else { 128 }, 0, 0, 0, 0, 0];
    packet.extend_from_slice(&sequence.to_be_bytes());
    packet.extend_from_slice(token);
    packet
}

/// Which question this is the answer to.
fn answered(four: bool, token: &[u8; TOKEN_BYTES], packet: &[u8]) -> Option<u16> {
    let (header, rest) = packet.split_first_chunk::<HEADER_BYTES>()?;
    let [kind, _, _, _, _, _, high, low] = *header;
    let reply = if four { 0 } else { 129 };
    (kind == reply && rest == token).then(|| u16::from_be_bytes([high, low]))
}

struct Pings {
    socket: Socket,
    token: [u8; TOKEN_BYTES],
    /// When each was sent, and how long its answer took.
    sent: Vec<(Instant, Option<Duration>)>,
    failed: Option<std::io::Error>,
}

impl Pings {
    fn new(socket: Socket) -> Result<Pings, CallError> {
        let mut token = [0; TOKEN_BYTES];
        let filled = ring::rand::SystemRandom::new().fill(&mut token);
        filled.map_err(|_| CallError::other("random", "the host has none"))?;
        Ok(Pings { socket, token, sent: Vec::new(), failed: None })
    }

    async fn run(mut self, count: u32, interval: Duration, deadline: Instant) -> Result<Echo, CallError> {
        let mut due = Instant::now();
        for sequence in 0..u16::try_from(count).unwrap_or(u16::MAX) {
            tokio::time::sleep_until(due.min(deadline).into()).await;
            due += interval;
            self.sent.push((Instant::now(), None));
            if let Err(error) = self.socket.socket.send(&packet(self.socket.four, sequence, &self.token)).await {
                self.failed = Some(error);
            }
            self.listen(due.min(deadline)).await;
        }
        self.listen((Instant::now() + limits::PING_WAIT).min(deadline)).await;
        self.echo()
    }

    /// Until then, or until every question is answered.
    async fn listen(&mut self, until: Instant) {
        let mut packet = [0; 128];
        while self.sent.iter().any(|(_, took)| took.is_none()) {
            match tokio::time::timeout_at(until.into(), self.socket.socket.recv(&mut packet)).await {
                Ok(Ok(read)) => self.heard(packet.get(..read).unwrap_or_default()),
                // What a router said of one question, and says once; others may pass.
                Ok(Err(error)) => self.failed = Some(error),
                Err(_elapsed) => return,
            }
        }
    }

    fn heard(&mut self, packet: &[u8]) {
        let sequence = answered(self.socket.four, &self.token, packet);
        if let Some((at, took)) = sequence.and_then(|sequence| self.sent.get_mut(usize::from(sequence))) {
            // Twice the same answer counts once.
            took.get_or_insert(at.elapsed());
        }
    }

    fn echo(self) -> Result<Echo, CallError> {
        let micros = |took: Duration| u32::try_from(took.as_micros()).unwrap_or(u32::MAX);
        let took: Vec<u32> = self.sent.iter().filter_map(|(_, took)| took.map(micros)).collect();
        let received = u32::try_from(took.len()).unwrap_or(u32::MAX);
        if let (0, Some(error)) = (received, self.failed) {
            return Err(CallError::Unreachable(io_words(&error)));
        }
        let sum: u64 = took.iter().map(|one| u64::from(*one)).sum();
        Ok(Echo {
            sent: u32::try_from(self.sent.len()).unwrap_or(u32::MAX),
            received,
            min_micros: took.iter().min().copied().unwrap_or_default(),
            mean_micros: u32::try_from(sum / u64::from(received.max(1))).unwrap_or(u32::MAX),
            max_micros: took.iter().max().copied().unwrap_or_default(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::testing::grants;

    async fn pinged(host: &str, count: u32) -> Result<Echo, CallError> {
        ping(host, count, Duration::from_secs(2), &grants("icmp = [\"*\"]")).await
    }

    #[test]
    fn an_answer_repeats_its_question() {
        let token = [7; TOKEN_BYTES];
        for (four, reply) in [(true, 0), (false, 129)] {
            let mut bytes = packet(four, 0x0102, &token);
            assert_eq!(answered(four, &token, &bytes), None, "the question itself");
            bytes[0] = reply;
            assert_eq!(answered(four, &token, &bytes), Some(0x0102));
            assert_eq!(answered(four, &[8; TOKEN_BYTES], &bytes), None);
            assert_eq!(answered(!four, &token, &bytes), None);
            assert_eq!(answered(four, &token, &bytes[..7]), None);
        }
    }

    #[tokio::test]
    async fn where_the_kernel_refuses_it_says_what_to_set() {
        match pinged("127.0.0.1", 2).await {
            Ok(echo) => assert_eq!((echo.sent, echo.received), (2, 2)),
            Err(CallError::Other { key, value }) => {
                assert!(key == "icmp" && value.contains("net.ipv4.ping_group_range"), "{value}");
            }
            Err(error) => panic!("{error:?}"),
        }
    }

    #[tokio::test]
    async fn an_address_is_judged() {
        let narrow = grants("icmp = [\"*\"]\npublic_only = true");
        let denied = ping("127.0.0.1", 1, Duration::from_secs(1), &narrow).await;
        let expect = "grants.icmp = [\"127.0.0.1\"] (127.0.0.1 is 127.0.0.1: private networks are refused here)";
        assert_eq!(denied, Err(CallError::Denied(expect.into())));
    }

    /// Who may ping is set for a network: the other half runs in one of its own,
    /// where this host lets us make one.
    #[test]
    fn pings_and_counts_what_is_lost() {
        let script = "echo '0 2147483647' >/proc/sys/net/ipv4/ping_group_range && ip link set lo up && exec \"$@\"";
        let this = std::env::current_exe().expect("this test");
        let mut command = std::process::Command::new("unshare");
        command.args(["--net", "sh", "-c", script, "sh"]).arg(this);
        command.args(["--exact", "machine::icmp::tests::in_a_network_of_its_own", "--ignored", "--nocapture"]);
        let Ok(output) = command.output() else { return };
        let said = String::from_utf8_lossy(&output.stdout);
        let complains = String::from_utf8_lossy(&output.stderr);
        let no_network =
            ["not permitted", "denied", "not found", "Read-only"].iter().any(|why| complains.contains(why));
        assert!(said.contains("1 passed") || no_network, "{said}{complains}");
    }

    #[tokio::test]
    #[ignore = "the other half of pings_and_counts_what_is_lost"]
    async fn in_a_network_of_its_own() {
        for host in ["127.0.0.1", "::1"] {
            let echo = pinged(host, 3).await.expect(host);
            assert_eq!((echo.sent, echo.received), (3, 3), "{host}");
            assert!(echo.min_micros <= echo.mean_micros && echo.mean_micros <= echo.max_micros && echo.max_micros > 0);
        }
        assert_eq!(pinged("127.0.0.1", u32::MAX).await.expect("pings").sent, limits::PING_COUNT_MAX);
        assert_eq!(pinged("192.0.2.1", 1).await, Err(CallError::Unreachable("network unreachable".into())));
        // A host that swallows everything: this one.
        std::fs::write("/proc/sys/net/ipv4/icmp_echo_ignore_all", "1").expect("our own network");
        let began = Instant::now();
        let echo = pinged("127.0.0.1", 2).await.expect("pings");
        assert_eq!((echo.sent, echo.received, echo.max_micros), (2, 0, 0));
        assert!(began.elapsed() < Duration::from_secs(2));
    }
}
