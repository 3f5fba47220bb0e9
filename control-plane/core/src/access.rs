//! Who may do what: roles made of rules, and one decision with its reason.
//!
//! Refusal is the default, and nothing forbids: a role only ever adds. What
//! narrows is who has it, who may be limited to some systems, and a token, which
//! never allows more than its operator may.

mod builtin;
mod explain;
#[cfg(test)]
mod tests;
mod words;

use hostler_types::spec::Kind;
use hostler_types::{Labels, Selector};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

pub use builtin::{ADMIN, CI, OPERATOR, VIEWER};
pub use explain::Giver;
pub use words::WordError;

/// A working day: what is stolen in the evening is worthless by then.
pub const CREDENTIAL_TTL_DEFAULT: std::time::Duration = std::time::Duration::from_secs(8 * 3_600);
/// A decision walks over all of them.
pub const RULES_MAX: usize = 32;
/// As many as a person can keep apart.
pub const ROLES_MAX: usize = 200;
/// Of one operator or token.
pub const NAMED_MAX: usize = 50;

/// What is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verb {
    /// Look.
    Read,
    /// Make, change or remove what people write down.
    Change,
    /// Do something to what is there: shut a node out, forget a plugin.
    Act,
    /// Bring a plugin.
    Push,
    /// Give a plugin what it asks for.
    Approve,
}

/// To what.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Noun {
    /// Objects of specs, and what they are of: nodes, checks, plugins.
    Spec(Kind),
    /// Join codes.
    Token,
    /// Operators, and the tokens that they show.
    Operator,
    Role,
    /// Whose signatures on plugins count.
    Key,
    Event,
    /// The log of all calls.
    Audit,
    /// The control plane as a whole: its state, with every key in it.
    Server,
    /// Free commands on hosts, which stand in no spec.
    Command,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Many<T> {
    All,
    These(BTreeSet<T>),
}

impl<T: Ord> Many<T> {
    fn takes(&self, one: &T) -> bool {
        match self {
            Many::All => true,
            Many::These(these) => these.contains(one),
        }
    }
}

/// In which systems.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Within {
    /// In all of them, and for what belongs to none.
    Everywhere,
    /// In those that whoever has the role is limited to; without a limit, in none.
    Limit,
    Systems(BTreeSet<String>),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    pub verbs: Many<Verb>,
    pub nouns: Many<Noun>,
    pub within: Within,
    /// Which nodes, by their labels; a rule without it is for what is on none too.
    pub nodes: Option<Selector>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Role {
    pub name: String,
    pub rules: Vec<Rule>,
}

/// All roles by name, the built-in ones among them.
#[derive(Clone, Debug)]
pub struct Roles(BTreeMap<String, Arc<Role>>);

impl Default for Roles {
    fn default() -> Self {
        Self(builtin::all().map(|role| (role.name.clone(), Arc::new(role))).collect())
    }
}

impl Roles {
    pub fn is_builtin(name: &str) -> bool {
        [VIEWER, OPERATOR, ADMIN, CI].contains(&name)
    }

    /// Built-in roles stay as they are.
    pub fn set(&mut self, role: Role) {
        if !Self::is_builtin(&role.name) {
            self.0.insert(role.name.clone(), Arc::new(role));
        }
    }

    pub fn remove(&mut self, name: &str) {
        if !Self::is_builtin(name) {
            self.0.remove(name);
        }
    }

    pub fn get(&self, name: &str) -> Option<&Arc<Role>> {
        self.0.get(name)
    }

    pub fn iter(&self) -> impl Iterator<Item = &Arc<Role>> {
        self.0.values()
    }
}

/// Roles, and the systems that they are limited to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Grant {
    pub roles: Vec<String>,
    /// Empty: no limit.
    pub systems: BTreeSet<String>,
}

/// Who asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    pub operator: String,
    pub grant: Grant,
    pub token: Option<TokenLimit>,
}

/// What a token leaves of its operator's rights.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenLimit {
    pub id: String,
    pub grant: Grant,
}

impl TokenLimit {
    /// A token that names no roles or systems has its operator's.
    pub fn of(operator: &Grant, id: &str, roles: &[String], systems: &[String]) -> Self {
        let roles = if roles.is_empty() { operator.roles.clone() } else { roles.to_vec() };
        let systems = if systems.is_empty() { operator.systems.clone() } else { systems.iter().cloned().collect() };
        Self { id: id.to_owned(), grant: Grant { roles, systems } }
    }
}

