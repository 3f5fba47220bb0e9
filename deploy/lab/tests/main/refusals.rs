//! Everything that must not get in, each with its own clear message.

use hostler_lab::{Agent, ControlPlane};
use hostler_proto::agent as wire;
use hostler_proto::agent::agent_link_client::AgentLinkClient;
use hostler_proto::agent::enrollment_client::EnrollmentClient;
use hostler_proto::pem;
use hostler_proto::transport::{self, ClientIdentity, Trust};
use hostler_types::join_code::JoinCode;
use rcgen::{CertificateParams, KeyPair};
use std::error::Error;
use std::fs;

pub fn block_on<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

struct Server {
    control_plane: ControlPlane,
    trust: Trust,
}

impl Server {
    fn started() -> Self {
        let control_plane = ControlPlane::started();
        let authority = fs::read_to_string(control_plane.path("data/pki/authority.crt")).unwrap();
        let trust = Trust::Authorities(pem::decode_chain(&authority).unwrap());
        Self { control_plane, trust }
    }

    fn address(&self) -> String {
        format!("127.0.0.1:{}", self.control_plane.agents_port)
    }

    /// A node that joined, and its identity.
    fn member(&self) -> (String, ClientIdentity) {
        block_on(join(&self.control_plane.join_code(&[]), "0.1.0")).unwrap()
    }

    /// Why a stream with this identity and hello ends.
    fn refusal(&self, identity: Option<ClientIdentity>, hello: wire::Hello) -> String {
        block_on(async {
            match transport::connect(&self.address(), &self.trust, identity).await {
                Err(error) => chain(&error),
                Ok(channel) => {
                    let first = wire::FromAgent { message: Some(wire::from_agent::Message::Hello(hello)) };
                    let mut client = AgentLinkClient::new(channel);
                    let stream = tokio_stream::StreamExt::chain(tokio_stream::once(first), tokio_stream::pending());
                    match client.connect(stream).await {
                        Err(status) => format!("{:?}: {}", status.code(), status.message()),
                        Ok(answer) => match answer.into_inner().message().await {
                            Ok(message) => format!("accepted: {message:?}"),
                            Err(status) => format!("{:?}: {}", status.code(), status.message()),
                        },
                    }
                }
            }
        })
    }
}

fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text.push_str(&format!(": {error}"));
        source = error.source();
    }
    text
}

fn hello() -> wire::Hello {
    wire::Hello { agent_version: "0.1.0".into(), ..wire::Hello::default() }
}

pub async fn join(code: &str, version: &str) -> Result<(String, ClientIdentity), String> {
    let code = JoinCode::decode(code).unwrap();
    let channel = transport::connect(&code.addresses[0], &Trust::Pin(code.authority_pin), None).await;
    let channel = channel.map_err(|error| chain(&error))?;
    let key = KeyPair::generate().unwrap();
    let request = CertificateParams::default().serialize_request(&key).unwrap();
    let name =
        format!("n{}", &request.der().iter().fold(0u64, |sum, b| sum.wrapping_mul(31).wrapping_add(u64::from(*b))));
    let request = wire::JoinRequest {
        secret: code.secret.to_vec(),
        name,
        csr_der: request.der().to_vec(),
        agent_version: version.into(),
        policy: "operate".into(),
        ..wire::JoinRequest::default()
    };
    let answer = EnrollmentClient::new(channel).join(request).await.map_err(|status| status.message().to_owned())?;
    let answer = answer.into_inner();
    let chain = answer.credentials.unwrap_or_default().chain_der.into_iter().map(Into::into).collect();
    let key = pem::decode_key(&pem::encode_key(key.serialized_der())).unwrap();
    Ok((answer.node_id, ClientIdentity { chain, key }))
}

pub fn redeem_at_once(code: &str, count: usize) -> Vec<Result<String, String>> {
    block_on(async {
        let mut tries = tokio::task::JoinSet::new();
        for _ in 0..count {
            let code = code.to_owned();
            tries.spawn(async move { join(&code, "0.1.0").await.map(|(id, _)| id) });
        }
        tries.join_all().await
    })
}

/// So many nodes join, are there, and are gone together.
pub fn come_and_go(control_plane: &ControlPlane, count: usize) {
    let authority = fs::read_to_string(control_plane.path("data/pki/authority.crt")).unwrap();
    let trust = Trust::Authorities(pem::decode_chain(&authority).unwrap());
    let address = format!("127.0.0.1:{}", control_plane.agents_port);
    let code = control_plane.join_code(&["--uses", &count.to_string()]);
    block_on(async {
        let mut joining = tokio::task::JoinSet::new();
        for _ in 0..count {
            let code = code.clone();
            joining.spawn(async move { join(&code, "0.1.0").await.unwrap().1 });
        }
        let mut coming = tokio::task::JoinSet::new();
        for identity in joining.join_all().await {
            let (address, trust) = (address.clone(), trust.clone());
            coming.spawn(async move {
                let channel = transport::connect(&address, &trust, Some(identity)).await.unwrap();
                let first = wire::FromAgent { message: Some(wire::from_agent::Message::Hello(hello())) };
                let stream = tokio_stream::StreamExt::chain(tokio_stream::once(first), tokio_stream::pending());
                AgentLinkClient::new(channel).connect(stream).await.unwrap()
            });
        }
        drop(coming.join_all().await);
    });
}

