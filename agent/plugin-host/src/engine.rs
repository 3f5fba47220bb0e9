//! The engine's settings: one function for the agent, which runs, and for
//! hostler-plugin, which compiles. Code compiled under other settings is
//! refused when it is loaded.

use crate::limits;
use wasmtime::{Config, Enabled, InstanceAllocationStrategy, PoolingAllocationConfig};

/// The engine that both sides link. A test compares it with both lock files.
pub const WASMTIME_VERSION: &str = "48.0.8";

/// Names compiled code in the cache, so that a new engine or new settings find
/// none. The runtime can't compute the compiler's own compatibility hash; what
/// this misses, loading still refuses. Raise the number with [`engine_config`].
pub const ENGINE_KEY: &str = "wasmtime-48.0.8-2";

/// Wasm stack: C's default and Rust's are in linear memory, this one holds
/// frames only; 512 KiB is the engine's default.
const WASM_STACK_BYTES: usize = 512 << 10;

/// Each run's own stack: the guest's, and the host calls on top of it, of which
/// a TLS handshake is the deepest. Touched only as far as used.
const FIBER_STACK_BYTES: usize = 2 << 20;

/// Pages of a finished run that are cleared by hand instead of given back:
/// about what a small plugin touches, so that its next run takes no page faults.
const KEEP_RESIDENT_BYTES: usize = 64 << 10;

/// Slots that keep a plugin's memory image mapped. Mapping it again costs 5 us;
/// keeping it costs what is kept resident.
const WARM_SLOTS: u32 = 16;

pub fn engine_config() -> Config {
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(limits::RUNS_AT_ONCE)
        .total_stacks(limits::RUNS_AT_ONCE)
        .total_memories(limits::RUNS_AT_ONCE * 2)
        .total_core_instances(limits::PARTS_POOLED)
        .total_tables(limits::PARTS_POOLED)
        .max_core_instances_per_component(limits::PARTS_PER_COMPONENT)
        .max_tables_per_component(limits::PARTS_PER_COMPONENT)
        .max_memories_per_component(4)
        .max_memory_size(limits::MEMORY_BYTES_MAX)
        .table_elements(limits::TABLE_ELEMENTS_MAX)
        .max_unused_warm_slots(WARM_SLOTS)
        .linear_memory_keep_resident(KEEP_RESIDENT_BYTES)
        .table_keep_resident(KEEP_RESIDENT_BYTES)
        .async_stack_keep_resident(KEEP_RESIDENT_BYTES)
        // From Linux 6.7 on: clears what was touched instead of what might have
        // been. A run of `disk` takes 27 us with it, 43 without.
        .pagemap_scan(Enabled::Auto);

    let mut config = Config::new();
    config
        .epoch_interruption(true)
        .max_wasm_stack(WASM_STACK_BYTES)
        .async_stack_size(FIBER_STACK_BYTES)
        .async_stack_zeroing(true)
        .memory_init_cow(true)
        // Plugins are packed without names: frames of `<unknown>` help nobody.
        .wasm_backtrace_max_frames(None)
        .generate_address_map(false)
        .wasm_relaxed_simd(false)
        .wasm_memory64(false)
        .wasm_component_model(true)
        .allocation_strategy(InstanceAllocationStrategy::Pooling(pool));
    config
}
