use super::*;

/// 14:07 UTC.
const NOW_MS: u64 = 1_772_374_020_000;
const HOUR_MS: u64 = 3_600_000;

fn freeze(selector: &str, until_ms: u64, reason: &str) -> wire::Brake {
    wire::Brake {
        kind: "frozen".into(),
        selector: selector.into(),
        since_ms: NOW_MS,
        until_ms,
        by: "admin".into(),
        reason: reason.into(),
        ..wire::Brake::default()
    }
}

fn works(node: &str, until_ms: u64) -> wire::Brake {
    wire::Brake {
        kind: "maintenance".into(),
        node: node.into(),
        selector: String::new(),
        ..freeze("", until_ms, "disk")
    }
}

#[test]
fn how_holding_back_reads() {
    let for_an_hour = freeze("all", NOW_MS + HOUR_MS, "storage work");
    let of_some = freeze("role in (web, db)", NOW_MS + 40 * HOUR_MS, "");
    let for_ever = freeze("role=web", 0, "\u{1b}[2J\nx");
    let cause = wire::Brake {
        kind: "common-cause".into(),
        check: "web".into(),
        words: "check web fails on 6 of 6 nodes since 14:02 UTC".into(),
        ..wire::Brake::default()
    };
    let mut text = String::new();
    for one in [&for_an_hour, &of_some, &for_ever] {
        text.push_str(&format!("$ hostlerctl freeze\n{}", frozen(one, NOW_MS)));
        text.push_str(&format!("$ hostlerctl thaw\n{}\n\n", thawed(one)));
    }
    let nodes = ["web1", "web2"].map(|node| works(node, NOW_MS + HOUR_MS));
    let names = vec!["web1".to_owned(), "web2".to_owned()];
    let on = wire::SetMaintenanceResponse { maintenance: nodes.to_vec(), nodes: names.clone(), wall_ms: NOW_MS };
    let off = wire::SetMaintenanceResponse { maintenance: Vec::new(), ..on.clone() };
    text.push_str(&format!("$ hostlerctl node maintenance web1 web2 on\n{}", maintained(&on)));
    text.push_str(&format!("$ hostlerctl node maintenance web1 web2 off\n{}\n", maintained(&off)));
    let mut brakes = vec![for_an_hour, of_some, for_ever, cause];
    brakes.extend((1..=5).map(|number| works(&format!("web{number}"), if number == 1 { NOW_MS + HOUR_MS } else { 0 })));
    text.push_str("under a listing\n");
    for line in lines(&wire::ListBrakesResponse { brakes, wall_ms: NOW_MS }) {
        text.push_str(&format!("{line}\n"));
    }
    insta::assert_snapshot!(text);
    assert!(lines(&wire::ListBrakesResponse { brakes: Vec::new(), wall_ms: NOW_MS }).is_empty());
}