#[test]
fn whoever_shows_no_certificate() {
    let server = Server::started();
    let refusal = server.refusal(None, hello());
    assert!(refusal.contains("Unauthenticated") && refusal.contains("none was shown: join first"), "{refusal}");
}

#[test]
fn whoever_belongs_to_another_authority() {
    let (server, other) = (Server::started(), Server::started());
    let (_, foreign) = other.member();
    let refusal = server.refusal(Some(foreign), hello());
    assert!(refusal.contains("its authority is not this control plane's"), "{refusal}");
}

#[test]
fn whoever_shows_a_server_s_certificate() {
    let server = Server::started();
    // The authority's key, as only the control plane's own disk has it.
    let pki = |name: &str| fs::read_to_string(server.control_plane.path("data/pki").join(name)).unwrap();
    let authority_key = KeyPair::from_der_and_sign_algo(
        &pem::decode_key(&pki("authority.key")).unwrap(),
        &rcgen::PKCS_ECDSA_P256_SHA256,
    )
    .unwrap();
    let authority = pem::decode_chain(&pki("authority.crt")).unwrap().remove(0);
    let issuer = rcgen::Issuer::from_ca_cert_der(&authority, authority_key).unwrap();
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ServerAuth];
    let certificate = params.signed_by(&key, &issuer).unwrap();
    let key = pem::decode_key(&pem::encode_key(key.serialized_der())).unwrap();
    let identity = ClientIdentity { chain: vec![certificate.der().clone(), authority], key };
    let refusal = server.refusal(Some(identity), hello());
    assert!(refusal.contains("not a client's certificate"), "{refusal}");
}

#[test]
fn whoever_s_certificate_has_expired_unless_to_renew_it() {
    let mut server = Server::started();
    let (_, identity) = server.member();
    server.control_plane.kill();
    server.control_plane.clock = Some("+8d".into());
    server.control_plane.start();
    // The client's own clock is not shifted, and the new server certificate
    // begins in its future: look with the authority's eyes only.
    let refusal = with_shifted_clock(&server, "+8d", "connect", &identity);
    assert!(refusal.contains("has expired; it may renew it, and do nothing else"), "{refusal}");
    let renewed = with_shifted_clock(&server, "+8d", "renew", &identity);
    assert!(renewed.contains("renewed"), "{renewed}");
    server.control_plane.kill();
    server.control_plane.clock = Some("+98d".into());
    server.control_plane.start();
    let refusal = with_shifted_clock(&server, "+98d", "renew", &identity);
    assert!(refusal.contains("expired more than 90 days ago"), "{refusal}");
}

/// The same client, in a process whose clock is shifted as the server's is.
fn with_shifted_clock(server: &Server, clock: &str, what: &str, identity: &ClientIdentity) -> String {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: String| fs::write(folder.path().join(name), text).unwrap();
    write("chain", pem::encode_chain(identity.chain.iter().map(AsRef::as_ref)));
    write("key", pem::encode_key(identity.key.secret_der()));
    write("authority", fs::read_to_string(server.control_plane.path("data/pki/authority.crt")).unwrap());
    let mut command = hostler_lab::control_plane::with_clock(Some(clock), &std::env::current_exe().unwrap());
    command
        .args(["refusals::as_a_client", "--exact", "--nocapture", "--include-ignored"])
        .env("HOSTLER_TEST_CLIENT", what)
        .env("HOSTLER_TEST_FOLDER", folder.path())
        .env("HOSTLER_TEST_ADDRESS", server.address());
    let ran = hostler_lab::control_plane::run(&mut command);
    format!("{}{}", ran.out, ran.err)
}

/// Not a test of its own: what [`with_shifted_clock`] runs.
#[test]
fn as_a_client() {
    let Ok(what) = std::env::var("HOSTLER_TEST_CLIENT") else { return };
    let folder = std::path::PathBuf::from(std::env::var("HOSTLER_TEST_FOLDER").unwrap());
    let read = |name: &str| fs::read_to_string(folder.join(name)).unwrap();
    let trust = Trust::Authorities(pem::decode_chain(&read("authority")).unwrap());
    let identity = ClientIdentity {
        chain: pem::decode_chain(&read("chain")).unwrap(),
        key: pem::decode_key(&read("key")).unwrap(),
    };
    let address = std::env::var("HOSTLER_TEST_ADDRESS").unwrap();
    block_on(async {
        let channel = match transport::connect(&address, &trust, Some(identity)).await {
            Ok(channel) => channel,
            Err(error) => return println!("{}", chain(&error)),
        };
        if what == "renew" {
            let key = KeyPair::generate().unwrap();
            let request = CertificateParams::default().serialize_request(&key).unwrap();
            let request = wire::RenewRequest { csr_der: request.der().to_vec(), agent_version: "0.1.0".into() };
            match EnrollmentClient::new(channel).renew(request).await {
                Ok(_) => println!("renewed"),
                Err(status) => println!("{}", status.message()),
            }
        } else {
            let first = wire::FromAgent { message: Some(wire::from_agent::Message::Hello(hello())) };
            let answer = AgentLinkClient::new(channel).connect(tokio_stream::once(first)).await;
            println!("{}", answer.err().map(|status| status.message().to_owned()).unwrap_or("accepted".into()));
        }
    });
}

