//! `hostlerctl plugin top`

use crate::cli::Format;
use crate::output::{Cell, Out};
use crate::problem::Problem;
use hostler_proto::admin as wire;
use hostler_proto::agent::PluginBill;
use hostler_types::units::format_size;
use serde_json::json;
use std::collections::BTreeMap;

/// One line: the plugin, on one node or on all.
struct Line {
    plugin: String,
    node: Option<String>,
    nodes: usize,
    bill: PluginBill,
}

/// Of many nodes: what is used up is added, the most memory is the most.
fn add(sum: &mut PluginBill, one: &PluginBill) {
    sum.runs += one.runs;
    sum.faults += one.faults;
    sum.wall_us += one.wall_us;
    sum.cpu_us += one.cpu_us;
    sum.memory_peak_bytes = sum.memory_peak_bytes.max(one.memory_peak_bytes);
    sum.calls += one.calls;
    sum.bytes += one.bytes;
    sum.series += one.series;
    sum.log_lines_dropped += one.log_lines_dropped;
}

fn lines(answer: &wire::ListPluginBillsResponse, by_node: bool) -> Vec<Line> {
    let mut found: BTreeMap<(String, Option<String>), Line> = BTreeMap::new();
    for one in &answer.bills {
        let bill = one.bill.clone().unwrap_or_default();
        let node = by_node.then(|| one.node.clone());
        let line = found.entry((bill.plugin.clone(), node.clone())).or_insert_with(|| Line {
            plugin: bill.plugin.clone(),
            node,
            nodes: 0,
            bill: PluginBill::default(),
        });
        line.nodes += 1;
        add(&mut line.bill, &bill);
    }
    let mut lines: Vec<Line> = found.into_values().collect();
    lines.sort_by_key(|line| std::cmp::Reverse(line.bill.cpu_us));
    lines
}

pub fn print(out: &Out, format: Format, answer: &wire::ListPluginBillsResponse, by_node: bool) -> Result<(), Problem> {
    let lines = lines(answer, by_node);
    if format != Format::Table {
        let one = |line: &Line| {
            let bill = &line.bill;
            json!({
                "plugin": line.plugin, "node": line.node, "nodes": line.nodes, "runs": bill.runs,
                "faults": bill.faults, "cpu_us": bill.cpu_us, "wall_us": bill.wall_us,
                "memory_peak_bytes": bill.memory_peak_bytes, "calls": bill.calls, "bytes": bill.bytes,
                "series": bill.series, "log_lines_dropped": bill.log_lines_dropped,
            })
        };
        return out.json(&lines.iter().map(one).collect::<Vec<_>>());
    }
    if lines.is_empty() {
        return out.line("no node has run a plugin yet; agents tell what theirs cost every few seconds");
    }
    let row = |line: &Line| {
        let bill = &line.bill;
        vec![
            Cell::new(&line.plugin),
            Cell::new(line.node.clone().unwrap_or_else(|| line.nodes.to_string())),
            Cell::new(bill.runs.to_string()),
            Cell::new(bill.faults.to_string()),
            Cell::new(micros(bill.cpu_us)),
            Cell::new(micros(bill.cpu_us.checked_div(bill.runs).unwrap_or(0))),
            Cell::new(format_size(bill.memory_peak_bytes)),
            Cell::new(bill.calls.to_string()),
            Cell::new(format_size(bill.bytes)),
            Cell::new(bill.series.to_string()),
        ]
    };
    let where_ = if by_node { "NODE" } else { "NODES" };
    let head = ["PLUGIN", where_, "RUNS", "FAULTS", "CPU", "CPU/RUN", "MEMORY", "CALLS", "BYTES", "SERIES"];
    out.print(&out.table(&head, &lines.iter().map(row).collect::<Vec<_>>()))
}

/// Three figures: 27 us, 1.20 ms, 3.4 s.
fn micros(us: u64) -> String {
    let value = us as f64;
    match us {
        0..1_000 => format!("{us} us"),
        1_000..1_000_000 => format!("{:.2} ms", value / 1e3),
        _ => format!("{:.1} s", value / 1e6),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_are_added_up_and_the_dearest_comes_first() {
        let bill = |node: &str, plugin: &str, cpu_us, memory| wire::NodeBill {
            node: node.into(),
            bill: Some(PluginBill {
                plugin: plugin.into(),
                cpu_us,
                memory_peak_bytes: memory,
                ..PluginBill::default()
            }),
        };
        let bills = vec![bill("a", "disk", 10, 5), bill("b", "disk", 20, 3), bill("a", "http", 100, 1)];
        let answer = wire::ListPluginBillsResponse { bills };
        let seen: Vec<_> = lines(&answer, false)
            .into_iter()
            .map(|line| (line.plugin, line.nodes, line.bill.cpu_us, line.bill.memory_peak_bytes))
            .collect();
        assert_eq!(seen, [("http".to_owned(), 1, 100, 1), ("disk".to_owned(), 2, 30, 5)]);
        assert_eq!(lines(&answer, true).len(), 3);
        assert_eq!([27, 1_200, 3_400_000].map(micros), ["27 us", "1.20 ms", "3.4 s"]);
    }
}
