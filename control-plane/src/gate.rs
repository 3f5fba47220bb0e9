//! Who may call what. Every request passes here, with what its connection
//! proved; nothing behind this line asks again whether the caller may call, only
//! who it is.

use crate::access::{self, Credential};
use crate::app::App;
use crate::audit;
use crate::clock;
use crate::edge;
use crate::listener::Connection;
use crate::pki::Subject;
use crate::records::Member;
use crate::tls::Peer;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use hostler_types::NodeId;
use std::sync::Arc;
use tonic::Status;

const JOIN: &str = "/hostler.agent.v1.Enrollment/Join";
const RENEW: &str = "/hostler.agent.v1.Enrollment/Renew";
const LINK: &str = "/hostler.agent.v1.AgentLink/";
const ADMIN: &str = "/hostler.admin.v1.Admin/";

/// The node that calls: from its certificate, checked to be a member.
#[derive(Clone, Debug)]
pub struct CallingNode(pub NodeId);

/// The operator that calls.
#[derive(Clone, Debug)]
pub struct CallingOperator(pub String);

pub async fn gate(State(app): State<Arc<App>>, mut request: Request, next: Next) -> Response {
    let Some(connection) = request.extensions().get::<Connection>().cloned() else {
        return refuse(&Status::internal("a request without a connection"));
    };
    let path = request.uri().path();
    let mut watched = None;
    let admitted = if path.starts_with(LINK) || path == RENEW {
        node(&app, &connection.peer, path == RENEW).map(|node| drop(request.extensions_mut().insert(node)))
    } else if path.starts_with(ADMIN) {
        operator(&app, &connection, &mut request).await.map(|credential| watched = Some(credential))
    } else if path == JOIN || !path.starts_with("/hostler.") {
        Ok(())
    } else {
        Err(Status::unimplemented(format!("this control plane has no {path}")))
    };
    match (admitted, watched) {
        (Ok(()), None) => next.run(request).await,
        (Ok(()), Some((credential, method))) => match edge::place() {
            Ok(_place) => access::guard(&app, credential, method, next.run(request)).await,
            Err(status) => refuse(&status),
        },
        (Err(status), _) => {
            audit::refused(request.extensions());
            tracing::info!(peer = %connection.address, code = ?status.code(), reason = status.message(), "refused a call");
            refuse(&status)
        }
    }
}

fn refuse(status: &Status) -> Response {
    status.clone().into_http::<Body>()
}

fn node(app: &App, peer: &Peer, renewing: bool) -> Result<CallingNode, Status> {
    let (id, expired) = match peer {
        Peer::Known { subject: Subject::Node(id), expired } => (id, *expired),
        Peer::Known { subject: Subject::Operator(name), .. } => {
            return Err(Status::permission_denied(format!(
                "this certificate is operator {name}'s, and only nodes may call this"
            )));
        }
        Peer::Anonymous => {
            return Err(Status::unauthenticated(
                "a node's certificate is needed here, and none was shown: join first (hostler-agent join CODE)",
            ));
        }
        Peer::Nameless => return Err(Status::unauthenticated("the certificate names no node")),
    };
    let world = app.mirror.now();
    let member = world.members.get(id).ok_or_else(|| {
        Status::permission_denied(format!(
            "node {id} is not a member here (it was removed): join again with a new code"
        ))
    })?;
    refuse_revoked(member)?;
    if expired && !renewing {
        return Err(Status::unauthenticated(
            "the node's certificate has expired; it may renew it, and do nothing else before",
        ));
    }
    Ok(CallingNode(id.clone()))
}

/// The same words for a stream that is cut and for one that never opens.
pub fn refuse_revoked(member: &Member) -> Result<(), Status> {
    let Some(revoked) = &member.revoked else { return Ok(()) };
    let reason = if revoked.reason.is_empty() { String::new() } else { format!(", {:?}", revoked.reason) };
    Err(Status::permission_denied(format!(
        "node {} was revoked by {} on {}{reason}: join again with a new code if that is wanted",
        member.name, revoked.by, revoked.at
    )))
}

/// Who the operator is, and whether their roles allow the call as such.
async fn operator(
    app: &Arc<App>,
    connection: &Connection,
    request: &mut Request,
) -> Result<(Credential, String), Status> {
    let method = request.uri().path().strip_prefix(ADMIN).unwrap_or_default().to_owned();
    let shown = access::bearer(request.headers())?.map(str::to_owned);
    let credential = match shown {
        Some(token) => app.proving.token(app, connection, &token).await?,
        None => Credential::certificate(connection)?,
    };
    let world = app.mirror.now();
    let caller = credential.stands(&world, clock::wall())?;
    audit::caller(request.extensions(), "operator", caller.name());
    access::require_call(&world, &caller, &method)?;
    request.extensions_mut().insert(CallingOperator(caller.name().to_owned()));
    request.extensions_mut().insert(caller);
    Ok((credential, method))
}

/// What the gate found out, for a handler.
pub fn calling_node<T>(request: &tonic::Request<T>) -> Result<NodeId, Status> {
    let caller = request.extensions().get::<CallingNode>();
    caller.map(|node| node.0.clone()).ok_or_else(|| Status::internal("the gate was not passed"))
}

pub fn calling_operator<T>(request: &tonic::Request<T>) -> Result<String, Status> {
    let caller = request.extensions().get::<CallingOperator>();
    caller.map(|operator| operator.0.clone()).ok_or_else(|| Status::internal("the gate was not passed"))
}