#[test]
fn whoever_speaks_for_another_node() {
    let server = Server::started();
    let ((a, identity), (b, _)) = (server.member(), server.member());
    let refusal = server.refusal(Some(identity.clone()), wire::Hello { node_id: b.clone(), ..hello() });
    assert!(
        refusal.contains(&format!("certificate is node {a}'s")) && refusal.contains("speaks only for itself"),
        "{refusal}"
    );
    let accepted = server.refusal(Some(identity), wire::Hello { node_id: a, ..hello() });
    assert!(accepted.starts_with("accepted"), "{accepted}");
}

#[test]
fn whoever_was_revoked_or_removed() {
    let server = Server::started();
    let (id, identity) = server.member();
    server.control_plane.ctl_ok(&["node", "revoke", &id, "--reason", "sold", "--yes"]);
    let refusal = server.refusal(Some(identity.clone()), hello());
    assert!(refusal.contains("was revoked by admin") && refusal.contains("sold"), "{refusal}");
    server.control_plane.ctl_ok(&["node", "rm", &id, "--yes"]);
    let refusal = server.refusal(Some(identity), hello());
    assert!(refusal.contains("is not a member here"), "{refusal}");
}

#[test]
fn whoever_s_version_is_too_far_away() {
    let server = Server::started();
    let (_, identity) = server.member();
    let old = wire::Hello { agent_version: "0.3.0".into(), ..hello() };
    let refusal = server.refusal(Some(identity), old);
    assert!(refusal.contains("more than one minor version apart: upgrade the control plane first"), "{refusal}");
    let refusal = block_on(join(&server.control_plane.join_code(&[]), "0.2.99")).map(|(id, _)| id);
    assert!(refusal.is_ok(), "{refusal:?}");
    let refusal = block_on(join(&server.control_plane.join_code(&[]), "1.0.0")).map(|(id, _)| id);
    assert!(refusal.clone().is_err_and(|text| text.contains("apart")), "{refusal:?}");
}

#[test]
fn whoever_sends_more_than_four_mebibytes_at_once() {
    let server = Server::started();
    let (_, identity) = server.member();
    let large = wire::Hello { boot_id: "x".repeat(4 * 1024 * 1024), ..hello() };
    let refusal = server.refusal(Some(identity), large);
    assert!(refusal.contains("message length too large") && refusal.contains("4194304"), "{refusal}");
}

#[test]
fn a_node_at_the_operators_door_and_an_operator_at_the_nodes() {
    let server = Server::started();
    let contexts = server.control_plane.contexts();
    let (name, context) = contexts.choose(None).unwrap();
    let (_, operator) = context.credentials(name).unwrap();
    let refusal = server.refusal(operator, hello());
    assert!(refusal.contains("is operator admin's, and only nodes may call this"), "{refusal}");
    let (_, node) = server.member();
    let refusal = block_on(async {
        let address = format!("127.0.0.1:{}", server.control_plane.operators_port);
        let channel = transport::connect(&address, &server.trust, Some(node)).await.unwrap();
        let mut client = hostler_proto::admin::admin_client::AdminClient::new(channel);
        client.list_nodes(hostler_proto::admin::ListNodesRequest::default()).await.unwrap_err().message().to_owned()
    });
    assert!(refusal.contains("only operators may call this"), "{refusal}");
}

#[test]
fn a_node_reads_only_what_is_assigned_to_it() {
    let server = Server::started();
    let (_, identity) = server.member();
    let refusal = block_on(async {
        let channel = transport::connect(&server.address(), &server.trust, Some(identity)).await.unwrap();
        let request = wire::FetchRequest { digest: "0".repeat(64), offset: 0 };
        AgentLinkClient::new(channel).fetch(request).await.unwrap_err().message().to_owned()
    });
    assert!(refusal.contains("is not assigned to this node"), "{refusal}");
}

#[test]
fn an_agent_says_why_it_is_refused() {
    let control_plane = ControlPlane::started();
    let agent = Agent::joined(&control_plane, "web1", &[]);
    control_plane.wait_node("web1", "ready", std::time::Duration::from_secs(15));
    control_plane.ctl_ok(&["node", "revoke", "web1", "--yes"]);
    hostler_lab::wait_for("the reason in the agent's log", std::time::Duration::from_secs(10), || {
        let log = agent.log();
        if log.contains("was revoked by admin") { Ok(()) } else { Err(log) }
    });
}
