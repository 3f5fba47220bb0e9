//! Who may do what, and for how long: roles, tokens, revocation, lock-out.

use hostler_lab::control_plane::{run, with_clock};
use hostler_lab::{ControlPlane, Ran, program, wait_for};
use hostler_proto::admin as wire;
use hostler_proto::admin::admin_client::AdminClient;
use hostler_proto::context::Contexts;
use hostler_proto::pem;
use hostler_proto::transport::{self, Trust};
use prost::Message;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};
use tonic::transport::Channel;
use tonic::{Code, Request};

/// What the product promises for whatever is revoked.
const CUT_WITHIN: Duration = Duration::from_secs(5);

fn block_on<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap().block_on(future)
}

/// `hostlerctl` as somebody else.
pub struct As<'a> {
    pub control_plane: &'a ControlPlane,
    pub file: PathBuf,
    pub token: String,
}

impl As<'_> {
    pub fn command(&self, args: &[&str]) -> std::process::Command {
        let mut command = with_clock(self.control_plane.clock.as_deref(), &program("hostlerctl"));
        command.args(args).env("HOSTLER_CONTEXT_FILE", &self.file).stdin(Stdio::null());
        if !self.token.is_empty() {
            command.env("HOSTLER_TOKEN", &self.token);
        }
        command
    }

    pub fn ctl(&self, args: &[&str]) -> Ran {
        run(&mut self.command(args))
    }

    pub fn ok(&self, args: &[&str]) -> String {
        let ran = self.ctl(args);
        assert_eq!(ran.code, Some(0), "hostlerctl {args:?}: {ran:#?}");
        ran.out
    }

    pub fn refused(&self, args: &[&str], told: &str) {
        let ran = self.ctl(args);
        assert_eq!(ran.code, Some(1), "hostlerctl {args:?}: {ran:#?}");
        assert!(ran.err.contains(told), "hostlerctl {args:?}: {told:?} in {ran:#?}");
    }
}

/// An operator with a certificate.
pub fn person<'a>(control_plane: &'a ControlPlane, name: &str, given: &[&str]) -> As<'a> {
    let file = control_plane.path(&format!("{name}.toml"));
    let out = file.display().to_string();
    control_plane.ctl_ok(&[&["operator", "create", name, "--out", &out], given].concat());
    As { control_plane, file, token: String::new() }
}

/// A program with a token of an operator who has no certificate.
pub fn program_with<'a>(control_plane: &'a ControlPlane, name: &str, given: &[&str]) -> As<'a> {
    control_plane.ctl_ok(&[&["operator", "create", name, "--without-certificate"], given].concat());
    let token = token(control_plane, &[name]);
    // Where the control plane is and whom to trust; its certificate is not shown.
    As { control_plane, file: control_plane.context_file(), token }
}

fn token(control_plane: &ControlPlane, args: &[&str]) -> String {
    control_plane.ctl_ok(&[&["operator", "token", "create"], args].concat()).trim().to_owned()
}

fn trust(control_plane: &ControlPlane) -> Trust {
    let authority = fs::read_to_string(control_plane.path("data/pki/authority.crt")).unwrap();
    Trust::Authorities(pem::decode_chain(&authority).unwrap())
}

async fn channel(control_plane: &ControlPlane) -> Channel {
    let address = format!("127.0.0.1:{}", control_plane.operators_port);
    transport::connect(&address, &trust(control_plane), None).await.unwrap()
}

fn with_token<T>(message: T, token: &str) -> Request<T> {
    let mut request = Request::new(message);
    request.metadata_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
    request
}

/// Every call of the protocol, and whether its answer is a stream.
fn methods() -> Vec<(String, bool)> {
    let set = prost_types::FileDescriptorSet::decode(hostler_proto::DESCRIPTORS).unwrap();
    let services = set.file.into_iter().flat_map(|file| file.service);
    let service = services.into_iter().find(|service| service.name() == "Admin").unwrap();
    service.method.into_iter().map(|one| (one.name().to_owned(), one.server_streaming())).collect()
}

/// What comes back for a call that says nothing.
async fn answer(channel: &Channel, method: &str, streams: bool, token: &str) -> Code {
    let mut client = tonic::client::Grpc::new(channel.clone());
    client.ready().await.unwrap();
    let path = format!("/hostler.admin.v1.Admin/{method}").parse().unwrap();
    let codec = tonic_prost::ProstCodec::<(), ()>::default();
    let request = with_token((), token);
    let answered = if streams {
        client.server_streaming(request, path, codec).await.map(drop)
    } else {
        client.unary(request, path, codec).await.map(drop)
    };
    answered.err().map_or(Code::Ok, |status| status.code())
}

