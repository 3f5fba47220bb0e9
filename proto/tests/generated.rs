//! The generated code is committed; this test says when it is out of date, and
//! makes it anew with `cargo xtask codegen`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::fs;
use std::path::Path;

const FILES: [&str; 3] =
    ["hostler/agent/v1/agent.proto", "hostler/admin/v1/admin.proto", "hostler/store/v1/store.proto"];

#[test]
fn generated_code_matches_the_proto_files() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let committed = root.join("src/generated");
    let fresh = tempfile::tempdir().unwrap();
    let descriptors = protox::compile(FILES, [root]).expect("compile the proto files");
    tonic_prost_build::configure()
        .out_dir(fresh.path())
        .bytes(".hostler.agent.v1.FetchChunk.data")
        .bytes(".hostler.admin.v1.PushPluginRequest.data")
        .compile_fds(descriptors)
        .expect("generate code");
    let regenerate = std::env::var_os("HOSTLER_REGENERATE").is_some();
    for entry in fs::read_dir(fresh.path()).unwrap() {
        let name = entry.unwrap().file_name();
        let new = fs::read_to_string(fresh.path().join(&name)).unwrap();
        if regenerate {
            fs::write(committed.join(&name), &new).unwrap();
        }
        let old = fs::read_to_string(committed.join(&name)).unwrap_or_default();
        assert!(old == new, "{} is out of date: run `cargo xtask codegen`", name.display());
    }
}
