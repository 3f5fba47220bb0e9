use super::*;
use proptest::prelude::*;
use proptest::sample::{select, subsequence};

const SYSTEMS: [&str; 3] = ["shop", "blog", "mail"];

fn grant(roles: &[&str], systems: &[&str]) -> Grant {
    Grant {
        roles: roles.iter().map(|name| name.to_string()).collect(),
        systems: systems.iter().map(|name| name.to_string()).collect(),
    }
}

fn identity(roles: &[&str], systems: &[&str]) -> Identity {
    Identity { operator: "jane".into(), grant: grant(roles, systems), token: None }
}

fn ask(verb: &str, noun: &str) -> Ask<'static> {
    Ask::new(Verb::parse(verb).expect(verb), Noun::parse(noun).expect(noun))
}

fn may(identity: &Identity, ask: &Ask<'_>) -> bool {
    decide(identity, &Roles::default(), ask).is_ok()
}

#[test]
fn what_the_built_in_roles_are_for() {
    let check = |role: &str, systems: &[&str], yes: &[&str], no: &[&str]| {
        for (words, wanted) in yes.iter().map(|one| (one, true)).chain(no.iter().map(|one| (one, false))) {
            let mut parts = words.split(' ');
            let mut asked = ask(parts.next().expect("a verb"), parts.next().expect("a noun"));
            if let Some(system) = parts.next() {
                asked = asked.within(Place::System(system));
            }
            assert_eq!(may(&identity(&[role], systems), &asked), wanted, "{role} in {systems:?}: {words}");
        }
    };
    check(VIEWER, &[], &["read node", "read operator", "read check shop"], &["change check shop", "act node"]);
    check(
        OPERATOR,
        &[],
        &["change check", "act node", "push plugin", "approve plugin", "change token"],
        &["change operator", "change role", "change key", "act server"],
    );
    check(ADMIN, &[], &["change operator", "act server", "change check blog"], &[]);
    check(
        CI,
        &["shop"],
        &["read check shop", "change service shop", "push plugin"],
        &[
            "change check blog",
            "read check blog",
            "read node",
            "read event",
            "act node",
            "approve plugin",
            "change token",
            "read operator",
        ],
    );
    // Whoever forgot to limit it gave away nothing.
    check(CI, &[], &["push plugin"], &["read check shop", "change check shop"]);
    check(OPERATOR, &["shop"], &["change check shop", "read check shop"], &["act node", "change check blog"]);
}

#[test]
fn a_rule_s_nodes_are_chosen_by_labels() {
    let mut roles = Roles::default();
    let nouns = Many::These([Noun::Spec(Kind::Node)].into());
    let verbs = Many::These([Verb::Act].into());
    let nodes = Selector::parse("role=web").ok();
    let rule = Rule { verbs, nouns, within: Within::Everywhere, nodes };
    assert_eq!(rule.check(), Ok(()));
    assert_eq!(rule.to_string(), "act node where role=web");
    roles.set(Role { name: "web".into(), rules: vec![rule] });
    let labels = |value: &str| Labels::from([("role".to_owned(), value.to_owned())]);
    let (web, db) = (labels("web"), labels("db"));
    let may = |nodes: Nodes<'_>| decide(&identity(&["web"], &[]), &roles, &ask("act", "node").on(nodes)).is_ok();
    assert!(may(Nodes::One(&web)) && may(Nodes::Some));
    assert!(!may(Nodes::One(&db)) && !may(Nodes::All));
}