/// Each call there is, by each role, on the real server: whatever is not in these
/// lists is refused.
#[test]
fn no_call_is_allowed_unexpectedly() {
    let control_plane = ControlPlane::started();
    let reads = |method: &str| {
        ["Get", "List", "Watch", "Find", "Verify", "Plan", "Who", "Can", "Decide", "Diagnose", "Tail", "Fetch"]
            .iter()
            .any(|one| method.starts_with(one))
    };
    const MIGHTY: [&str; 11] = [
        "Backup",
        "CreateOperator",
        "CreateOperatorToken",
        "RekeySecrets",
        "RemoveOperatorToken",
        "RemoveRole",
        "RevokeOperator",
        "SetOperator",
        "SetRole",
        "TrustKey",
        "UntrustKey",
    ];
    // Those that name nothing are refused for what they leave out, in the handler.
    const CI: [&str; 28] = [
        "Can",
        // On what they may do themselves.
        "DecideApproval",
        "DeleteObjects",
        "FetchFiles",
        "FindMissingFiles",
        "GetApproval",
        "GetFile",
        "GetObjects",
        // Of runs, those of its system.
        "GetRun",
        "GetSchedule",
        "GetServer",
        "GetService",
        "ListActs",
        "ListApprovals",
        // Of nodes, those that they may see.
        "ListBrakes",
        "ListChecks",
        "ListRuns",
        "ListSchedules",
        "ListSecrets",
        "ListServices",
        "ListSystems",
        "PushPlugin",
        "PutFile",
        "RemoveSecret",
        "SetSecret",
        "TailService",
        "WatchRun",
        "WhoAmI",
    ];
    let methods = methods();
    for (role, given, expected) in [
        ("viewer", &[][..], methods.iter().map(|one| one.0.as_str()).filter(|one| reads(one)).collect()),
        (
            "operator",
            &[],
            methods.iter().map(|one| one.0.as_str()).filter(|one| !MIGHTY.contains(one)).collect::<BTreeSet<_>>(),
        ),
        ("ci", &["--system", "shop"], CI.into_iter().collect()),
        ("admin", &[], methods.iter().map(|one| one.0.as_str()).collect()),
    ] {
        let who = program_with(&control_plane, &format!("a-{role}"), &[&["--role", role], given].concat());
        block_on(async {
            let channel = channel(&control_plane).await;
            for (method, streams) in &methods {
                let code = answer(&channel, method, *streams, &who.token).await;
                assert_ne!(code, Code::Unauthenticated, "{role}: {method}");
                let allowed = code != Code::PermissionDenied;
                assert_eq!(allowed, expected.contains(method.as_str()), "{role}: {method} answered {code:?}");
            }
        });
    }
    block_on(async {
        let channel = channel(&control_plane).await;
        for (method, streams) in &methods {
            let code = answer(&channel, method, *streams, "hop_abcdefgh_no").await;
            assert!(matches!(code, Code::Unauthenticated | Code::ResourceExhausted), "{method}: {code:?}");
        }
    });
}

pub fn spec(control_plane: &ControlPlane, system: &str, check: &str) -> String {
    let folder = control_plane.path(&format!("{system}-{check}"));
    fs::create_dir_all(&folder).unwrap();
    let text = format!("system: {{name: {system}}}\ncheck: {{{check}: {{where: all, plugin: disk}}}}\n");
    fs::write(folder.join("all.yaml"), text).unwrap();
    folder.display().to_string()
}

