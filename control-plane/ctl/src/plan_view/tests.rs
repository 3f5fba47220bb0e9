use super::*;

fn change(act: &str, kind: &str, name: &str, effect: &str) -> wire::Change {
    wire::Change { kind: kind.into(), name: name.into(), act: act.into(), effect: effect.into(), fields: Vec::new() }
}

fn field(path: &str, before: &str, after: &str) -> wire::FieldChange {
    wire::FieldChange { path: path.into(), before_json: before.into(), after_json: after.into() }
}

fn plan() -> wire::PlanResponse {
    let mut service = change(
        "update",
        "service",
        "revitron",
        "restarts revitron on 3 nodes, one at a time; accepted; takes effect in a later version",
    );
    let (old, new) = ("a".repeat(64), "b".repeat(64));
    service.fields = vec![
        field("restart.delay", "\"10s\"", "\"20s\""),
        field("env.LOG_LEVEL", "", "\"debug\""),
        field("user", "\"root\"", ""),
        field(
            "release.files.\"config/production.yaml\"",
            &format!("\"files/p@sha256:{old}\""),
            &format!("\"files/p@sha256:{new}\""),
        ),
        field("validate", "", &format!("\"files/validate.sh@sha256:{new}\"")),
        field("command", &format!("\"{}\"", "x".repeat(90)), &format!("\"{}\"", "y".repeat(90))),
    ];
    wire::PlanResponse {
        system: "revitron".into(),
        env_before: "prod".into(),
        env: "prod".into(),
        seen: 11,
        changes: vec![
            change("create", "check", "health\u{1b}[2J", "runs on 3 nodes"),
            change("delete", "backup", "nightly", "accepted; takes effect in a later version"),
            service,
            change("unchanged", "check", "disk", ""),
        ],
        notes: vec!["no node has role=drill yet: backup revitron".into()],
        ..wire::PlanResponse::default()
    }
}

fn by_anna() -> Provenance {
    Some(" by anna, 2h ago".to_owned())
}

