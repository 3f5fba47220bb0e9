//! The generated code is committed; this test says when it is out of date, and
//! makes it anew with `cargo xtask codegen`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use prost::Message;
use prost_types::FileDescriptorSet;
use std::fs;
use std::path::Path;

const FILES: [&str; 3] =
    ["hostler/agent/v1/agent.proto", "hostler/admin/v1/admin.proto", "hostler/store/v1/store.proto"];

#[test]
fn generated_code_matches_the_proto_files() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let committed = root.join("src/generated");
    let fresh = tempfile::tempdir().unwrap();
    let set = protox::compile(FILES, [root]).expect("compile the proto files");
    tonic_prost_build::configure()
        // Signed: the same always encodes the same.
        .btree_map(".hostler.agent.v1.ServiceAssignment")
        .btree_map(".hostler.agent.v1.Program")
        .btree_map(".hostler.agent.v1.FileAssignment")
        .btree_map(".hostler.agent.v1.TaskCommand")
        .out_dir(fresh.path())
        .bytes(".hostler.agent.v1.FetchChunk.data")
        .bytes(".hostler.admin.v1.PushPluginRequest.data")
        .compile_fds(set.clone())
        .expect("generate code");
    fs::write(fresh.path().join("descriptors.bin"), without_comments(set).encode_to_vec()).unwrap();
    let regenerate = std::env::var_os("HOSTLER_REGENERATE").is_some();
    for entry in fs::read_dir(fresh.path()).unwrap() {
        let name = entry.unwrap().file_name();
        let new = fs::read(fresh.path().join(&name)).unwrap();
        if regenerate {
            fs::write(committed.join(&name), &new).unwrap();
        }
        let old = fs::read(committed.join(&name)).unwrap_or_default();
        assert!(old == new, "{} is out of date: run `cargo xtask codegen`", name.display());
    }
}

/// What programs read of the descriptors; comments are for people, who have the
/// files.
fn without_comments(mut set: FileDescriptorSet) -> FileDescriptorSet {
    for file in &mut set.file {
        file.source_code_info = None;
    }
    set
}