#[test]
fn a_pipeline_works_in_its_own_system_and_nowhere_else() {
    let control_plane = ControlPlane::with_plugins(&["disk"]);
    let (shop, blog) = (spec(&control_plane, "shop", "a"), spec(&control_plane, "blog", "b"));
    control_plane.ctl_ok(&["apply", "-f", &blog]);
    control_plane.apply("check: {loose: {where: all, plugin: disk}}");
    let unlimited = control_plane.ctl(&["operator", "create", "gitlab", "--role", "ci"]);
    assert!(unlimited.err.contains("say which with --system"), "{unlimited:#?}");
    let ci = program_with(&control_plane, "gitlab", &["--role", "ci", "--system", "shop"]);
    ci.ok(&["plan", "-f", &shop]);
    ci.ok(&["apply", "-f", &shop, "-m", "from the pipeline"]);
    ci.ok(&["plugin", "push", &hostler_lab::plugin("memory").display().to_string()]);
    ci.ok(&["system", "history", "shop"]);
    let systems = ci.ok(&["system", "ls"]);
    assert!(systems.contains("shop") && !systems.contains("blog"), "{systems}");
    let checks = ci.ok(&["get", "check"]);
    assert!(checks.contains("a:") && !checks.contains("b:") && !checks.contains("loose"), "{checks}");
    for (args, told) in [
        (&["plan", "-f", &blog][..], "may not read any kind of spec in system blog"),
        (&["apply", "-f", &blog], "in system blog: they have role ci in system shop"),
        (&["get", "check", "b"], "may not read check b in system blog"),
        (&["system", "show", "blog"], "may not read system in system blog"),
        (&["system", "history", "blog"], "may not read system in system blog"),
        (&["delete", "system", "blog", "--yes"], "in system blog"),
        (&["delete", "check", "loose", "--yes"], "in system default"),
        (&["node", "ls"], "hostlerctl operator set gitlab --role viewer --system all"),
        (&["events"], "may not read event"),
        (&["token", "create"], "may not change token"),
        (&["operator", "create", "eve"], "may not change operator eve"),
        (&["plugin", "approve", "disk", "--yes"], "may not"),
        (&["system", "backup", "x.hostler"], "may not act server"),
    ] {
        ci.refused(args, told);
    }
    // Nothing of another's system moved.
    assert!(control_plane.ctl_ok(&["get", "check", "b"]).contains("b:"));
    ci.ok(&["delete", "system", "shop", "--yes"]);
    // What it may is told without trying.
    let yes = ci.ok(&["can", "change", "check", "--system", "shop"]);
    assert_eq!(yes, "yes: operator gitlab may change check in system shop, by the role ci\n");
    let no = ci.ctl(&["can", "act", "node"]);
    assert_eq!(no.code, Some(1), "{no:#?}");
    assert!(no.out.starts_with("no: operator gitlab may not act node"), "{no:#?}");
    let other = control_plane.ctl(&["can", "change", "check", "--system", "blog", "--as", "gitlab"]);
    assert!(other.code == Some(1) && other.out.contains("hostlerctl operator set gitlab"), "{other:#?}");
}

#[test]
fn a_role_of_one_s_own_reaches_as_far_as_it_says() {
    let control_plane = ControlPlane::with_plugins(&["disk"]);
    let (web, db) = (hostler_lab::Agent::new("web1"), hostler_lab::Agent::new("db1"));
    for (agent, label) in [(&web, "role=web"), (&db, "role=db")] {
        let code = control_plane.join_code(&["--label", label]);
        assert_eq!(agent.join(&code, &[]).code, Some(0));
    }
    let file = control_plane.path("role.yaml");
    fs::write(&file, "rules:\n  - {verbs: [read, act], kinds: [node], where: role=web}\n").unwrap();
    control_plane.ctl_ok(&["role", "set", "web", "-f", &file.display().to_string()]);
    let added = control_plane.ctl_ok(&[
        "role",
        "set",
        "web",
        "--add",
        "--verb",
        "read,change",
        "--kind",
        "check,system",
        "--system",
        "shop",
    ]);
    assert_eq!(
        added,
        "the role web allows:\n  read, act node where role=web\n  read, change system, check in system shop\n"
    );
    let jane = person(&control_plane, "jane", &["--role", "web"]);
    let nodes = jane.ok(&["node", "ls"]);
    assert!(nodes.contains("web1") && !nodes.contains("db1"), "{nodes}");
    jane.refused(&["node", "revoke", "db1", "--yes"], "operator jane may not act node db1");
    jane.ok(&["node", "revoke", "web1", "--yes"]);
    jane.ok(&["apply", "-f", &spec(&control_plane, "shop", "a")]);
    jane.refused(&["apply", "-f", &spec(&control_plane, "blog", "b")], "in system blog");
    jane.ok(&["can", "act", "node", "-l", "role=web"]);
    assert_eq!(jane.ctl(&["can", "act", "node", "-l", "role in (web, db)"]).code, Some(1));
    let in_use = control_plane.ctl(&["role", "rm", "web", "--yes"]);
    assert!(in_use.err.contains("jane still have the role web"), "{in_use:#?}");
    for (args, told) in [
        (&["role", "set", "admin", "--verb", "read", "--kind", "node"][..], "is built in and stays"),
        (&["role", "set", "x", "--verb", "raed", "--kind", "node"], "did you mean read?"),
        (&["role", "set", "x", "--verb", "read", "--kind", "nodes"], "did you mean node?"),
        (&["role", "set", "x", "--verb", "change", "--kind", "check", "-l", "role=web"], "not narrowed by nodes"),
        (&["role", "set", "x", "--verb", "read", "--kind", "node", "-l", "os.id=debian"], "asks for facts"),
        (&["operator", "set", "jane", "--role", "wbe"], "did you mean web?"),
    ] {
        let ran = control_plane.ctl(args);
        assert_eq!(ran.code, Some(1), "{args:?}: {ran:#?}");
        assert!(ran.err.contains(told), "{args:?}: {ran:#?}");
    }
}

