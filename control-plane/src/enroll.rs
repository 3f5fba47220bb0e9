//! How a host gets its identity, and keeps it.

use crate::app::App;
use crate::audit;
use crate::clock;
use crate::gate::calling_node;
use crate::listener::Connection;
use crate::pki::{Issued, NODE_LIFETIME, PkiError, Subject, random, sha256_hex};
use crate::records::{self, Member, NewEvent, member_key, member_name_key, token_key};
use hostler_core::enrol::{self, TokenRefusal};
use hostler_core::version::refuse_skew;
use hostler_proto::agent as wire;
use hostler_proto::agent::enrollment_server::Enrollment;
use hostler_store::Txn;
use hostler_types::{EventKind, Name, NodeId, Policy, Timestamp};
use std::sync::Arc;
use std::time::Duration;
use tonic::{Request, Response, Status};

/// Others may redeem the same token at the same moment; each conflict means that
/// one of them won.
const CONFLICTS_MAX: usize = 1000;

/// Each renewal is a signature and a write: an agent renews at half life, and one
/// that asks all the time is broken or hostile.
const RENEWED_AT_MOST_EVERY: Duration = Duration::from_secs(60);

#[derive(Clone)]
pub struct EnrollmentService(pub Arc<App>);

#[tonic::async_trait]
impl Enrollment for EnrollmentService {
    async fn join(&self, request: Request<wire::JoinRequest>) -> Result<Response<wire::JoinResponse>, Status> {
        let address = request.extensions().get::<Connection>().map(|one| one.address.to_string()).unwrap_or_default();
        audit::on(&request, "node", &request.get_ref().name);
        let wish = Wish::read(request.into_inner())?;
        let joined = self.0.join(wish, &address).await;
        if let Err(status) = &joined {
            tracing::warn!(peer = address, reason = status.message(), "refused a join");
        }
        joined.map(Response::new)
    }

    async fn renew(&self, request: Request<wire::RenewRequest>) -> Result<Response<wire::RenewResponse>, Status> {
        let node = calling_node(&request)?;
        Ok(Response::new(self.0.renew(node, request.into_inner()).await?))
    }
}

/// A join request, read and checked.
struct Wish {
    secret_hash: String,
    name: Name,
    policy: Policy,
    agent_version: String,
    machine_id: String,
    csr_der: Vec<u8>,
}

impl Wish {
    fn read(request: wire::JoinRequest) -> Result<Self, Status> {
        if let Some(reason) = refuse_skew(&request.agent_version, env!("CARGO_PKG_VERSION")) {
            return Err(Status::failed_precondition(reason));
        }
        let name = Name::new(request.name)
            .map_err(|error| Status::invalid_argument(format!("the node's name: {error}; give another with --name")))?;
        if NodeId::parse(name.as_str()).is_ok() {
            return Err(Status::invalid_argument(format!(
                "the node's name {name} looks like a node's id: give another with --name"
            )));
        }
        let policy = request.policy.parse().map_err(|error| Status::invalid_argument(format!("policy: {error}")))?;
        Ok(Self {
            secret_hash: sha256_hex(&request.secret),
            name,
            policy,
            agent_version: request.agent_version,
            machine_id: request.machine_id.chars().take(64).collect(),
            csr_der: request.csr_der,
        })
    }
}

impl App {
    async fn join(&self, wish: Wish, address: &str) -> Result<wire::JoinResponse, Status> {
        let id = NodeId::from_random(random().map_err(|error| Status::internal(error.to_string()))?);
        for _ in 0..CONFLICTS_MAX {
            let now = clock::wall();
            let key = token_key(&wish.secret_hash);
            let entry = self.store.get(&key).await.map_err(store_status)?;
            let entry = entry.ok_or_else(|| refused(TokenRefusal::Unknown))?;
            let token =
                records::decode_token(&key, &entry.value).map_err(|error| Status::internal(error.to_string()))?;
            let used = enrol::redeem(&token, now).map_err(refused)?;

            let issued = self.issue_node(&id, &wish.csr_der, now)?;
            let member = Member {
                id: id.clone(),
                name: wish.name.clone(),
                labels: token.labels.clone(),
                policy: wish.policy,
                agent_version: wish.agent_version.clone(),
                joined_at: now,
                machine_id: wish.machine_id.clone(),
                certificate_not_after: issued.not_after,
                revoked: None,
            };
            let event = NewEvent {
                at: now,
                kind: EventKind::NODE,
                node: member.name.to_string(),
                subject: member.name.to_string(),
                message: format!("joined from {address} with a code by {}, policy {}", token.created_by, member.policy),
            };
            let txn = Txn::new().expect(key.as_str(), entry.modified).put(key.as_str(), records::encode_token(&used));
            let txn = self.claim_name(txn, &member).await?;
            let txn = txn.expect_absent(member_key(&id)).put(member_key(&id), member.encode());
            match self.store.commit(self.journal.record(txn, now, &[event])).await {
                Ok(revision) => {
                    self.mirror.reach(revision).await;
                    self.fleet.joined(id.clone(), now);
                    tracing::info!(node = %member.name, id = %id, peer = address, "joined");
                    return Ok(wire::JoinResponse {
                        node_id: id.to_string(),
                        credentials: Some(self.credentials(issued)),
                        addresses: self.agent_addresses(),
                    });
                }
                Err(error) if error.is_conflict() => continue,
                Err(error) => return Err(store_status(error)),
            }
        }
        Err(Status::unavailable("too many hosts use this join code at once: try again"))
    }

