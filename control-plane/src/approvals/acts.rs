//! The acts that may have to wait: how each is kept, weighed, allowed, and carried
//! out.

use super::{Hand, Weighed, counts, weigh_plan};
use crate::access::{Caller, on_node, require, require_call};
use crate::admin::{nodes, plugins, runs, secrets, specs};
use crate::app::App;
use crate::audit::Call;
use crate::world::World;
use hostler_core::access::{Ask, Noun, Verb};
use hostler_core::applied::LOOSE;
use hostler_core::approvals::{nodes_of_catalogue, nodes_of_secret};
use hostler_core::catalogue::{Artifact, Catalogue};
use hostler_core::plan::{Act as Change, Basis, Plan};
use hostler_proto::admin as wire;
use hostler_proto::store as rest;
use hostler_types::spec::Kind;
use hostler_types::{Labels, Name};
use prost::Message;
use std::collections::BTreeSet;
use tonic::Status;

/// Changes that a record names; all of them are in the plan.
const NAMED_MAX: usize = 5;

#[derive(Clone, Debug)]
pub enum Act {
    Apply(wire::ApplyRequest),
    Delete(wire::DeleteObjectsRequest),
    RevokeNode(wire::RevokeNodeRequest),
    RemoveNode(wire::RemoveNodeRequest),
    /// Of a component that is a blob already.
    PushPlugin {
        digest: String,
    },
    ApprovePlugin(wire::ApprovePluginRequest),
    SetSecret(wire::SetSecretRequest),
    StartRun(Box<wire::StartRunRequest>),
}

/// What it needs to be allowed, besides the call itself.
enum Right {
    Call,
    /// The system, and each object of it that changes.
    Specs,
    Node(Name, Labels),
    Secret(Name),
    Run(Vec<runs::Right>),
}

/// What an act would do.
pub struct Weight {
    pub weighed: Weighed,
    /// Why it can't be done at all; the act itself tells it better.
    pub trouble: Option<String>,
    /// "apply shop (prod): 1 to delete"
    pub words: String,
    pub message: String,
    pub system: String,
    pub noun: &'static str,
    pub name: String,
    pub named: Vec<String>,
    pub more: u32,
    /// Of each system that it changes: its environment and its plan.
    pub plans: Vec<(Name, String, Plan)>,
    call: &'static str,
    right: Right,
}

impl Weight {
    fn new(call: &'static str, noun: &'static str, name: &str, words: String, weighed: Weighed) -> Self {
        Self {
            weighed,
            trouble: None,
            words,
            message: String::new(),
            system: String::new(),
            noun,
            name: name.to_owned(),
            named: Vec::new(),
            more: 0,
            plans: Vec::new(),
            call,
            right: Right::Call,
        }
    }

    /// Whether somebody may do this.
    pub fn right(&self, world: &World, caller: &Caller) -> Result<(), Status> {
        require_call(world, caller, self.call)?;
        match &self.right {
            Right::Call => Ok(()),
            Right::Specs => self
                .plans
                .iter()
                .try_for_each(|(of, _, plan)| specs::may_all(world, caller, Verb::Change, of, &plan.changes)),
            Right::Node(name, labels) => {
                require(world, caller, &on_node(Ask::new(Verb::Act, Noun::Spec(Kind::Node)), name.as_str(), labels))
            }
            Right::Secret(name) => require(world, caller, &secrets::ask(world, Verb::Change, name)),
            Right::Run(rights) => rights.iter().try_for_each(|right| right.require(world, caller)),
        }
    }
}