#[test]
fn nobody_makes_themselves_mightier() {
    let control_plane = ControlPlane::started();
    control_plane.ctl_ok(&["role", "set", "staff", "--verb", "read,change", "--kind", "operator,role"]);
    let sam = person(&control_plane, "sam", &["--role", "staff"]);
    for args in [
        &["operator", "set", "sam", "--role", "admin"][..],
        &["operator", "create", "eve", "--role", "admin"],
        &["operator", "renew", "admin"],
        &["operator", "token", "create", "admin"],
        &["role", "set", "staff", "--verb", "all", "--kind", "all"],
        &["operator", "set", "admin", "--role", "staff"],
    ] {
        sam.refused(args, "nobody gives more than they have");
    }
    let pass = program_with(&control_plane, "robot", &["--role", "viewer"]);
    pass.refused(&["operator", "token", "create"], "may not change operator robot");
    pass.refused(&["operator", "token", "create", "admin"], "may not change operator admin");
    let id = pass.token.split('_').nth(1).unwrap();
    pass.ok(&["operator", "token", "rm", id]);
    let last = control_plane.ctl(&["operator", "set", "admin", "--role", "viewer"]);
    // Sam can let others in, so the admin is not the last; and whoever gives up a
    // right is told that it is done.
    assert_eq!(last.code, Some(0), "{last:#?}");
}

fn watching(who: &As<'_>, log: &Path) -> Child {
    let file = fs::File::create(log).unwrap();
    let child = who.command(&["events", "--watch"]).stdout(file.try_clone().unwrap()).stderr(file).spawn().unwrap();
    // Once it prints what happens now, the stream is open.
    wait_for("the stream to be open", Duration::from_secs(30), || {
        who.control_plane.ctl_ok(&["role", "set", "tick", "--verb", "read", "--kind", "event"]);
        let text = fs::read_to_string(log).unwrap();
        if text.matches("role set by").count() > 1 { Ok(()) } else { Err(text) }
    });
    child
}

fn cut(mut child: Child, log: &Path, most: Duration, told: &str) {
    let began = Instant::now();
    let code = wait_for("the stream to be cut", most, || match child.try_wait().unwrap() {
        Some(status) => Ok(status.code()),
        None => Err("still open"),
    });
    eprintln!("cut after {:?}: {told}", began.elapsed());
    let text = fs::read_to_string(log).unwrap();
    assert!(code == Some(1) && text.contains(told), "{code:?}: {text}");
}

#[test]
fn what_is_revoked_is_cut_off_in_the_middle_of_a_stream() {
    let control_plane = ControlPlane::started();
    let log = |name: &str| control_plane.path(&format!("{name}.log"));
    let robot = program_with(&control_plane, "robot", &["--role", "viewer"]);
    let id = robot.token.split('_').nth(1).unwrap().to_owned();
    let child = watching(&robot, &log("robot"));
    let listed = control_plane.ctl_ok(&["operator", "token", "ls"]);
    assert!(listed.contains(&id) && listed.contains("from 127.0.0.1"), "{listed}");
    control_plane.ctl_ok(&["operator", "token", "rm", &id]);
    cut(child, &log("robot"), CUT_WITHIN, "this token is not known here, or was removed");
    robot.refused(&["node", "ls"], "this token is not known here, or was removed");

    let jane = person(&control_plane, "jane", &["--role", "operator"]);
    let child = watching(&jane, &log("jane"));
    control_plane.ctl_ok(&["operator", "revoke", "jane", "--reason", "left", "--yes"]);
    cut(child, &log("jane"), CUT_WITHIN, "operator jane was revoked by admin");
    jane.refused(&["node", "ls"], "left");
    let again = control_plane.ctl(&["operator", "create", "jane"]);
    assert!(again.err.contains("there is an operator jane already"), "{again:#?}");

    // Given less, a stream that is no longer allowed ends as well.
    let lee = person(&control_plane, "lee", &["--role", "viewer"]);
    let child = watching(&lee, &log("lee"));
    control_plane.ctl_ok(&["operator", "set", "lee", "--role", "ci", "--system", "shop"]);
    cut(child, &log("lee"), CUT_WITHIN, "operator lee may not read event");

    // A short life ends in the middle, too.
    control_plane.ctl_ok(&["operator", "set", "lee", "--role", "viewer", "--system", "all"]);
    let brief = As {
        control_plane: &control_plane,
        file: control_plane.context_file(),
        token: token(&control_plane, &["lee", "--ttl", "15s"]),
    };
    let child = watching(&brief, &log("brief"));
    cut(child, &log("brief"), Duration::from_secs(15) + CUT_WITHIN, "has expired: make a new one");
}

