//! Nothing that a host or a user says reaches a terminal as anything but text:
//! a server that fills every field of every answer with escape sequences.

use hostler_lab::program;
use hostler_proto::context::{Context, Contexts};
use hostler_proto::pem::encode_chain;
use hostler_proto::transport::SERVER_NAME;
use http_body_util::StreamBody;
use hyper::body::{Bytes, Frame, Incoming};
use hyper::{HeaderMap, Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::Message;
use prost_types::field_descriptor_proto::{Label, Type};
use prost_types::{DescriptorProto, FileDescriptorSet, MethodDescriptorProto};
use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

const PAYLOADS_MIN: usize = 5_000;
const ITEMS: usize = 3;
/// Messages within messages; the protocol has fewer.
const DEPTH_MAX: usize = 6;

/// Clears a screen, retitles a window, fills a clipboard, hides a line, turns text
/// around: each with the number that tells it from all others.
fn payload(number: u64) -> String {
    let shapes: [fn(u64) -> String; 24] = [
        |n| format!("\u{1b}[{n}m"),
        |n| format!("\u{1b}[2J\u{1b}[{n};1H"),
        |n| format!("\u{1b}]0;{n}\u{7}"),
        |n| format!("\u{1b}]52;c;{n}\u{1b}\\"),
        |n| format!("\u{1b}]8;;http://x/{n}\u{1b}\\y\u{1b}]8;;\u{1b}\\"),
        |n| format!("\u{1b}P{n}q\u{1b}\\"),
        |n| format!("\u{1b}_{n}\u{1b}\\"),
        |n| format!("\u{1b}^{n}\u{1b}\\"),
        |n| format!("\u{1b}c{n}"),
        |n| format!("\u{9b}{n}A\u{9b}2K"),
        |n| format!("\u{9d}0;{n}\u{9c}"),
        |n| format!("\u{90}{n}\u{9c}"),
        |n| format!("passing\r{n}critical"),
        |n| format!("{n}\u{8}\u{8}\u{8}"),
        |n| format!("\u{202e}{n}\u{202c}"),
        |n| format!("\u{2066}{n}\u{2069}\u{200f}"),
        |n| format!("a\u{200b}{n}\u{feff}"),
        |n| format!("{n}\u{0}\u{1}\u{7f}"),
        |n| format!("{n}\n\u{1b}[A\u{1b}[2Kforged"),
        |n| format!("\u{e}{n}\u{f}"),
        |n| format!("{n}\u{85}\u{84}\u{8d}"),
        |n| format!("{n}\u{b}\u{c}\u{2028}"),
        |n| format!("\u{e0041}{n}\u{e007f}"),
        |n| format!("\u{1b}[?1049h\u{1b}[?25l{n}\u{1b}[6n"),
    ];
    shapes[(number % shapes.len() as u64) as usize](number)
}

/// How the second line of such a payload begins, made visible: no line of ours does.
const FORGED: &str = "\\u{1b}[A\\u{1b}[2K";

/// What may stand on a terminal: text, and line ends.
fn is_raw(c: char) -> bool {
    (c.is_control() && c != '\n')
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

/// Makes answers of any type, by its descriptor.
struct Answers {
    messages: BTreeMap<String, DescriptorProto>,
    methods: BTreeMap<String, MethodDescriptorProto>,
    next: AtomicU64,
}

impl Answers {
    fn new() -> Self {
        let set = FileDescriptorSet::decode(hostler_proto::DESCRIPTORS).unwrap();
        let (mut messages, mut methods) = (BTreeMap::new(), BTreeMap::new());
        for file in set.file {
            let mut open: Vec<(String, DescriptorProto)> =
                file.message_type.iter().map(|one| (format!(".{}", file.package()), one.clone())).collect();
            while let Some((within, message)) = open.pop() {
                let name = format!("{within}.{}", message.name());
                open.extend(message.nested_type.iter().map(|one| (name.clone(), one.clone())));
                messages.insert(name, message);
            }
            let service = file.service.into_iter().filter(|service| service.name() == "Admin");
            methods.extend(service.flat_map(|one| one.method).map(|method| (method.name().to_owned(), method)));
        }
        Self { messages, methods, next: AtomicU64::new(0) }
    }

    /// Every other text is a word that is expected there, so that printing gets on.
    fn text(&self, hostile: bool) -> String {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        if hostile || number.is_multiple_of(2) { payload(number) } else { "passing".to_owned() }
    }

    fn message(&self, name: &str, hostile: bool, depth: usize) -> Vec<u8> {
        let mut bytes = Vec::new();
        if depth == DEPTH_MAX {
            return bytes;
        }
        let mut chosen = BTreeSet::new();
        for field in &self.messages[name].field {
            // Of several that exclude each other, the first.
            if field.oneof_index.is_some_and(|index| !chosen.insert(index)) {
                continue;
            }
            let items = if field.label() == Label::Repeated { ITEMS } else { 1 };
            for _ in 0..items {
                let key = |wire: u64| (field.number() as u64) << 3 | wire;
                let value = match field.r#type() {
                    Type::String => self.text(hostile).into_bytes(),
                    Type::Bytes => self.text(true).into_bytes(),
                    Type::Message => self.message(field.type_name(), hostile, depth + 1),
                    Type::Double => {
                        varint(key(1), &mut bytes);
                        bytes.extend(1.5f64.to_le_bytes());
                        continue;
                    }
                    _ => {
                        varint(key(0), &mut bytes);
                        varint(1, &mut bytes);
                        continue;
                    }
                };
                varint(key(2), &mut bytes);
                varint(value.len() as u64, &mut bytes);
                bytes.extend(value);
            }
        }
        bytes
    }

    /// Its frames; or, now and then, a refusal with a payload in its words.
    fn answer(&self, path: &str) -> Response<StreamBody<tokio_stream::Iter<std::vec::IntoIter<Frames>>>> {
        let method = &self.methods[path.rsplit('/').next().unwrap()];
        let turn = self.next.load(Ordering::Relaxed) % 5;
        let mut trailers = HeaderMap::new();
        let mut frames = Vec::new();
        if turn == 0 {
            let words: String = self.text(true).bytes().map(|byte| format!("%{byte:02X}")).collect();
            trailers.insert("grpc-status", "9".parse().unwrap());
            trailers.insert("grpc-message", words.parse().unwrap());
        } else {
            let count = if method.server_streaming() { ITEMS } else { 1 };
            for _ in 0..count {
                let body = self.message(method.output_type(), turn.is_multiple_of(2), 0);
                let mut frame = vec![0];
                frame.extend((body.len() as u32).to_be_bytes());
                frame.extend(body);
                frames.push(Ok(Frame::data(Bytes::from(frame))));
            }
            trailers.insert("grpc-status", "0".parse().unwrap());
        }
        frames.push(Ok(Frame::trailers(trailers)));
        let body = StreamBody::new(tokio_stream::iter(frames));
        Response::builder().header("content-type", "application/grpc").body(body).unwrap()
    }
}

type Frames = Result<Frame<Bytes>, Infallible>;

fn varint(mut value: u64, bytes: &mut Vec<u8>) {
    while value >= 0x80 {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
}

struct Server {
    answers: Arc<Answers>,
    asked: Arc<Mutex<BTreeSet<String>>>,
    port: u16,
    authority: String,
    _runtime: tokio::runtime::Runtime,
}

impl Server {
    fn started() -> Self {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut authority = rcgen::CertificateParams::new(Vec::new()).unwrap();
        authority.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let signed = authority.self_signed(&key).unwrap();
        let issuer = rcgen::Issuer::new(authority, key);
        let own = rcgen::KeyPair::generate().unwrap();
        let shown = rcgen::CertificateParams::new([SERVER_NAME.to_owned()]).unwrap().signed_by(&own, &issuer).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = rustls::ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![shown.der().clone()], own.into())
            .unwrap();
        config.alpn_protocols = vec![b"h2".to_vec()];
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let socket = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
        let port = socket.local_addr().unwrap().port();
        let (answers, asked) = (Arc::new(Answers::new()), Arc::new(Mutex::new(BTreeSet::new())));
        let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
        let (answering, noting) = (Arc::clone(&answers), Arc::clone(&asked));
        runtime.spawn(async move {
            while let Ok((stream, _)) = socket.accept().await {
                let (acceptor, answers, asked) = (acceptor.clone(), Arc::clone(&answering), Arc::clone(&noting));
                tokio::spawn(async move {
                    let Ok(stream) = acceptor.accept(stream).await else { return };
                    let service = hyper::service::service_fn(move |request: Request<Incoming>| {
                        let path = request.uri().path().to_owned();
                        asked.lock().unwrap().insert(path.rsplit('/').next().unwrap().to_owned());
                        let answer = answers.answer(&path);
                        async move { Ok::<_, Infallible>(answer) }
                    });
                    let http = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
                    let _ = http.serve_connection(TokioIo::new(stream), service).await;
                });
            }
        });
        Self { answers, asked, port, authority: encode_chain([signed.der().as_ref()]), _runtime: runtime }
    }

    fn contexts(&self) -> Contexts {
        let context = Context {
            addresses: vec![format!("127.0.0.1:{}", self.port)],
            operator: "jane".into(),
            authorities: self.authority.clone(),
            certificate: String::new(),
            key: String::new(),
            token: "hop_abcd2345_x".into(),
        };
        Contexts { current: Some("x".into()), contexts: [("x".to_owned(), context)].into() }
    }
}

const COMMANDS: [&str; 85] = [
    "status",
    "whoami",
    "can change check disk",
    "node ls",
    "node show web1",
    "node policy web1",
    "dev break hello",
    "node maintenance web1 on --for 2h",
    "node maintenance web1 off",
    "node revoke web1 --yes",
    "node rm web1 --yes",
    "check ls",
    "check show disk",
    "service ls",
    "service show hello",
    "service restart hello --yes",
    "service stop hello api",
    "service logs hello",
    "service history hello",
    "why service/hello",
    "why run/7",
    "why node/web1",
    "run ls",
    "run show 7",
    "run watch 7",
    "run abort 7",
    "run fetch 7 --into files",
    "run task patch --dry-run",
    "schedule ls",
    "schedule show patch",
    "schedule next patch -n 3",
    "schedule run patch --dry-run",
    "schedule pause patch --reason x",
    "schedule resume patch",
    "why schedule/patch",
    "why service/hello --node web1 -n 3",
    "freeze --for 1h --reason x",
    "thaw",
    "token create",
    "token ls",
    "token rm abcd2345",
    "plugin ls",
    "plugin diff disk@1.0.0 disk@1.1.0",
    "plugin approve disk --yes",
    "plugin rm disk@1.0.0 --yes",
    "plugin top",
    "plugin trust ls",
    "plugin trust rm build --yes",
    "system ls",
    "system show shop",
    "system history shop",
    "system rollback shop --to 1 --yes",
    "secret set token --generate",
    "secret rotate token",
    "secret ls",
    "secret rm token --yes",
    "secret rekey",
    "plan -f SPEC",
    "diff -f SPEC",
    "apply -f SPEC --yes",
    "get check",
    "get check disk --full",
    "delete check disk --yes",
    "events",
    "events --follow",
    "audit",
    "audit verify",
    "alert ls --all",
    "alert show web1/disk",
    "alert ack web1/disk",
    "alert silence -l all --for 1h --reason x",
    "alert silences",
    "alert unsilence 5f2c1a90",
    "alert test ops",
    "operator ls",
    "operator show jane",
    "operator revoke jane --yes",
    "operator token ls",
    "approve ls --all",
    "approve show ab12",
    "approve yes ab12",
    "approve no ab12",
    "doctor",
    "role ls",
    "role show deployer",
];

#[test]
fn no_escape_that_a_server_sends_reaches_a_terminal() {
    let server = Server::started();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("contexts.toml");
    std::fs::write(&file, server.contexts().print()).unwrap();
    let spec = folder.path().join("spec.yaml");
    std::fs::write(&spec, "check:\n  disk: {where: all, plugin: disk, with: {warn: 80%, critical: 90%}}\n").unwrap();
    let (mut bytes, mut wrong) = (0, BTreeSet::new());
    let mut round = 0;
    while round < 3 || server.answers.next.load(Ordering::Relaxed) < 2 * PAYLOADS_MIN as u64 {
        for (command, format) in COMMANDS.iter().flat_map(|one| ["table", "json", "yaml"].map(|format| (*one, format)))
        {
            let args = command.replace("SPEC", spec.to_str().unwrap());
            let ran = Command::new(program("hostlerctl"))
                .args(args.split(' '))
                .args(["-o", format])
                .env("HOSTLER_CONTEXT_FILE", &file)
                .current_dir(folder.path())
                .stdin(Stdio::null())
                .output()
                .unwrap();
            for printed in [&ran.stdout, &ran.stderr] {
                let text = std::str::from_utf8(printed).unwrap_or_else(|_| panic!("{command} -o {format}: no UTF-8"));
                let is_wrong =
                    |line: &&str| line.chars().any(is_raw) || line.starts_with(FORGED) || line.contains("panicked");
                let lines = text.lines().filter(is_wrong).map(|line| format!("{command} -o {format}: {line:?}"));
                wrong.extend(lines);
                bytes += printed.len();
            }
            assert_ne!(ran.status.code(), None, "{command}");
            // Acts that are done say so in a sentence.
            if format == "json" && ran.stdout.starts_with(b"{") {
                let values = serde_json::Deserializer::from_slice(&ran.stdout).into_iter::<serde_json::Value>();
                wrong.extend(values.filter_map(Result::err).map(|error| format!("{command} -o json: {error}")));
            }
        }
        round += 1;
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    let asked = server.asked.lock().unwrap().clone();
    let never: Vec<&String> = server.answers.methods.keys().filter(|name| !asked.contains(*name)).collect();
    println!("{} fields, {bytes} bytes printed, never asked: {never:?}", server.answers.next.load(Ordering::Relaxed));
    assert!(bytes > 100_000, "{bytes}");
}