impl Act {
    pub const fn call(&self) -> &'static str {
        match self {
            Self::Apply(_) => "Apply",
            Self::Delete(_) => "DeleteObjects",
            Self::RevokeNode(_) => "RevokeNode",
            Self::RemoveNode(_) => "RemoveNode",
            Self::PushPlugin { .. } => "PushPlugin",
            Self::ApprovePlugin(_) => "ApprovePlugin",
            Self::SetSecret(_) => "SetSecret",
            Self::StartRun(_) => "StartRun",
        }
    }

    /// As it is kept while it waits. A secret's value is sealed there as well.
    pub fn body(&self, app: &App, id: &str) -> Result<rest::ApprovalBody, Status> {
        let mut body = rest::ApprovalBody { id: id.to_owned(), ..rest::ApprovalBody::default() };
        match self {
            Self::Apply(request) => body.request = request.encode_to_vec(),
            Self::Delete(request) => body.request = request.encode_to_vec(),
            Self::RevokeNode(request) => body.request = request.encode_to_vec(),
            Self::RemoveNode(request) => body.request = request.encode_to_vec(),
            Self::PushPlugin { digest } => {
                body.request = rest::WaitingPush { digest: digest.clone() }.encode_to_vec();
            }
            Self::ApprovePlugin(request) => body.request = request.encode_to_vec(),
            Self::StartRun(request) => body.request = request.encode_to_vec(),
            Self::SetSecret(request) => {
                let sealed = app.vault.seal_request(id, &request.encode_to_vec());
                body.sealed = Some(sealed.ok_or_else(|| Status::internal("this machine has no randomness"))?);
            }
        }
        Ok(body)
    }

    pub fn of(app: &App, call: &str, body: &rest::ApprovalBody) -> Result<Self, String> {
        fn read<M: Message + Default>(bytes: &[u8]) -> Result<M, String> {
            M::decode(bytes).map_err(|error| format!("what was asked for can't be read: {error}"))
        }
        let bytes = body.request.as_slice();
        Ok(match call {
            "Apply" => Self::Apply(read(bytes)?),
            "DeleteObjects" => Self::Delete(read(bytes)?),
            "RevokeNode" => Self::RevokeNode(read(bytes)?),
            "RemoveNode" => Self::RemoveNode(read(bytes)?),
            "PushPlugin" => Self::PushPlugin { digest: read::<rest::WaitingPush>(bytes)?.digest },
            "ApprovePlugin" => Self::ApprovePlugin(read(bytes)?),
            "StartRun" => Self::StartRun(Box::new(read(bytes)?)),
            "SetSecret" => {
                let sealed = body.sealed.as_ref().ok_or("its sealed value is gone")?;
                let opened = app.vault.open_request(&body.id, sealed).map_err(|error| error.to_string())?;
                Self::SetSecret(read(&opened)?)
            }
            other => return Err(format!("it was kept by a newer control plane, as {other}")),
        })
    }

    /// What it would do now. An error: there is nothing to do it to.
    pub async fn weigh(&self, app: &App, world: &World) -> Result<Weight, Status> {
        match self {
            Self::Apply(request) => apply(app, world, request),
            Self::Delete(request) => delete(app, world, request),
            Self::RevokeNode(request) => {
                let member = nodes::find(world, &request.node)?;
                let (name, labels) = (member.name.clone(), world.labels(member));
                let one = Weighed { nodes: [name.clone()].into(), basis: format!("revoke {}", member.id) };
                let weight = Weight::new(self.call(), "node", name.as_str(), format!("revoke node {name}"), one);
                let trouble = member.revoked.is_some().then(|| format!("node {name} is revoked already"));
                let message = super::cut(&request.reason);
                Ok(Weight { trouble, message, right: Right::Node(name, labels), ..weight })
            }
            Self::RemoveNode(request) => {
                let member = nodes::find(world, &request.node)?;
                let (name, labels) = (member.name.clone(), world.labels(member));
                let one = Weighed { nodes: [name.clone()].into(), basis: format!("remove {}", member.id) };
                let weight = Weight::new(self.call(), "node", name.as_str(), format!("forget node {name}"), one);
                let trouble = nodes::removable(app, member).err().map(|status| status.message().to_owned());
                Ok(Weight { trouble, right: Right::Node(name, labels), ..weight })
            }
            Self::PushPlugin { digest } => push(app, world, self.call(), digest),
            Self::ApprovePlugin(request) => {
                let pushed = plugins::to_approve(world, request)?;
                let artifact = Artifact { waiting: false, ..pushed.artifact.clone() };
                let manifest = &artifact.manifest;
                let words = format!("give plugin {} {} what it asks for", manifest.name, manifest.version);
                let trouble = (!pushed.artifact.waiting).then(|| "it was approved meanwhile".to_owned());
                Ok(Weight { trouble, ..with_artifact(app, world, self.call(), &artifact, words) })
            }
            Self::StartRun(request) => {
                let run = runs::weigh(app, world, request).await?;
                let weight = Weight::new(self.call(), "run", "", format!("run {}", run.title), run.weighed);
                let message = super::cut(&request.reason);
                Ok(Weight { message, system: run.system, right: Right::Run(run.rights), ..weight })
            }
            Self::SetSecret(request) => {
                let name = Name::new(&request.name).map_err(|error| Status::invalid_argument(error.to_string()))?;
                let newest = world.secrets.get(&name).and_then(|record| record.versions.last());
                let number = newest.map_or(0, |newest| newest.number);
                let nodes =
                    weigh_nodes(app, world, |basis| nodes_of_secret(basis, &name).into_iter().cloned().collect());
                let basis = format!("secret {name} after {number} on {nodes:?}");
                let words = format!("give secret {name} version {}", number + 1);
                let weight = Weight::new(self.call(), "secret", name.as_str(), words, Weighed { nodes, basis });
                let declared = world.specs.applied.get(Kind::Secret, &name);
                let system = declared.map(|one| one.system.to_string()).unwrap_or_default();
                Ok(Weight { system, right: Right::Secret(name), ..weight })
            }
        }
    }

    /// Does it. Answers with the version of the system, if it made one.
    pub async fn carry_out(self, app: &App, hand: &Hand, call: &Call) -> Result<u64, Status> {
        match self {
            Self::Apply(request) => {
                let done = specs::apply(app, hand, request).await?;
                match (done.problems.first(), done.since.first()) {
                    (None, None) => Ok(done.version),
                    (Some(problem), _) => Err(Status::failed_precondition(format!(
                        "{} {} {}",
                        problem.kind, problem.name, problem.message
                    ))),
                    (None, Some(_)) => Err(Status::aborted("it changed at this moment")),
                }
            }
            Self::Delete(request) => specs::delete(app, hand, &request).await.map(|_| 0),
            Self::RevokeNode(request) => nodes::revoke(app, hand, request).await.map(|_| 0),
            Self::RemoveNode(request) => nodes::remove(app, hand, &request).await.map(|_| 0),
            Self::PushPlugin { digest } => {
                let staged = plugins::staged(app, &digest).await?;
                plugins::keep(app, hand, staged).await.map(|_| 0)
            }
            Self::ApprovePlugin(request) => plugins::approve(app, hand, &request).await.map(|_| 0),
            Self::SetSecret(request) => secrets::set(app, hand, request).await.map(|_| 0),
            Self::StartRun(request) => runs::start(app, hand, call, *request).await.map(|_| 0),
        }
    }
}