#[test]
fn the_last_admin_and_the_first_operator_stay() {
    let mut control_plane = ControlPlane::started();
    let last = control_plane.ctl(&["operator", "revoke", "admin", "--yes"]);
    assert!(last.err.contains("admin is the last who can let others in"), "{last:#?}");
    let kim = person(&control_plane, "kim", &["--role", "admin"]);
    kim.ok(&["operator", "revoke", "admin", "--yes"]);
    let file = kim.file.clone();
    let gone = control_plane.ctl(&["node", "ls"]);
    assert!(gone.err.contains("operator admin was revoked by kim"), "{gone:#?}");
    control_plane.stop();
    // Whoever can restart it is let in, as somebody new.
    control_plane.start();
    let me = control_plane.ctl_ok(&["whoami"]);
    assert!(me.contains("admin-2") && me.contains("do all with everything"), "{me}");
    let operators = control_plane.ctl_json(&["operator", "ls"]);
    assert!(operators.as_array().unwrap().iter().any(|one| one["name"] == "admin" && one["revoked_by"] == "kim"));
    // A day's certificate is over after the day, and renews before.
    let kim = As { control_plane: &control_plane, file, token: String::new() };
    let renewed = kim.ok(&["operator", "renew"]);
    assert!(renewed.contains("is good for 8h"), "{renewed}");
    let file = kim.file.clone();
    control_plane.kill();
    control_plane.clock = Some("+9h".into());
    control_plane.start();
    let kim = As { control_plane: &control_plane, file, token: String::new() };
    kim.refused(&["node", "ls"], "certificate has expired: ask another operator for `hostlerctl operator renew NAME`");
}

/// Leads on to the control plane, from another address of this machine.
async fn elsewhere(target: u16) -> u16 {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut near, _)) = listener.accept().await {
            tokio::spawn(async move {
                let socket = tokio::net::TcpSocket::new_v4().unwrap();
                socket.bind("127.0.0.2:0".parse().unwrap()).unwrap();
                let mut far = socket.connect(format!("127.0.0.1:{target}").parse().unwrap()).await.unwrap();
                let _ = tokio::io::copy_bidirectional(&mut near, &mut far).await;
            });
        }
    });
    port
}