#[test]
fn rules_that_say_nothing_or_too_much_are_refused() {
    let rule = |verbs: &[&str], nouns: &[&str], nodes: &str| Rule {
        verbs: Many::parse(verbs, Verb::parse).expect("verbs"),
        nouns: Many::parse(nouns, Noun::parse).expect("nouns"),
        within: Within::Everywhere,
        nodes: Selector::parse(nodes).ok(),
    };
    assert_eq!(rule(&[], &["all"], "").check(), Err(RuleError::NoVerb));
    assert_eq!(rule(&["all"], &[], "").check(), Err(RuleError::NoNoun));
    assert!(matches!(rule(&["read"], &["node"], "os.id=debian").check(), Err(RuleError::Facts(_))));
    let error = rule(&["change"], &["check"], "role=web").check().expect_err("changes").to_string();
    assert!(error.contains("`change check` is not narrowed by nodes"), "{error}");
    let error = Verb::parse("chnage").expect_err("a slip").to_string();
    assert_eq!(error, "there is no verb \"chnage\"; did you mean change?");
}

#[test]
fn a_refusal_says_what_is_missing_and_who_has_it() {
    let roles = Roles::default();
    let givers = || {
        [("jane", grant(&[ADMIN], &["shop"])), ("kim", grant(&[ADMIN], &[])), ("lee", grant(&[VIEWER], &[]))]
            .map(|(operator, grant)| Giver { operator, grant })
    };
    let told = |who: &Identity, ask: &Ask<'_>| {
        let refused = decide(who, &roles, ask).expect_err("refused");
        refused.words(who, ask, &roles, givers())
    };
    let change = ask("change", "check").within(Place::System("shop")).named("disk");
    let mut expect = String::new();
    for (who, ask) in [
        (identity(&[VIEWER], &[]), change),
        (identity(&[VIEWER], &["shop"]), change),
        (identity(&[OPERATOR], &["blog"]), change),
        (identity(&[OPERATOR], &["blog"]), ask("act", "node").named("web1")),
        (identity(&[OPERATOR], &[]), ask("change", "operator")),
        (identity(&["gone"], &[]), ask("read", "node")),
    ] {
        expect.push_str(&told(&who, &ask));
        expect.push('\n');
    }
    let limit = TokenLimit::of(&grant(&[ADMIN], &[]), "abc23456", &[CI.to_owned()], &["blog".to_owned()]);
    let token = Identity { token: Some(limit), ..identity(&[ADMIN], &[]) };
    expect.push_str(&told(&token, &change));
    assert_eq!(expect.trim_end(), include_str!("refusals.txt").trim_end(), "as told now:\n{expect}");
}

fn rules() -> impl Strategy<Value = Rule> {
    let nouns: Vec<Noun> = Noun::all().collect();
    let within = prop_oneof![
        Just(Within::Everywhere),
        Just(Within::Limit),
        subsequence(SYSTEMS.to_vec(), 0..3)
            .prop_map(|names| Within::Systems(names.into_iter().map(str::to_owned).collect())),
    ];
    let nodes = prop_oneof![Just(None), Just(Selector::parse("role=web").ok())];
    (subsequence(Verb::ALL.to_vec(), 0..4), subsequence(nouns, 0..8), within, nodes, any::<bool>()).prop_map(
        |(verbs, nouns, within, nodes, all)| Rule {
            verbs: Many::These(verbs.into_iter().collect()),
            nouns: if all { Many::All } else { Many::These(nouns.into_iter().collect()) },
            within,
            nodes,
        },
    )
}

/// Own roles `a` to `d`, and some of them held within some systems.
fn worlds() -> impl Strategy<Value = (Roles, Grant, Grant)> {
    let names = ["a", "b", "c", "d", VIEWER, OPERATOR, ADMIN, CI];
    let held = || {
        (subsequence(names.to_vec(), 0..4), subsequence(SYSTEMS.to_vec(), 0..3))
            .prop_map(|(roles, systems)| grant(&roles, &systems))
    };
    (proptest::collection::vec(proptest::collection::vec(rules(), 0..3), 4), held(), held()).prop_map(
        |(own, one, other)| {
            let mut roles = Roles::default();
            for (name, rules) in ["a", "b", "c", "d"].into_iter().zip(own) {
                roles.set(Role { name: name.into(), rules });
            }
            (roles, one, other)
        },
    )
}