fn weigh_nodes(app: &App, world: &World, count: impl FnOnce(Basis<'_>) -> BTreeSet<Name>) -> BTreeSet<Name> {
    let hosts = specs::hosts(app, world);
    count(Basis { applied: &world.specs.applied, catalogue: &world.catalogue, hosts: &hosts })
}

fn title(system: &Name, env: &str) -> String {
    match (system.as_str(), env) {
        (LOOSE, _) => "objects without a system".to_owned(),
        (system, "") => system.to_owned(),
        (system, env) => format!("{system} ({env})"),
    }
}

/// Of one system: which call, in which words, and what becomes of it.
struct Planned {
    call: &'static str,
    word: &'static str,
    system: Name,
    env: String,
    plan: Plan,
}

fn of_plan(app: &App, world: &World, planned: Planned) -> Weight {
    let Planned { call, word, system, env, plan } = planned;
    let weighed = weigh_plan(world, &specs::hosts(app, world), &system, &plan);
    let words = format!("{word} {}: {}", title(&system, &env), counts(&plan.changes));
    let changing = || plan.changes.iter().filter(|change| change.act != Change::Unchanged);
    let named = changing().take(NAMED_MAX).map(|one| format!("{} {} {}", one.act.word(), one.kind, one.name));
    let weight = Weight::new(call, "system", system.as_str(), words, weighed);
    Weight {
        system: system.to_string(),
        named: named.collect(),
        more: u32::try_from(changing().count().saturating_sub(NAMED_MAX)).unwrap_or(u32::MAX),
        right: Right::Specs,
        plans: vec![(system, env, plan)],
        ..weight
    }
}

fn apply(app: &App, world: &World, request: &wire::ApplyRequest) -> Result<Weight, Status> {
    let spec = specs::spec(request.spec.clone().unwrap_or_default())?;
    let (system, env) = (spec.wanted.system.clone(), spec.env());
    let mut plan = specs::made(app, world, &spec);
    plan.problems.extend(spec.missing_files(&app.blobs));
    let number = world.specs.number(&system);
    let trouble = match request.seen.filter(|seen| *seen != number) {
        Some(seen) => Some(format!("{system} is at version {number}, and it was planned against version {seen}")),
        None if plan.problems.is_empty() => None,
        None => Some("it can't be applied any more: plan it again to see why".to_owned()),
    };
    let weight = of_plan(app, world, Planned { call: "Apply", word: "apply", system, env, plan });
    Ok(Weight { trouble, message: specs::message(&request.message), ..weight })
}

fn delete(app: &App, world: &World, request: &wire::DeleteObjectsRequest) -> Result<Weight, Status> {
    let plans = specs::deletions(app, world, request)?.into_iter();
    let mut weights = plans.map(|(system, plan)| {
        let trouble = (!plan.problems.is_empty()).then(|| "something else needs it still".to_owned());
        let planned = Planned { call: "DeleteObjects", word: "delete from", system, env: String::new(), plan };
        Weight { trouble, ..of_plan(app, world, planned) }
    });
    let first = weights.next().ok_or_else(|| Status::invalid_argument("delete what?"))?;
    Ok(weights.fold(first, |mut sum, one| {
        sum.weighed.nodes.extend(one.weighed.nodes);
        sum.weighed.basis.push_str(&one.weighed.basis);
        sum.trouble = sum.trouble.or(one.trouble);
        sum.plans.extend(one.plans);
        sum
    }))
}

fn push(app: &App, world: &World, call: &'static str, digest: &str) -> Result<Weight, Status> {
    let read = app.blobs.get(digest).map_err(|error| Status::unavailable(format!("read the plugin: {error}")))?;
    let content = read.ok_or_else(|| Status::not_found("the pushed component is gone: push it again"))?;
    let manifest = hostler_types::plugin::embedded_manifest(&content);
    let manifest = manifest.map_err(|error| Status::invalid_argument(error.to_string()))?;
    let waiting = !plugins::beyond_approved(world, &manifest).is_empty();
    let known = world.artifacts.contains_key(&(manifest.name.clone(), manifest.version.clone()));
    let words = format!("push plugin {} {}", manifest.name, manifest.version);
    let trouble = known.then(|| format!("{} {} was pushed meanwhile", manifest.name, manifest.version));
    let artifact = Artifact { manifest, digest: digest.to_owned(), size_bytes: content.len() as u64, waiting };
    Ok(Weight { trouble, ..with_artifact(app, world, call, &artifact, words) })
}

/// What runs elsewhere once this artifact is there as it is.
fn with_artifact(app: &App, world: &World, call: &'static str, artifact: &Artifact, words: String) -> Weight {
    let manifest = &artifact.manifest;
    let key = (manifest.name.clone(), manifest.version.clone());
    let others = world.artifacts.iter().filter(|(known, _)| **known != key).map(|(_, pushed)| pushed.artifact.clone());
    let after = Catalogue::new(others.chain([artifact.clone()]));
    let nodes = weigh_nodes(app, world, |basis| {
        nodes_of_catalogue(basis, &after, &manifest.name).into_iter().cloned().collect()
    });
    let basis = format!("{call} {} {} {} on {nodes:?}", manifest.name, manifest.version, artifact.digest);
    Weight::new(call, "plugin", manifest.name.as_str(), words, Weighed { nodes, basis })
}