/// The median of how long calls take, one after the other.
async fn pace(client: &mut AdminClient<Channel>, calls: usize, token: Option<&str>) -> Duration {
    let mut took = Vec::new();
    for _ in 0..calls {
        let request = match token {
            Some(token) => with_token(wire::GetServerRequest {}, token),
            None => Request::new(wire::GetServerRequest {}),
        };
        let began = Instant::now();
        client.get_server(request).await.unwrap();
        took.push(began.elapsed());
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    took.sort();
    took[took.len() / 2]
}

#[test]
fn whoever_guesses_tokens_is_locked_out_and_others_do_not_notice() {
    const GUESSES: usize = 10_000;
    const CONNECTIONS: usize = 8;
    const AT_ONCE: usize = 50;
    let control_plane = ControlPlane::started();
    let robot = program_with(&control_plane, "robot", &["--role", "viewer"]);
    let contexts = Contexts::parse(&fs::read_to_string(control_plane.context_file()).unwrap()).unwrap();
    let (name, context) = contexts.choose(None).unwrap();
    let (trust, identity) = context.credentials(name).unwrap();
    block_on(async {
        let address = format!("127.0.0.1:{}", control_plane.operators_port);
        let mut person = AdminClient::new(transport::connect(&address, &trust, identity).await.unwrap());
        let mut program = AdminClient::new(channel(&control_plane).await);
        let before = (pace(&mut person, 300, None).await, pace(&mut program, 300, Some(&robot.token)).await);
        let port = elsewhere(control_plane.operators_port).await;
        let began = Instant::now();
        let mut guessing = tokio::task::JoinSet::new();
        for number in 0..CONNECTIONS {
            let channel = transport::connect(&format!("127.0.0.1:{port}"), &trust, None).await.unwrap();
            for place in 0..AT_ONCE {
                let mut client = AdminClient::new(channel.clone());
                guessing.spawn(async move {
                    let mut locked = 0;
                    for guess in 0..GUESSES / CONNECTIONS / AT_ONCE {
                        let token = format!("hop_abcdefgh_{number}x{place}x{guess}");
                        let refused =
                            client.get_server(with_token(wire::GetServerRequest {}, &token)).await.unwrap_err();
                        match refused.code() {
                            Code::ResourceExhausted => locked += 1,
                            Code::Unauthenticated => {}
                            other => panic!("{other:?}: {}", refused.message()),
                        }
                    }
                    locked
                });
            }
        }
        let during = (pace(&mut person, 300, None).await, pace(&mut program, 300, Some(&robot.token)).await);
        let still = guessing.len();
        let locked: usize = guessing.join_all().await.into_iter().sum();
        eprintln!(
            "{GUESSES} wrong tokens in {:?}, {locked} refused unread; a call took {before:?} before and {during:?} during (by certificate, by token); {still} were still guessing",
            began.elapsed()
        );
        assert!(locked >= GUESSES - 100, "{locked}");
        // The right one is not looked at either, from there; from elsewhere it is.
        let guesser = transport::connect(&format!("127.0.0.1:{port}"), &trust, None).await.unwrap();
        let refused = AdminClient::new(guesser).get_server(with_token(wire::GetServerRequest {}, &robot.token)).await;
        let told = refused.unwrap_err().message().to_owned();
        assert!(told.contains("too many wrong tokens came from 127.0.0.2"), "{told}");
    });
    assert!(control_plane.log().contains("too many wrong tokens"));
    robot.ok(&["whoami"]);
}

/// What people read, word for word.
#[test]
fn who_may_what_as_it_is_shown() {
    let control_plane = ControlPlane::with_plugins(&["disk"]);
    control_plane.ctl_ok(&["apply", "-f", &spec(&control_plane, "shop", "disk")]);
    let deployer = ["--verb", "read,change", "--kind", "check,plugin,system", "--system", "shop"];
    control_plane.ctl_ok(&[&["role", "set", "deployer"][..], &deployer].concat());
    control_plane
        .ctl_ok(&["role", "set", "deployer", "--add", "--verb", "read,act", "--kind", "node", "-l", "role=web"]);
    let jane = person(&control_plane, "jane", &["--role", "operator", "--system", "shop"]);
    let gitlab = program_with(&control_plane, "gitlab", &["--role", "ci", "--system", "shop"]);
    let told = |ran: Ran| format!("{}{}", ran.out, ran.err);
    let mut transcript = String::new();
    for (who, name, args) in [
        (&jane, "jane", &["whoami"][..]),
        (&gitlab, "gitlab", &["whoami"]),
        (&jane, "jane", &["can", "change", "check", "disk"]),
        (&jane, "jane", &["can", "act", "node"]),
        (&jane, "jane", &["operator", "create", "eve"]),
        (&gitlab, "gitlab", &["events"]),
        (&gitlab, "gitlab", &["can", "approve", "plugin"]),
    ] {
        transcript.push_str(&format!("{name}$ hostlerctl {}\n{}\n", args.join(" "), told(who.ctl(args))));
    }
    for args in [&["operator", "ls"][..], &["role", "ls"], &["role", "show", "deployer", "-o", "yaml"]] {
        transcript.push_str(&format!("admin$ hostlerctl {}\n{}\n", args.join(" "), told(control_plane.ctl(args))));
    }
    let id = gitlab.token.split('_').nth(1).unwrap();
    let filters = [
        (id, "abcd2345"),
        (r"7h( left)", "8h$1"),
        (r"used (never|\d+s ago)", "used 3s ago"),
        (r"36[45]d", "365d"),
        (r"request: [0-9a-f]{16}", "request: 0123456789abcdef"),
    ];
    let shown = filters
        .iter()
        .fold(transcript, |text, (from, to)| regex::Regex::new(from).unwrap().replace_all(&text, *to).into_owned());
    insta::assert_snapshot!(shown);
}