    /// A name belongs to one node; a revoked one's can be taken over.
    async fn claim_name(&self, txn: Txn, member: &Member) -> Result<Txn, Status> {
        let key = member_name_key(&member.name);
        let put = |txn: Txn| txn.put(key.as_str(), member.id.to_string());
        let Some(entry) = self.store.get(&key).await.map_err(store_status)? else {
            return Ok(put(txn.expect_absent(key.as_str())));
        };
        // From the store and not from the mirror, which may be a commit behind.
        let holder_id = std::str::from_utf8(&entry.value).ok().and_then(|id| NodeId::parse(id).ok());
        let holder = match holder_id {
            None => None,
            Some(id) => {
                let key = member_key(&id);
                let stored = self.store.get(&key).await.map_err(store_status)?;
                stored.and_then(|stored| Member::decode(&key, &stored.value).ok())
            }
        };
        match holder {
            Some(holder) if holder.revoked.is_none() => Err(Status::already_exists(format!(
                "there is a node {} already: join with another --name, or first `hostlerctl node revoke {}`",
                holder.name, holder.name
            ))),
            _ => Ok(put(txn.expect(key.as_str(), entry.modified))),
        }
    }

    async fn renew(&self, node: NodeId, request: wire::RenewRequest) -> Result<wire::RenewResponse, Status> {
        let now = clock::wall();
        let issued = self.issue_node(&node, &request.csr_der, now)?;
        let key = member_key(&node);
        for _ in 0..CONFLICTS_MAX {
            let entry = self.store.get(&key).await.map_err(store_status)?;
            let entry = entry.ok_or_else(|| Status::permission_denied("this node is not a member any more"))?;
            let member = Member::decode(&key, &entry.value).map_err(|error| Status::internal(error.to_string()))?;
            if member.revoked.is_some() {
                return Err(Status::permission_denied(format!("node {} was revoked", member.name)));
            }
            let age = NODE_LIFETIME.saturating_sub(member.certificate_not_after.since(now));
            if age < RENEWED_AT_MOST_EVERY {
                return Err(Status::resource_exhausted("this node's certificate was made only just now: keep it"));
            }
            let renewed = Member {
                certificate_not_after: issued.not_after,
                agent_version: request.agent_version.clone(),
                ..member
            };
            let txn = Txn::new().expect(key.as_str(), entry.modified).put(key.as_str(), renewed.encode());
            match self.store.commit(txn).await {
                Ok(_) => {
                    tracing::info!(node = %renewed.name, not_after = %issued.not_after, "renewed a certificate");
                    let credentials = Some(self.credentials(issued));
                    return Ok(wire::RenewResponse { credentials, addresses: self.agent_addresses() });
                }
                Err(error) if error.is_conflict() => continue,
                Err(error) => return Err(store_status(error)),
            }
        }
        Err(Status::unavailable("the node's record is busy: try again"))
    }

    fn issue_node(&self, id: &NodeId, csr_der: &[u8], now: Timestamp) -> Result<Issued, Status> {
        let subject = Subject::Node(id.clone());
        self.pki.issue_client(&subject, csr_der, now, NODE_LIFETIME).map_err(|error| match error {
            PkiError::Request(_) => Status::invalid_argument(error.to_string()),
            other => Status::internal(other.to_string()),
        })
    }

    fn credentials(&self, issued: Issued) -> wire::Credentials {
        wire::Credentials {
            chain_der: issued.chain.iter().map(|one| one.to_vec()).collect(),
            authorities_der: vec![self.pki.authority().to_vec()],
            not_before_ms: issued.not_before.as_millis(),
            not_after_ms: issued.not_after.as_millis(),
            desired_state_keys: vec![self.pki.signing_public_key()],
        }
    }
}

fn refused(refusal: TokenRefusal) -> Status {
    Status::permission_denied(refusal.to_string())
}

pub fn store_status(error: hostler_store::StoreError) -> Status {
    use hostler_store::StoreError as E;
    match error {
        E::Conflict { .. } => Status::aborted(error.to_string()),
        E::Limit { .. } | E::Key(_) | E::Twice(_) => Status::invalid_argument(error.to_string()),
        E::Full { .. } => Status::resource_exhausted(error.to_string()),
        E::Stopped | E::Backend { .. } => Status::unavailable(format!("the state store: {error}")),
        other => Status::internal(other.to_string()),
    }
}
