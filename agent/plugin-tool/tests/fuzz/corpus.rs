//! Small guests that each break one rule. Each says in its first line how its
//! first run ends, and all are material for mutation.

use crate::interface::World;
use std::path::Path;

pub struct Odd {
    pub name: String,
    pub ends: String,
    pub component: Vec<u8>,
}

pub fn read(check: &World) -> Vec<Odd> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/corpus");
    let mut paths: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    let read = |path: &std::path::PathBuf| {
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        let text = std::fs::read_to_string(path).unwrap();
        let ends = text.lines().next().and_then(|line| line.strip_prefix(";; ends: ")).expect(&name).to_owned();
        let core = wat::parse_str(&text).unwrap_or_else(|error| panic!("{name}: {error}"));
        let component = check.component(core).unwrap_or_else(|error| panic!("{name}: {error}"));
        Odd { name, ends, component }
    };
    paths.iter().map(read).collect()
}
