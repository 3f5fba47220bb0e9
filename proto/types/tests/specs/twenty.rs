//! One file with twenty mistakes of twenty kinds: one look tells them all.

use hostler_types::spec::{Source, SourceFile, compile};

/// After `#>` stand the column and a part of what is told about the line.
const SPEC: &str = r##"
system: {name: shop, zone: Europe/Berln}                      #> 28 no such time zone
node:
  web1: {labels: {backup: yes}}                               #> 27 true to many readers
  web2: {role: app}                                           #> 10 has no field "role"
plugin:
  http: {version: 1.10}                                       #> 19 should be text
secret:
  Web: {}                                                     #> 3 secret: "Web"
notifier:
  ops: {plug: smtp, with: {to: "ops"}}                        #> 9 no field "plug"
  admin: {plugin: smtp, with: {to: "${secret:nobody}"}}       #> 37 no secret nobody
budget:
  nodes: {where: all, max_down: many}                         #> 33 max_down
window:
  evening: {cron: 0 20 * * mon}                               #> 12 needs "for"
service:
  shop: {where: all, type: procss, command: bin/server}       #> 28 type is
  web: {where: all, command: "bin/web ${node.hostnam}"}       #> 39 a node has no "hostnam"
  api: {where: all, command: bin/api, needs: [shup]}          #> 47 names the service shup
  cache: {where: all, command: "bin/cache ${env:NOWHERE}"}    #> 43 NOWHERE is not set
check:
  disk: {where: role in (a, b), plugin: disk}                 #> 17 a comma between braces
  load: {where: all, plugin: load, every: 10}                 #> 43 has no unit
  disk: {where: all, plugin: disk}                            #> 3 stands twice
backup:
  shop: {where: all, cron: 0 25 * * *, paths: [/srv], to: s3} #> 28 hour
task:
  patch: {where: all, steps: []}                              #> 30 has no step
schedule:
  weekly: {cron: 0 8 * * mon}                                 #> 11 needs one of
objective:
  fast: {check: disk, target: high, over: 30d}                #> 31 target
alert:
  down: {metric: up, above: 1, below: 1, tell: [op]}          #> 49 names the notifier op
databse: {}                                                   #> 1 no kind
"##;

fn text_and_marks() -> (String, Vec<(usize, usize, &'static str)>) {
    let mut marks = Vec::new();
    let mut text = String::new();
    for (line, number) in SPEC.lines().zip(1..) {
        let (spec, mark) = line.split_once("#> ").unwrap_or((line, ""));
        if let Some((column, part)) = mark.split_once(' ') {
            marks.push((number, column.parse().expect("a column"), part));
        }
        text.push_str(spec.trim_end());
        text.push('\n');
    }
    (text, marks)
}

#[test]
fn one_file_with_twenty_mistakes_is_told_them_all_in_order() {
    let (text, marks) = text_and_marks();
    assert!(marks.len() >= 20, "{} mistakes", marks.len());
    let files = vec![SourceFile { path: "shop.yaml".to_owned(), text }];
    let problems = compile(&Source { files, ..Source::default() }).expect_err("a spec full of mistakes");
    let told: Vec<_> = problems.0.iter().map(|one| (one.file.as_str(), one.line, one.column)).collect();
    let want: Vec<_> = marks.iter().map(|(line, column, _)| ("shop.yaml", *line, *column)).collect();
    assert_eq!(told, want, "{problems}");
    for (problem, (line, _, part)) in problems.0.iter().zip(&marks) {
        assert!(problem.message.contains(part), "line {line}: {}", problem.message);
        assert!(problem.help.is_some(), "line {line}: {}", problem.message);
        let place = format!("shop.yaml:{line}:{}: ", problem.column);
        assert!(problem.to_string().starts_with(&place), "{problem}");
    }
}