/// Where it is to happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place<'a> {
    /// In no system, or in all of them.
    Everywhere,
    System(&'a str),
    /// In some system or other: which one is asked later, and each for itself.
    Some,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Nodes<'a> {
    /// All of them, or it is on none.
    All,
    One(&'a Labels),
    /// All that the selector takes, now or later.
    Chosen(&'a Selector),
    /// As [`Place::Some`].
    Some,
}

/// A question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ask<'a> {
    pub verb: Verb,
    /// `None`: some kind of object of specs, each of which is asked later.
    pub noun: Option<Noun>,
    pub place: Place<'a>,
    pub nodes: Nodes<'a>,
    /// Of the object, for the words only.
    pub name: &'a str,
}

impl<'a> Ask<'a> {
    pub fn new(verb: Verb, noun: Noun) -> Self {
        Self { verb, noun: Some(noun), place: Place::Everywhere, nodes: Nodes::All, name: "" }
    }

    /// With some kind of object of specs.
    pub fn some_spec(verb: Verb) -> Self {
        Self { noun: None, ..Self::new(verb, Noun::Server) }
    }

    pub fn within(self, place: Place<'a>) -> Self {
        Self { place, ..self }
    }

    pub fn on(self, nodes: Nodes<'a>) -> Self {
        Self { nodes, ..self }
    }

    pub fn named(self, name: &'a str) -> Self {
        Self { name, ..self }
    }

    /// A pushed plugin belongs to no system: a limit on systems does not touch it.
    fn is_free(&self) -> bool {
        self.verb == Verb::Push
    }
}

/// By which role.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Allowed {
    pub role: String,
}

/// Whose rights do not suffice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Missing {
    /// No role allows it anywhere.
    Role,
    /// A role allows it, but not for this system, or not for these nodes.
    Reach,
    /// The operator may, and the token may not.
    Token,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    pub missing: Missing,
}

impl Rule {
    fn covers(&self, limit: &BTreeSet<String>, ask: &Ask<'_>) -> bool {
        self.verbs.takes(&ask.verb) && self.names(ask.noun) && self.reaches(limit, ask)
    }

    fn names(&self, noun: Option<Noun>) -> bool {
        match (noun, &self.nouns) {
            (Some(noun), nouns) => nouns.takes(&noun),
            (None, Many::All) => true,
            (None, Many::These(nouns)) => nouns.iter().any(|noun| matches!(noun, Noun::Spec(_))),
        }
    }

    fn reaches(&self, limit: &BTreeSet<String>, ask: &Ask<'_>) -> bool {
        let limited = !limit.is_empty();
        let in_place = match (ask.place, &self.within) {
            _ if ask.is_free() => true,
            (Place::Everywhere, within) => !limited && *within == Within::Everywhere,
            (Place::System(system), within) => {
                let in_rule = match within {
                    Within::Everywhere => true,
                    Within::Limit => limited,
                    Within::Systems(systems) => systems.contains(system),
                };
                in_rule && (!limited || limit.contains(system))
            }
            (Place::Some, Within::Everywhere) => true,
            (Place::Some, Within::Limit) => limited,
            (Place::Some, Within::Systems(systems)) => !limited || !systems.is_disjoint(limit),
        };
        let on_nodes = match (&self.nodes, ask.nodes) {
            (None, _) | (Some(_), Nodes::Some) => true,
            (Some(_), Nodes::All) => false,
            // One selector may take less than another: only the same one surely does.
            (Some(selector), Nodes::Chosen(asked)) => selector == asked,
            // Facts are a host's claims, and give nobody a right.
            (Some(selector), Nodes::One(labels)) => selector.matches(labels, &BTreeMap::new()),
        };
        in_place && on_nodes
    }
}

impl Grant {
    /// The first role that allows it.
    fn allows(&self, roles: &Roles, ask: &Ask<'_>) -> Option<Allowed> {
        let role = self.roles.iter().filter_map(|name| roles.get(name));
        let mut allowing = role.filter(|role| role.rules.iter().any(|rule| rule.covers(&self.systems, ask)));
        allowing.next().map(|role| Allowed { role: role.name.clone() })
    }

