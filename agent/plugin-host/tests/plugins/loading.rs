//! What is compiled, what is loaded, and what is refused.

use crate::support::{check, companion, component, digest, host, request};
use hostler_plugin_host::{Cache, CompileError, LoadError, WASMTIME_VERSION};
use std::path::Path;

async fn refused(bytes: &[u8]) -> String {
    let folder = tempfile::tempdir().expect("tempdir");
    let cache = Cache::open(folder.path().join("cache")).expect("open");
    let path = folder.path().join("x.wasm");
    std::fs::write(&path, bytes).expect("write");
    match cache.compiled(&digest(&path), &path, &companion()).await {
        Err(CompileError::Compile { source, .. }) => source.to_string(),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn what_is_no_plugin_does_not_compile_and_says_why() {
    for (bytes, says) in [
        (&b"#!/bin/sh\n"[..], "not WebAssembly"),
        (b"\0asm\x01\0\0\0", "core module"),
        (b"\0asm\x0d\0\x01\0", "hostler-plugin pack"),
    ] {
        let said = refused(bytes).await;
        assert!(said.contains(says), "{said}");
    }
    // Packed, but its code is damaged.
    let mut bytes = std::fs::read(component("disk")).expect("read");
    let middle = bytes.len() / 2;
    bytes[middle..middle + 64].fill(0xff);
    let said = refused(&bytes).await;
    assert!(said.contains("does not compile") || said.contains("is no plugin"), "{said}");
}

#[tokio::test]
async fn damaged_code_is_refused_and_compiled_again() {
    let folder = tempfile::tempdir().expect("tempdir");
    let cache = Cache::open(folder.path().join("cache")).expect("open");
    let (host, component) = (host(), component("disk"));
    let digest = digest(&component);
    let compiled = cache.compiled(&digest, &component, &companion()).await.expect("compiles");
    host.load(&compiled).expect("loads");

    let mut bytes = std::fs::read(&compiled).expect("read");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    // As damage does it: another file in its place, with the mapped one as it was.
    let fresh = folder.path().join("fresh");
    std::fs::write(&fresh, &bytes).expect("write");
    std::fs::set_permissions(&fresh, std::os::unix::fs::PermissionsExt::from_mode(0o600)).expect("chmod");
    std::fs::rename(&fresh, &compiled).expect("rename");
    assert!(matches!(host.load(&compiled), Err(LoadError::Damaged { .. })));

    let plugin = host.load_cached(&cache, &digest, &component, &companion()).await.expect("compiles again");
    check(&plugin, request("{}", &[], true)).await.outcome.expect("works");
}

/// Honest checksum, wrong contents: the engine itself refuses it.
#[tokio::test]
async fn code_of_another_engine_is_refused() {
    let folder = tempfile::tempdir().expect("tempdir");
    let cache = Cache::open(folder.path().join("cache")).expect("open");
    let component = component("disk");
    let compiled = cache.compiled(&digest(&component), &component, &companion()).await.expect("compiles");
    std::fs::write(&compiled, b"\x7fELF no engine wrote this").expect("write");
    std::fs::write(compiled.with_extension("sha256"), digest(&compiled)).expect("write");
    assert!(matches!(host().load(&compiled), Err(LoadError::Incompatible { .. })));
}

#[tokio::test]
async fn a_compiler_that_runs_away_is_stopped() {
    let folder = tempfile::tempdir().expect("tempdir");
    let cache = Cache::open(folder.path().join("cache")).expect("open");
    let component = component("disk");
    let mut companion = companion();
    companion.memory_bytes_max = 8 << 20;
    let refused = cache.compiled(&digest(&component), &component, &companion).await;
    let refused = refused.expect_err("8 MiB are too few").to_string();
    assert!(refused.contains("Cannot allocate memory") || refused.contains("memory allocation"), "{refused}");
    companion.memory_bytes_max = 1 << 30;
    companion.seconds_max = 0;
    let refused = cache.compiled(&digest(&component), &component, &companion).await;
    let refused = refused.expect_err("no time at all").to_string();
    assert!(refused.contains("more than 0 s of processor time"), "{refused}");
    // And nothing half-made is left.
    let left = std::fs::read_dir(folder.path().join("cache")).expect("list").count();
    assert_eq!(left, 0);
}

/// A component that asks for an operating system is told what to do instead.
#[tokio::test]
async fn an_import_of_wasi_is_refused_with_advice() {
    let folder = tempfile::tempdir().expect("tempdir");
    let cache = Cache::open(folder.path().join("cache")).expect("open");
    let component = component("fixtures/wasi");
    let compiled = cache.compiled(&digest(&component), &component, &companion()).await.expect("compiles");
    let error = host().load(&compiled).err().expect("refused").to_string();
    assert!(error.contains("wasi:cli/environment") && error.contains("there is no WASI on a host"), "{error}");
}

/// Agent and compiler must be of one engine, and the cache's key must name it.
#[test]
fn both_lock_files_have_the_engine_we_name() {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    for lock in ["../../Cargo.lock", "../plugin-tool/Cargo.lock"] {
        let text = std::fs::read_to_string(here.join(lock)).expect(lock);
        let entry = format!("name = \"wasmtime\"\nversion = \"{WASMTIME_VERSION}\"\n");
        assert!(text.contains(&entry), "{lock} has another wasmtime than {WASMTIME_VERSION}");
    }
    assert!(hostler_plugin_host::ENGINE_KEY.contains(WASMTIME_VERSION));
}