fn asks() -> impl Strategy<Value = (Verb, Noun, Option<&'static str>, u8)> {
    let nouns: Vec<Noun> = Noun::all().collect();
    (select(Verb::ALL.to_vec()), select(nouns), proptest::option::of(select(SYSTEMS.to_vec())), 0..3_u8)
}

fn asked<'a>((verb, noun, system, nodes): (Verb, Noun, Option<&'a str>, u8), labels: &'a [Labels; 2]) -> Ask<'a> {
    let nodes = labels.get(usize::from(nodes)).map_or(Nodes::All, Nodes::One);
    Ask::new(verb, noun).within(system.map_or(Place::Everywhere, Place::System)).on(nodes)
}

fn labels() -> [Labels; 2] {
    ["web", "db"].map(|role| Labels::from([("role".to_owned(), role.to_owned())]))
}

fn holder(grant: Grant) -> Identity {
    Identity { operator: "x".into(), grant, token: None }
}

proptest! {
    #[test]
    fn one_more_role_never_allows_less((roles, one, other) in worlds(), question in asks()) {
        let labels = labels();
        let ask = asked(question, &labels);
        let mut both = one.clone();
        both.roles.extend(other.roles);
        let (before, after) = (decide(&holder(one), &roles, &ask), decide(&holder(both), &roles, &ask));
        prop_assert!(before.is_err() || after.is_ok(), "{ask:?}");
    }

    #[test]
    fn a_limit_never_allows_more((roles, one, other) in worlds(), question in asks()) {
        let labels = labels();
        let ask = asked(question, &labels);
        // A role that lives by the limit is the exception: without one it allows nothing.
        prop_assume!(!one.systems.is_empty());
        let narrowed: BTreeSet<String> = one.systems.intersection(&other.systems).cloned().collect();
        prop_assume!(!narrowed.is_empty());
        let narrow = Grant { systems: narrowed, ..one.clone() };
        prop_assert!(decide(&holder(narrow), &roles, &ask).is_err() || decide(&holder(one), &roles, &ask).is_ok());
    }

    #[test]
    fn a_token_never_allows_more_than_its_operator((roles, one, other) in worlds(), question in asks()) {
        let labels = labels();
        let ask = asked(question, &labels);
        let systems: Vec<String> = other.systems.iter().cloned().collect();
        let token = Some(TokenLimit::of(&one, "t", &other.roles, &systems));
        let with_token = Identity { token, ..holder(one.clone()) };
        prop_assert!(decide(&with_token, &roles, &ask).is_err() || decide(&holder(one), &roles, &ask).is_ok());
    }

    #[test]
    fn nobody_gives_what_they_do_not_have((roles, giver, given) in worlds(), question in asks()) {
        let labels = labels();
        let ask = asked(question, &labels);
        prop_assume!(exceeds(&holder(giver.clone()), &given, &roles).is_none());
        prop_assert!(decide(&holder(given), &roles, &ask).is_err() || decide(&holder(giver), &roles, &ask).is_ok());
    }

    #[test]
    fn without_a_role_nothing_is_allowed((roles, one, _) in worlds(), question in asks()) {
        let labels = labels();
        let nobody = Grant { roles: vec!["no such role".into()], ..one };
        prop_assert!(decide(&holder(nobody), &roles, &asked(question, &labels)).is_err());
    }

    #[test]
    fn what_the_first_look_refuses_no_second_one_allows((roles, one, _) in worlds(), question in asks()) {
        let labels = labels();
        let ask = asked(question, &labels);
        let first = ask.within(Place::Some).on(Nodes::Some);
        let exact = decide(&holder(one.clone()), &roles, &ask).is_ok();
        prop_assert!(!exact || decide(&holder(one.clone()), &roles, &first).is_ok());
        if let Noun::Spec(_) = question.1 {
            let any_kind = Ask { noun: None, ..first };
            prop_assert!(!exact || question.0 == Verb::Push || decide(&holder(one), &roles, &any_kind).is_ok());
        }
    }
}