    /// Whether a role allows it somewhere, on some node.
    fn allows_somewhere(&self, roles: &Roles, ask: &Ask<'_>) -> bool {
        let rules = self.roles.iter().filter_map(|name| roles.get(name)).flat_map(|role| &role.rules);
        rules.into_iter().any(|rule| rule.verbs.takes(&ask.verb) && rule.names(ask.noun))
    }

    fn decide(&self, roles: &Roles, ask: &Ask<'_>) -> Result<Allowed, Refused> {
        self.allows(roles, ask).ok_or_else(|| {
            let somewhere = self.allows_somewhere(roles, ask);
            Refused { missing: if somewhere { Missing::Reach } else { Missing::Role } }
        })
    }
}

/// The operator has to be allowed, and the token too where one was shown.
pub fn decide(identity: &Identity, roles: &Roles, ask: &Ask<'_>) -> Result<Allowed, Refused> {
    let allowed = identity.grant.decide(roles, ask)?;
    match &identity.token {
        None => Ok(allowed),
        Some(token) => token.grant.allows(roles, ask).ok_or(Refused { missing: Missing::Token }),
    }
}

/// What a grant would allow that the giver may not do: nobody makes somebody
/// mightier than they are, themselves included. It errs towards refusing.
pub fn exceeds(giver: &Identity, given: &Grant, roles: &Roles) -> Option<(Verb, Noun)> {
    let rules = given.roles.iter().filter_map(|name| roles.get(name)).flat_map(|role| &role.rules);
    rules.into_iter().find_map(|rule| beyond(giver, rule, &given.systems, roles))
}

fn beyond(giver: &Identity, rule: &Rule, limit: &BTreeSet<String>, roles: &Roles) -> Option<(Verb, Noun)> {
    let systems: Vec<&String> = match &rule.within {
        Within::Systems(systems) if limit.is_empty() => systems.iter().collect(),
        Within::Systems(systems) => systems.intersection(limit).collect(),
        Within::Everywhere | Within::Limit => limit.iter().collect(),
    };
    let unlimited = rule.within == Within::Everywhere && limit.is_empty();
    let pairs = Verb::ALL.iter().flat_map(|verb| Noun::all().map(move |noun| (*verb, noun)));
    let mut taken = pairs.filter(|(verb, noun)| rule.verbs.takes(verb) && rule.nouns.takes(noun));
    taken.find(|(verb, noun)| {
        let ask = Ask::new(*verb, *noun).on(rule.nodes.as_ref().map_or(Nodes::All, Nodes::Chosen));
        let refused = |place| decide(giver, roles, &ask.within(place)).is_err();
        if unlimited || ask.is_free() {
            refused(Place::Everywhere)
        } else {
            systems.iter().any(|system| refused(Place::System(system)))
        }
    })
}

/// Why a rule that somebody wrote cannot be kept.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RuleError {
    #[error("a rule without a verb allows nothing: give one of {}", words::list(Verb::ALL.iter().map(|verb| verb.word())))]
    NoVerb,
    #[error("a rule without a kind allows nothing: give kinds, or all")]
    NoNoun,
    #[error("{0:?} asks for facts, which a host says of itself: choose nodes by labels, which operators give")]
    Facts(String),
    #[error(
        "`where` is for `read` and `act` on node and check; `{verb} {noun}` is not narrowed by nodes: use systems, or a rule of its own"
    )]
    Nodes { verb: &'static str, noun: &'static str },
}

impl Rule {
    pub fn check(&self) -> Result<(), RuleError> {
        if self.verbs == Many::These(BTreeSet::new()) {
            return Err(RuleError::NoVerb);
        }
        if self.nouns == Many::These(BTreeSet::new()) {
            return Err(RuleError::NoNoun);
        }
        let Some(selector) = &self.nodes else { return Ok(()) };
        if selector.names_facts() {
            return Err(RuleError::Facts(selector.to_string()));
        }
        let narrowed = [Noun::Spec(Kind::Node), Noun::Spec(Kind::Check)];
        for verb in Verb::ALL.iter().filter(|verb| self.verbs.takes(verb)) {
            for noun in Noun::all().filter(|noun| self.nouns.takes(noun)) {
                if !matches!(verb, Verb::Read | Verb::Act) || !narrowed.contains(&noun) {
                    return Err(RuleError::Nodes { verb: verb.word(), noun: noun.word() });
                }
            }
        }
        Ok(())
    }
}
