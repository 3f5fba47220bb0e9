//! `hostlerctl context`

use crate::cli::{ContextCommand, Format, Global};
use crate::client::{ClientError, Opened, open_contexts, write_contexts};
use crate::output::{Cell, Out};
use crate::problem::Problem;
use serde_json::json;

pub fn run(global: &Global, out: &Out, command: ContextCommand) -> Result<(), Problem> {
    let Opened { path, mut contexts } = open_contexts(global)?;
    match command {
        ContextCommand::Ls => {
            let chosen = contexts.choose(global.context.as_deref()).ok().map(|(name, _)| name.to_owned());
            if global.output != Format::Table {
                let list = contexts.contexts.iter().map(|(name, context)| {
                    json!({
                        "name": name,
                        "current": chosen.as_deref() == Some(name),
                        "addresses": context.addresses,
                        "operator": context.operator,
                    })
                });
                return out.json(&list.collect::<Vec<_>>());
            }
            let row = |(name, context): (&String, &hostler_proto::context::Context)| {
                let mark = if chosen.as_deref() == Some(name) { "*" } else { "" };
                vec![
                    Cell::new(mark),
                    Cell::new(name),
                    Cell::new(&context.operator),
                    Cell::new(context.addresses.join(", ")),
                ]
            };
            let rows: Vec<_> = contexts.contexts.iter().map(row).collect();
            out.print(&out.table(&["", "CONTEXT", "OPERATOR", "CONTROL PLANE"], &rows))
        }
        ContextCommand::Use { name } => {
            contexts.choose(Some(&name)).map_err(|source| ClientError::Context { path: path.clone(), source })?;
            contexts.current = Some(name.clone());
            write_contexts(&path, &contexts)?;
            out.line(format!("{name} is asked from now on."))
        }
    }
}