#[test]
fn a_plan_reads_well_and_fits() {
    let files = FileChanges::from([(("a".repeat(64), "b".repeat(64)), (3, 1))]);
    insta::assert_snapshot!(render(&plan(), &files, &by_anna(), &Out::plain(None)), @r#"
    plan for revitron (prod), against version 11 by anna, 2h ago

      delete  backup nightly         accepted; takes effect in a later version
      create  check health\u{1b}[2J  runs on 3 nodes
      update  service revitron       restarts revitron on 3 nodes, one at a time;
                                     accepted; takes effect in a later version
              restart.delay         10s -> 20s
              env.LOG_LEVEL         + debug
              user                  - root
              release.files.…duction.yaml"  files/p  +3 -1 lines
              validate              + files/validate.sh@bbbbbbbb
              command               xxxxxxxxxxx…xxxxxxxxxx -> yyyyyyyyyyy…yyyyyyyyyy
      note    no node has role=drill yet: backup revitron

    1 to delete, 1 to create, 1 to update, 1 unchanged.
    "#);
}

#[test]
fn what_is_deleted_is_red_and_comes_first() {
    let text = render(&plan(), &FileChanges::new(), &None, &Out::coloured());
    let acts: Vec<&str> = text.lines().filter(|line| line.starts_with("  \u{1b}")).collect();
    assert!(acts[0].starts_with("  \u{1b}[31mdelete\u{1b}[0m  backup nightly"), "{acts:?}");
    assert!(acts[1].starts_with("  \u{1b}[32mcreate\u{1b}[0m  check"), "{acts:?}");
    assert!(acts[2].starts_with("  \u{1b}[33mupdate\u{1b}[0m  service"), "{acts:?}");
    let plain = render(&plan(), &FileChanges::new(), &None, &Out::plain(None));
    assert!(!plain.contains('\u{1b}'), "{plain:?}");
}

#[test]
fn whatever_the_answer_holds_lines_fit_and_nothing_moves_the_cursor() {
    let nasty = ["\u{1b}]0;gone\u{7}", "一二三四五六七八九十", "a", "\u{202e}x\r\n\u{9b}2J", "", "x/y/z.", "e\u{301}"];
    for (index, text) in nasty.iter().enumerate() {
        let long = text.repeat(60);
        let json = serde_json::json!(long).to_string();
        let mut one = change("update", text, &text.repeat(3), &format!("{long} {long} and {text}"));
        one.fields = vec![field(&long, &json, &json), field(text, "", &json), field("\u{1b}", &long, "{")];
        let plan = wire::PlanResponse {
            system: text.repeat(3),
            env_before: "\u{1b}[2J".into(),
            env: text.repeat(2),
            seen: index as u64,
            changes: vec![one],
            notes: vec![long],
            ..wire::PlanResponse::default()
        };
        let shown = render(&plan, &FileChanges::new(), &Some(text.repeat(9)), &Out::plain(None));
        assert!(!shown.chars().any(|c| c.is_control() && c != '\n'), "{shown:?}");
        let wide: Vec<_> = shown.lines().filter(|line| line.width() > WIDTH).collect();
        // A kind and a name are never cut.
        assert!(wide.iter().all(|line| line.starts_with("  update")), "{wide:#?}");
    }
}

#[test]
fn nothing_to_do_says_so() {
    let mut plan = plan();
    plan.changes.retain(|change| change.act == "unchanged");
    plan.notes.clear();
    let told = render(&plan, &FileChanges::new(), &by_anna(), &Out::plain(None));
    assert_eq!(told, "nothing to do: revitron (prod) is at version 11\n");
}

#[test]
fn another_environment_is_pointed_out() {
    let told = |env: &str| {
        let plan = wire::PlanResponse { env: env.into(), ..plan() };
        render(&plan, &FileChanges::new(), &None, &Out::plain(None)).lines().nth(1).unwrap_or_default().to_owned()
    };
    assert_eq!(told("staging"), "it was applied with --env prod until now, and this is --env staging");
    assert_eq!(told(""), "it was applied with --env prod until now, and this is without one");
    assert_eq!(told("prod"), "");
}

#[test]
fn more_than_anybody_reads_is_counted() {
    let mut plan = plan();
    plan.changes = (0..5_000).map(|number| change("create", "check", &format!("c{number}"), "")).collect();
    plan.changes.push(change("delete", "check", "last", ""));
    let text = render(&plan, &FileChanges::new(), &None, &Out::plain(None));
    assert!(text.lines().count() < 220 && text.contains("  delete  check last\n"), "{text}");
    assert!(text.contains("and 4801 more: -o json shows all"), "{text}");
    assert!(text.ends_with("1 to delete, 5000 to create.\n"), "{text}");
}

#[test]
fn a_question_names_what_goes() {
    let mut plan = plan();
    assert_eq!(gone(&plan).as_deref(), Some("1 object of revitron (prod) will be deleted: backup nightly."));
    plan.changes = (0..7).map(|number| change("delete", "check", &format!("c{number}"), "")).collect();
    let told = gone(&plan).unwrap_or_default();
    assert!(told.starts_with("7 objects") && told.ends_with("check c4 and 2 more."), "{told}");
    plan.changes.clear();
    assert_eq!(gone(&plan), None);
}

#[test]
fn who_was_faster_is_told() {
    let versions = [wire::Version {
        number: 12,
        by: "anna".into(),
        message: "slower still\n\u{1b}[2J".into(),
        named: vec!["update service revitron".into(), "delete check disk".into()],
        more: 3,
        ..wire::Version::default()
    }];
    insta::assert_snapshot!(since("revitron", 11, &versions, |_| "2m ago".to_owned()), @r#"
    revitron changed under this plan, and nothing was applied. Since version 11:
      version 12 by anna, 2m ago "slower still \u{1b}[2J"
        update service revitron
        delete check disk
        and 3 more
    Plan again, look at it, and apply that.
    "#);
}
