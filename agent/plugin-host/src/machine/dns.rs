//! Questions to a name server, one each, without any cache of answers.

mod message;

use super::network::io_words;
use crate::answer::DnsAnswer;
use crate::call::CallError;
use crate::limits;
use hostler_types::plugin::{Grants, Need};
use message::{Question, Reply, UDP_BYTES_MAX};
use ring::rand::SecureRandom;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Instant;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};

const PORT: u16 = 53;
const RESOLV_CONF: &str = "/etc/resolv.conf";

pub(super) async fn query(
    name: &str,
    rrtype: &str,
    server: Option<&str>,
    grants: &Grants,
) -> Result<DnsAnswer, CallError> {
    let server = match server {
        Some(server) => named_server(server, grants)?,
        None => own_server(&std::fs::read_to_string(RESOLV_CONF).unwrap_or_default()),
    };
    ask(name, rrtype, server).await
}

/// The grant is for names, whoever is asked: but it must be a name server, or
/// the question could be a message to anything.
fn named_server(server: &str, grants: &Grants) -> Result<SocketAddr, CallError> {
    let plain = server.trim_matches(['[', ']']).parse::<IpAddr>().map(|address| SocketAddr::new(address, PORT));
    let address = plain.or_else(|_| server.parse()).map_err(|_| {
        CallError::Invalid(format!("server {server:?}: it is an address, perhaps with a port, such as 192.0.2.1:53"))
    })?;
    let need = Need::Tcp { host: address.ip().to_string(), port: address.port() };
    match address.port() == PORT || grants.allows(&need) {
        true => Ok(address),
        false => Err(CallError::Denied(format!("{need} (name servers are asked at port {PORT} without it)"))),
    }
}

/// The first one; this host's own where none is named, as the C library has it.
fn own_server(resolv_conf: &str) -> SocketAddr {
    let named = resolv_conf.lines().find_map(|line| {
        let mut words = line.split_ascii_whitespace();
        words.next().filter(|key| *key == "nameserver")?;
        words.next()?.parse::<IpAddr>().ok()
    });
    SocketAddr::new(named.unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST)), PORT)
}

async fn ask(name: &str, rrtype: &str, server: SocketAddr) -> Result<DnsAnswer, CallError> {
    let question = Question::new(name, rrtype, random_id()?)?;
    let began = Instant::now();
    let unreachable = |error: std::io::Error| CallError::Unreachable(io_words(&error));
    let mut reply = over_udp(&question, server).await.map_err(unreachable)?;
    if reply.truncated() {
        reply = over_tcp(&question, server).await.map_err(unreachable)?;
    }
    reply.read(u32::try_from(began.elapsed().as_micros()).unwrap_or(u32::MAX))
}

/// Who can't see the question can't guess what its answer would have to say.
fn random_id() -> Result<u16, CallError> {
    let mut id = [0; 2];
    let filled = ring::rand::SystemRandom::new().fill(&mut id);
    filled.map(|()| u16::from_be_bytes(id)).map_err(|_| CallError::other("random", "the host has none"))
}

/// Asks again where a packet was lost, until the call's time is over.
async fn over_udp(question: &Question, server: SocketAddr) -> std::io::Result<Reply> {
    let any: IpAddr = if server.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind(SocketAddr::new(any, 0)).await?;
    // From here on only this server is heard.
    socket.connect(server).await?;
    let mut wait = limits::DNS_ASK_AGAIN;
    loop {
        socket.send(question.bytes()).await?;
        if let Ok(reply) = tokio::time::timeout(wait, answer(&socket, question)).await {
            return reply;
        }
        wait *= 2;
    }
}

async fn answer(socket: &UdpSocket, question: &Question) -> std::io::Result<Reply> {
    let mut bytes = vec![0; usize::from(UDP_BYTES_MAX)];
    loop {
        let read = socket.recv(&mut bytes).await?;
        if let Some(reply) = bytes.get(..read).and_then(|bytes| question.answered_by(bytes)) {
            return Ok(reply);
        }
    }
}

