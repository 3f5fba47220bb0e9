//! A refusal in words that help: what is missing, which role has it, and who can
//! give it.

use super::words::{list, systems};
use super::{ADMIN, Ask, CI, Grant, Identity, Missing, Noun, OPERATOR, Place, Refused, Role, Roles, VIEWER, Verb};
use std::collections::BTreeSet;
use std::sync::Arc;

/// Names in one sentence; whoever asks the first of them gets on.
const NAMED_MAX: usize = 3;

/// Somebody who may be able to help.
#[derive(Clone, Debug)]
pub struct Giver<'a> {
    pub operator: &'a str,
    pub grant: Grant,
}

impl Refused {
    /// `givers`: all operators who are let in, at whose rights is looked here.
    pub fn words<'a>(
        &self,
        identity: &Identity,
        ask: &Ask<'_>,
        roles: &Roles,
        givers: impl IntoIterator<Item = Giver<'a>>,
    ) -> String {
        let name = &identity.operator;
        let who = match (&self.missing, &identity.token) {
            (Missing::Token, Some(token)) => format!("token {} of operator {name}", token.id),
            _ => format!("operator {name}"),
        };
        let (why, help) = match (&self.missing, &identity.token) {
            (Missing::Token, Some(token)) => (
                format!("the operator may, and the token is limited to {}", held(&token.grant)),
                format!("use a certificate, or a token that may more: hostlerctl operator token create {name}"),
            ),
            (Missing::Reach, _) => (
                format!("they have {}, and that does not reach so far", held(&identity.grant)),
                self.wider(identity, ask, roles, givers),
            ),
            _ if identity.grant.roles.is_empty() => {
                ("they have no role".to_owned(), self.wider(identity, ask, roles, givers))
            }
            _ => (
                format!("they have {}, which does not allow it", held(&identity.grant)),
                self.wider(identity, ask, roles, givers),
            ),
        };
        format!("{who} may not {ask}: {why}; {help}")
    }

    fn wider<'a>(
        &self,
        identity: &Identity,
        ask: &Ask<'_>,
        roles: &Roles,
        givers: impl IntoIterator<Item = Giver<'a>>,
    ) -> String {
        let name = &identity.operator;
        let able = |giver: &Giver<'_>| {
            giver.operator != name && giver.grant.allows(roles, &Ask::new(Verb::Change, Noun::Operator)).is_some()
        };
        let able: Vec<&str> = givers.into_iter().filter(able).map(|giver| giver.operator).take(NAMED_MAX).collect();
        let asked = match able.as_slice() {
            [] => "an admin".to_owned(),
            able => able.join(" or "),
        };
        let held = &identity.grant;
        let allowing = |limit: &BTreeSet<String>| -> Vec<String> {
            let allows = |role: &&Arc<Role>| role.rules.iter().any(|rule| rule.covers(limit, ask));
            roles.iter().filter(allows).map(|role| role.name.clone()).collect()
        };
        let within = allowing(&held.systems);
        if let Some(role) = best(&within) {
            let flags = role_flags(held, role);
            let all = list(&within);
            return format!("{all} would allow it, and {asked} can give it: hostlerctl operator set {name} {flags}");
        }
        let (wider, mut flags, told) = match ask.place {
            _ if held.systems.is_empty() => {
                return format!("no role allows it yet, and {asked} can make one: hostlerctl role set --help");
            }
            Place::System(system) => {
                let wider: BTreeSet<String> = held.systems.iter().cloned().chain([system.to_owned()]).collect();
                let flags: Vec<String> = wider.iter().map(|one| format!("--system {one}")).collect();
                (wider, flags.join(" "), format!("they would have to be let into system {system}"))
            }
            Place::Everywhere | Place::Some => {
                let told = "it belongs to no system, and they are limited to some".to_owned();
                (BTreeSet::new(), "--system all".to_owned(), told)
            }
        };
        let widened = Grant { systems: wider, ..held.clone() };
        if widened.allows(roles, ask).is_none()
            && let Some(role) = best(&allowing(&widened.systems))
        {
            flags = format!("--role {role} {flags}");
        }
        format!("{told}, which {asked} can change: hostlerctl operator set {name} {flags}")
    }
}

/// Of the roles that build on each other one is enough; others are kept.
fn role_flags(held: &Grant, role: &str) -> String {
    let kept = held.roles.iter().map(String::as_str).filter(|one| !LADDER.contains(one));
    let flags: Vec<String> = kept.chain([role]).map(|one| format!("--role {one}")).collect();
    flags.join(" ")
}

const LADDER: [&str; 3] = [VIEWER, OPERATOR, ADMIN];

/// The least mighty of the built-in ones; else any.
fn best(names: &[String]) -> Option<&String> {
    let order = [VIEWER, OPERATOR, CI, ADMIN];
    let builtin = order.iter().find_map(|known| names.iter().find(|name| name == known));
    builtin.or(names.first())
}

/// `role viewer in system shop`.
pub fn held(grant: &Grant) -> String {
    let noun = if grant.roles.len() == 1 { "role" } else { "roles" };
    let limit = if grant.systems.is_empty() { String::new() } else { format!(" in {}", systems(&grant.systems)) };
    format!("{noun} {}{limit}", list(&grant.roles))
}
