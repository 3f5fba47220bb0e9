//! The roles that are always there.

use super::{Many, Noun, Role, Rule, Verb, Within};
use hostler_types::spec::Kind;

pub const VIEWER: &str = "viewer";
pub const OPERATOR: &str = "operator";
pub const ADMIN: &str = "admin";
pub const CI: &str = "ci";

fn rule(verbs: &[Verb], nouns: Many<Noun>, within: Within) -> Rule {
    Rule { verbs: Many::These(verbs.iter().copied().collect()), nouns, within, nodes: None }
}

fn specs() -> impl Iterator<Item = Noun> {
    Kind::ALL.iter().copied().map(Noun::Spec)
}

pub fn all() -> impl Iterator<Item = Role> {
    // No call answers with a secret's value, so reading all of it is safe.
    let look = rule(&[Verb::Read], Many::All, Within::Everywhere);
    let daily = Many::These(specs().chain([Noun::Token, Noun::Event]).collect());
    // Not operators, roles, keys and the control plane itself: whoever changes
    // those can give themselves the rest.
    let work = rule(&[Verb::Change, Verb::Act, Verb::Push, Verb::Approve], daily, Within::Everywhere);
    let everything = Rule { verbs: Many::All, nouns: Many::All, within: Within::Everywhere, nodes: None };
    let deploy = rule(&[Verb::Read, Verb::Change], Many::These(specs().collect()), Within::Limit);
    let plugins = Many::These([Noun::Spec(Kind::Plugin)].into());
    let bring = rule(&[Verb::Push], plugins, Within::Everywhere);
    let role = |name: &str, rules: Vec<Rule>| Role { name: name.to_owned(), rules };
    [
        role(VIEWER, vec![look.clone()]),
        role(OPERATOR, vec![look, work]),
        role(ADMIN, vec![everything]),
        role(CI, vec![deploy, bring]),
    ]
    .into_iter()
}