/// Each message after its length.
async fn over_tcp(question: &Question, server: SocketAddr) -> std::io::Result<Reply> {
    let mut stream = TcpStream::connect(server).await?;
    let length = u16::try_from(question.bytes().len()).unwrap_or(u16::MAX);
    let mut message = length.to_be_bytes().to_vec();
    message.extend_from_slice(question.bytes());
    stream.write_all(&message).await?;
    let length = stream.read_u16().await?;
    let mut bytes = vec![0; length.into()];
    stream.read_exact(&mut bytes).await?;
    question.answered_by(&bytes).ok_or_else(|| std::io::Error::other("answered another question"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::testing::grants;
    use domain::base::iana::{Class, Rcode};
    use domain::base::rdata::UnknownRecordData;
    use domain::base::{Message, MessageBuilder, Name, Rtype, Ttl};
    use domain::rdata::{A, Aaaa, Cname, Mx, Ns, Ptr, Soa, Srv, Txt};
    use std::str::FromStr;
    use std::time::Duration;

    type Owner = Name<Vec<u8>>;

    fn named(text: &str) -> Owner {
        Owner::from_str(text).expect(text)
    }

    /// One of each, with a name's CNAME first.
    fn zone(question: &[u8], records: bool) -> Vec<u8> {
        let question = Message::from_octets(question).expect("a question");
        let mut builder = MessageBuilder::new_vec().start_answer(&question, Rcode::NOERROR).expect("room");
        builder.header_mut().set_ad(true);
        let (owner, ttl) = (named("a.example"), Ttl::from_secs(60));
        macro_rules! push {
            ($($data:expr),+ $(,)?) => {$(builder.push((&owner, Class::IN, ttl, $data)).expect("room");)+};
        }
        if records {
            push!(
                Cname::new(named("b.example")),
                A::from_octets(192, 0, 2, 1),
                Aaaa::new("2001:db8::1".parse().expect("an address")),
                Mx::new(10, named("mail.example")),
                Ns::new(named("ns.example")),
                Ptr::new(named("host.example")),
                Srv::new(1, 2, 443, named("srv.example")),
                Txt::<Vec<u8>>::build_from_slice(b"v=spf1 \"-all\"").expect("text"),
                Soa::new(named("ns.example"), named("admin.example"), 7.into(), ttl, ttl, ttl, ttl),
                UnknownRecordData::from_octets(Rtype::CAA, b"\0\x05issueca.example".to_vec()).expect("short"),
            );
        }
        let mut builder = builder.authority();
        builder.push((&owner, Class::IN, ttl, Ns::new(named("ns.example")))).expect("room");
        builder.finish()
    }

    const EXPECT: [&str; 10] = [
        "CNAME b.example.",
        "A 192.0.2.1",
        "AAAA 2001:db8::1",
        "MX 10 mail.example.",
        "NS ns.example.",
        "PTR host.example.",
        "SRV 1 2 443 srv.example.",
        "TXT \"v=spf1 \\\"-all\\\"\"",
        "SOA ns.example. admin.example. 7 60 60 60 60",
        "CAA 0 issue \"ca.example\"",
    ];

    async fn server() -> (UdpSocket, SocketAddr) {
        let socket = UdpSocket::bind("127.0.0.1:0").await.expect("bind");
        let address = socket.local_addr().expect("bound");
        (socket, address)
    }

    fn lines(answer: &DnsAnswer) -> Vec<String> {
        answer.records.iter().map(|one| format!("{} {}", one.rrtype, one.data)).collect()
    }

    #[tokio::test]
    async fn answers_are_as_in_a_zone_file() {
        let (socket, address) = server().await;
        tokio::spawn(async move {
            let mut bytes = [0; 1500];
            let (read, from) = socket.recv_from(&mut bytes).await.expect("a question");
            // What others say first is not heard.
            let mut wrong = zone(&bytes[..read], false);
            wrong[0] ^= 1;
            socket.send_to(&wrong, from).await.expect("sent");
            socket.send_to(b"noise", from).await.expect("sent");
            socket.send_to(&zone(&bytes[..read], true), from).await.expect("sent");
        });
        let answer = ask("A.example", "mx", address).await.expect("an answer");
        assert_eq!((answer.rcode.as_str(), answer.authority, answer.authenticated), ("NOERROR", 1, true));
        assert_eq!(lines(&answer), EXPECT);
        assert_eq!((answer.records[0].name.as_str(), answer.records[0].ttl), ("a.example.", 60));
        assert!(answer.micros > 0);
    }

    #[tokio::test]
    async fn what_was_cut_is_asked_for_over_tcp() {
        // A port that is free for the one may be taken for the other.
        let (socket, address, listener) = loop {
            let (socket, address) = server().await;
            if let Ok(listener) = tokio::net::TcpListener::bind(address).await {
                break (socket, address, listener);
            }
        };
        tokio::spawn(async move {
            let mut bytes = [0; 1500];
            let (read, from) = socket.recv_from(&mut bytes).await.expect("a question");
            let mut cut = zone(&bytes[..read], false);
            cut[2] |= 0x02;
            socket.send_to(&cut, from).await.expect("sent");
            let (mut stream, _) = listener.accept().await.expect("a connection");
            let mut bytes = vec![0; stream.read_u16().await.expect("a length").into()];
            stream.read_exact(&mut bytes).await.expect("a question");
            let whole = zone(&bytes, true);
            stream.write_all(&u16::try_from(whole.len()).expect("short").to_be_bytes()).await.expect("sent");
            stream.write_all(&whole).await.expect("sent");
        });
        assert_eq!(lines(&ask("a.example", "TXT", address).await.expect("an answer")), EXPECT);
    }

    #[tokio::test]
    async fn a_lost_question_is_asked_again() {
        let (socket, address) = server().await;
        tokio::spawn(async move {
            let mut bytes = [0; 1500];
            socket.recv_from(&mut bytes).await.expect("a question");
            let (read, from) = socket.recv_from(&mut bytes).await.expect("the same again");
            let mut none = zone(&bytes[..read], false);
            none[3] = none[3] & 0xf0 | 3;
            socket.send_to(&none, from).await.expect("sent");
        });
        let answer = tokio::time::timeout(Duration::from_secs(10), ask("a.example", "A", address)).await;
        let answer = answer.expect("in time").expect("an answer");
        assert_eq!((answer.rcode.as_str(), answer.records.len()), ("NXDOMAIN", 0));
    }

    #[tokio::test]
    async fn nobody_there_is_unreachable() {
        let (socket, address) = server().await;
        drop(socket);
        let refused = ask("a.example", "A", address).await;
        assert_eq!(refused, Err(CallError::Unreachable("connection refused".into())));
    }

    #[test]
    fn servers_are_addresses_at_the_port_for_names() {
        let granted = grants("tcp = [\"127.0.0.1:5353\"]");
        for (text, expect) in [
            ("192.0.2.1", "192.0.2.1:53"),
            ("::1", "[::1]:53"),
            ("[::1]", "[::1]:53"),
            ("127.0.0.1:5353", "127.0.0.1:5353"),
        ] {
            assert_eq!(named_server(text, &granted).map(|address| address.to_string()), Ok(expect.to_owned()));
        }
        let denied = named_server("[::1]:22", &granted);
        let expect = "grants.tcp = [\"[::1]:22\"] (name servers are asked at port 53 without it)";
        assert_eq!(denied, Err(CallError::Denied(expect.into())));
        assert!(matches!(named_server("ns.example", &granted), Err(CallError::Invalid(_))));
    }

    #[test]
    fn the_hosts_server_is_its_first() {
        for (text, expect) in [
            ("# x\nsearch a\nnameserver fe80::1%eth0\nnameserver 192.0.2.1 # y\nnameserver ::1\n", "192.0.2.1:53"),
            ("nameserver\t::1", "[::1]:53"),
            ("", "127.0.0.1:53"),
        ] {
            assert_eq!(own_server(text).to_string(), expect);
        }
    }
}
