//! `hostlerctl explain` and `schema`: the spec language itself. They need no
//! control plane.

use crate::cli::{ExplainArgs, SchemaArgs};
use crate::output::Out;
use crate::problem::Problem;
use hostler_types::spec::{self, Flavour};

pub fn explain(out: &Out, args: &ExplainArgs) -> Result<(), Problem> {
    let told = spec::explain(args.path.as_deref().unwrap_or_default());
    out.print(&told.map_err(|error| Problem::Usage(error.to_string()))?)
}

pub fn schema(out: &Out, args: &SchemaArgs) -> Result<(), Problem> {
    out.print(&spec::schema_text(if args.overlay { Flavour::Overlay } else { Flavour::Spec }))
}
