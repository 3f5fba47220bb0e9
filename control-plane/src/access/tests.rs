use super::calls::{CALLS, find};
use super::credentials::{same, token_of};
use super::*;
use hostler_core::access::{CI, OPERATOR, Roles, VIEWER, decide};
use hostler_proto::DESCRIPTORS;
use prost::Message;
use prost_types::FileDescriptorSet;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Every call that the protocol has.
fn methods() -> Vec<String> {
    let set = FileDescriptorSet::decode(DESCRIPTORS).expect("descriptors");
    let file = set.file.iter().find(|file| file.package() == "hostler.admin.v1").expect("the operators' protocol");
    let service = file.service.iter().find(|service| service.name() == "Admin").expect("the service");
    service.method.iter().map(|method| method.name().to_owned()).collect()
}

fn holder(role: &str, systems: &[&str]) -> Identity {
    let systems = systems.iter().map(|system| system.to_string()).collect();
    Identity { operator: "x".into(), grant: Grant { roles: vec![role.into()], systems }, token: None }
}

/// What the gate says; where a handler asks again for the object, what it says of
/// one in the holder's own system and of one elsewhere.
fn verdict(identity: &Identity, method: &str) -> &'static str {
    let Some(ask) = find(method).expect(method).ask() else { return "own" };
    let roles = Roles::default();
    let may = |ask: Ask<'_>| decide(identity, &roles, &ask).is_ok();
    let place = |name| if ask.place == Place::Some { Place::System(name) } else { ask.place };
    let labels = hostler_types::Labels::new();
    let nodes = if ask.nodes == Nodes::Some { Nodes::One(&labels) } else { ask.nodes };
    let (mine, other) = (may(ask.within(place("shop")).on(nodes)), may(ask.within(place("blog")).on(nodes)));
    match (may(ask), mine, other) {
        (true, true, true) => "yes",
        (true, true, false) => "shop",
        (false, false, false) => "-",
        wrong => panic!("{method}: the gate and the handler contradict each other: {wrong:?}"),
    }
}

#[test]
fn every_call_has_a_rule_and_every_rule_a_call() {
    let methods = methods();
    for method in &methods {
        assert!(find(method).is_some(), "{method} has no line in access/calls.rs: nobody may call it");
    }
    for call in CALLS {
        assert!(methods.iter().any(|method| method == call.method), "{} is no call", call.method);
    }
    assert_eq!(CALLS.len(), methods.len(), "one line each");
}

#[test]
fn the_matrix_of_calls_and_roles() {
    let who = [
        ("viewer", holder(VIEWER, &[])),
        ("operator", holder(OPERATOR, &[])),
        ("admin", holder(ADMIN, &[])),
        ("ci in shop", holder(CI, &["shop"])),
        ("operator in shop", holder(OPERATOR, &["shop"])),
        ("ci", holder(CI, &[])),
    ];
    let mut text = format!("{:<22}", "CALL");
    who.iter().for_each(|(name, _)| text.push_str(&format!("{name:<18}")));
    for method in methods() {
        text.push_str(&format!("\n{method:<22}"));
        who.iter().for_each(|(_, identity)| text.push_str(&format!("{:<18}", verdict(identity, &method))));
    }
    let lines: Vec<&str> = text.lines().map(str::trim_end).collect();
    insta::assert_snapshot!(lines.join("\n"));
}

fn world() -> (World, String) {
    let secret = NewSecret::make().expect("random");
    let operator = |name: &str, roles: &[&str]| {
        let roles = roles.iter().map(|role| role.to_string()).collect();
        let record = rest::Operator { name: name.into(), roles, ..rest::Operator::default() };
        (name.to_owned(), Arc::new(record))
    };
    let token = rest::OperatorToken {
        operator: "jane".into(),
        secret_hash: secret.hash,
        expires_at_ms: 1_000,
        ..rest::OperatorToken::default()
    };
    let world = World {
        operators: Arc::new(BTreeMap::from([operator("jane", &[VIEWER]), operator("old", &[])])),
        operator_tokens: Arc::new(BTreeMap::from([(secret.id, Arc::new(token))])),
        ..World::default()
    };
    (world, secret.text)
}

fn at(ms: u64) -> Timestamp {
    Timestamp::from_millis(ms)
}

#[test]
fn a_token_is_known_by_all_of_it() {
    let (world, text) = world();
    let id = token_of(&world, &text).expect("the right one");
    assert!(text.contains(&id));
    let mut wrong = text.clone();
    let last = wrong.pop().expect("characters");
    wrong.push(if last == 'a' { 'b' } else { 'a' });
    for text in [wrong.as_str(), "", "hop_", &text[..text.len() - 1], &format!("{text}a"), &text[4..]] {
        assert_eq!(token_of(&world, text), None, "{text}");
    }
    assert!(same(b"ab", b"ab") && !same(b"ab", b"ac") && !same(b"ab", b"abc") && !same(b"", b"a"));
}

#[test]
fn what_was_proven_counts_as_long_as_it_stands() {
    let (mut world, text) = world();
    let token = Credential::Token { id: token_of(&world, &text).expect("known") };
    assert_eq!(token.stands(&world, at(999)).expect("stands").name(), "jane");
    let told = |result: Result<Caller, Status>| result.expect_err("refused").message().to_owned();
    assert!(told(token.stands(&world, at(1_000))).contains("has expired: make a new one"));
    let certificate = Credential::Certificate { operator: "jane".into(), until: at(500) };
    assert!(certificate.stands(&world, at(499)).is_ok());
    assert!(told(certificate.stands(&world, at(500))).contains("hostlerctl operator renew"));
    // Stored before there were roles.
    let old = Credential::Certificate { operator: "old".into(), until: at(500) };
    assert_eq!(old.stands(&world, at(1)).expect("stands").identity.grant.roles, [ADMIN]);
    let operators = Arc::make_mut(&mut world.operators);
    let jane = Arc::make_mut(operators.get_mut("jane").expect("jane"));
    (jane.revoked_at_ms, jane.revoked_by) = (7, "kim".into());
    for credential in [&token, &certificate] {
        assert!(told(credential.stands(&world, at(1))).contains("operator jane was revoked by kim"));
    }
    Arc::make_mut(&mut world.operator_tokens).clear();
    assert!(told(token.stands(&world, at(1))).contains("is not known here, or was removed"));
}

#[test]
fn a_new_call_without_a_rule_is_refused() {
    let (world, text) = world();
    let id = token_of(&world, &text).expect("known");
    let caller = Credential::Token { id }.stands(&world, at(1)).expect("stands");
    let refused = require_call(&world, &caller, "LaunchMissiles").expect_err("refused");
    assert_eq!(refused.code(), tonic::Code::Unimplemented);
    let refused = require_call(&world, &caller, "Apply").expect_err("refused");
    assert!(refused.message().contains("operator jane may not change any kind of spec"), "{refused}");
}
