//! Who an operator's call is from, and whether its roles allow it. The gate asks
//! here once for every call; a handler asks again, through [`require`], where the
//! answer hangs on the object.

pub mod calls;
mod credentials;
mod cut;
#[cfg(test)]
mod tests;

use crate::world::World;
use hostler_core::access::{self, ADMIN, Allowed, Ask, Giver, Grant, Identity, Nodes, Place, TokenLimit};
use hostler_proto::store as rest;
use hostler_types::Timestamp;
use tonic::Status;

pub use credentials::{Credential, NewSecret, Proving, bearer};
pub use cut::guard;

/// Who calls: from what was proven, as of now.
#[derive(Clone, Debug)]
pub struct Caller {
    pub identity: Identity,
    pub until: Timestamp,
}

impl Caller {
    pub fn name(&self) -> &str {
        &self.identity.operator
    }
}

/// What the gate found out, for a handler.
pub fn caller<T>(request: &tonic::Request<T>) -> Result<Caller, Status> {
    request.extensions().get::<Caller>().cloned().ok_or_else(|| Status::internal("the gate was not passed"))
}

/// Whoever was stored before there were roles could do everything.
pub fn grant_of(operator: &rest::Operator) -> Grant {
    let roles = if operator.roles.is_empty() { vec![ADMIN.to_owned()] } else { operator.roles.clone() };
    Grant { roles, systems: operator.systems.iter().cloned().collect() }
}

pub fn token_limit(operator: &Grant, id: &str, token: &rest::OperatorToken) -> TokenLimit {
    TokenLimit::of(operator, id, &token.roles, &token.systems)
}

/// Operators who are let in, with what they may.
pub fn givers(world: &World) -> impl Iterator<Item = Giver<'_>> {
    let standing = world.operators.values().filter(|one| one.revoked_at_ms == 0);
    standing.map(|one| Giver { operator: &one.name, grant: grant_of(one) })
}

pub fn may(world: &World, caller: &Caller, ask: &Ask<'_>) -> bool {
    access::decide(&caller.identity, &world.roles, ask).is_ok()
}

/// The refusal says what is missing, which role has it, and who can give it.
pub fn require(world: &World, caller: &Caller, ask: &Ask<'_>) -> Result<(), Status> {
    judge(world, &caller.identity, ask).map(drop).map_err(Status::permission_denied)
}

pub fn judge(world: &World, identity: &Identity, ask: &Ask<'_>) -> Result<Allowed, String> {
    access::decide(identity, &world.roles, ask)
        .map_err(|refused| refused.words(identity, ask, &world.roles, givers(world)))
}

/// What the path alone decides.
pub fn require_call(world: &World, caller: &Caller, method: &str) -> Result<(), Status> {
    let call = calls::find(method).ok_or_else(|| {
        Status::unimplemented(format!("this control plane has no {method}, or no rule for who may call it"))
    })?;
    match call.ask() {
        None => Ok(()),
        Some(ask) => require(world, caller, &ask),
    }
}

/// Of a node, whoever asks: what it is chosen by.
pub fn on_node<'a>(ask: Ask<'a>, name: &'a str, labels: &'a hostler_types::Labels) -> Ask<'a> {
    ask.named(name).on(Nodes::One(labels))
}

pub fn in_system<'a>(ask: Ask<'a>, system: &'a hostler_types::Name) -> Ask<'a> {
    ask.within(Place::System(system.as_str()))
}
