//! Every limit a plugin can meet, with its reason. None of them is meant to be
//! reached by an honest check.

use std::time::Duration;

/// How often a running guest is looked at: short enough that a check due in the
/// same moment is not late, long enough to cost nothing.
pub const EPOCH: Duration = Duration::from_millis(10);

/// Processor time of one run, host calls included. A check takes 25 us to 5 ms;
/// 500 ms is the slowest interpreter's first run with room to spare, and leaves
/// a spinning plugin stopped within a second.
pub const GUEST_CPU_MAX: Duration = Duration::from_millis(500);

/// The same by the clock on the wall, waits for the network apart: where other
/// programs leave a run less than two thirds of a processor, it still must not
/// keep the checks that share its thread waiting for more than a second.
pub const GUEST_ON_THREAD_MAX: Duration = Duration::from_millis(800);

/// A run that states no timeout.
pub const RUN_TIMEOUT: Duration = Duration::from_secs(10);

/// A host call ends this long before its run does, so that the plugin can still
/// say what timed out.
pub const HOST_CALL_MARGIN: Duration = Duration::from_millis(20);

/// Linear memory of one run: what Python and JavaScript need, several times a
/// Rust plugin's 1.2 MiB. The pool can't give more.
pub const MEMORY_BYTES_MAX: usize = 64 << 20;

/// Elements of all tables: QuickJS and CPython have some 10,000.
pub const TABLE_ELEMENTS_MAX: usize = 100_000;

/// What one host call may carry out of the guest: more than any report or log
/// line that is kept, and a request's whole body. The engine's own is 128 MiB.
pub const HOST_CALL_BYTES_MAX: usize = 1 << 20;

/// Handles to requests and responses at one time: a check that holds a hundred
/// leaks them.
pub const HANDLES_MAX: usize = 100;

/// Calls of one run: an honest check makes tens. At under 1 us each, reaching
/// this takes milliseconds, so a flood ends at once.
pub const HOST_CALLS_MAX: u32 = 10_000;

/// Runs at one time: what is due together beyond that waits its turn. Slow
/// checks wait for the network, so this is above the number of processors.
pub const RUNS_AT_ONCE: u32 = 32;

/// Core instances, memories and tables of one component: Python's have up to 50.
pub const PARTS_PER_COMPONENT: u32 = 50;

/// Core instances and tables in the pool: the usual component has three, so all
/// runs at once fit; one with [`PARTS_PER_COMPONENT`] takes several's share.
pub const PARTS_POOLED: u32 = 200;

/// Log lines of one run, their size, and the size of all.
pub const LOG_LINES_MAX: u32 = 100;
pub const LOG_LINE_BYTES_MAX: usize = 1024;
pub const LOG_BYTES_MAX: usize = 16 * 1024;

/// One line on a terminal or in an alert, and what a report may take in state
/// that is kept for every check of every node.
pub const SUMMARY_BYTES_MAX: usize = 512;
pub const REPORT_BYTES_MAX: usize = 4 * 1024;

/// What of a fault's own text is kept: an engine's error chain has no bound.
pub const FAULT_BYTES_MAX: usize = 1024;

/// Body of a response: 64 KiB unless the plugin asks for more, up to 1 MiB.
pub const HTTP_BODY_BYTES: u32 = 64 * 1024;
pub const HTTP_BODY_BYTES_MAX: u32 = 1 << 20;

/// Status line and headers of a response: what nginx and Envoy let through.
pub const HTTP_HEAD_BYTES_MAX: usize = 64 * 1024;

/// Redirects that a plugin may ask to follow: browsers stop at 20, and a check
/// that needs more than 10 watches the wrong address.
pub const HTTP_REDIRECTS_MAX: u8 = 10;

/// Requests of one run, redirects apart: a check asks one target, perhaps each
/// of its parts; more is a load test.
pub const HTTP_REQUESTS_MAX: u32 = 50;

/// Headers a plugin may set.
pub const HTTP_REQUEST_HEADERS_MAX: usize = 64;

/// For one address of a name with several, while others are left to try.
pub const CONNECT_ONE_ADDRESS: Duration = Duration::from_secs(3);

/// Configurations remembered as valid for one plugin.
pub const CONFIGS_REMEMBERED_MAX: usize = 256;

/// What the system interface read is given again for so long: checks that are
/// due together share one reading.
pub const SYSTEM_SNAPSHOT_AGE_MAX: Duration = Duration::from_millis(900);

/// The same of the names of all processes: for those of one wake-up alone, since a
/// program that was started meanwhile is only seen at the next look.
pub const PROCESS_NAMES_AGE_MAX: Duration = Duration::from_millis(20);

/// How long a network filesystem may take to say how full it is.
pub const FILESYSTEM_PROBE: Duration = Duration::from_secs(1);

/// Filesystems in one answer: a container host has hundreds of mounts.
pub const FILESYSTEMS_MAX: usize = 512;

/// Metrics of one run: an exporter's page has hundreds; a plugin with more has
/// put something unbounded into an attribute.
pub const SERIES_MAX: usize = 1_000;
pub const SERIES_ATTRS_MAX: usize = 16;
/// Names and values of attributes, and metrics' names.
pub const SERIES_WORD_BYTES_MAX: usize = 128;

/// Names of secrets are names of files; the longest a file may have.
pub const SECRET_NAME_BYTES_MAX: usize = 255;

/// A private key with its chain is some 10 KiB.
pub const SECRET_BYTES_MAX: u64 = 64 * 1024;

/// Interfaces and disks in one answer: a container host has one interface for
/// each container, a storage host hundreds of disks.
pub const NETWORKS_MAX: usize = 512;
pub const DISKS_MAX: usize = 512;

/// Random bytes of one call, as the interface says.
pub const RANDOM_BYTES_MAX: usize = 4096;

/// Connections of one run, closed ones too: a check asks one server, perhaps
/// each of a cluster.
pub const CONNECTIONS_MAX: usize = 50;

/// Threads that wait for files. More than this many wait only where a filesystem
/// hangs, and each of them keeps a thread until it answers.
pub const BLOCKING_THREADS_MAX: usize = 16;

/// What one read of a file gives: as much as a response's body.
pub const FILE_READ_BYTES_MAX: u32 = 1 << 20;

/// Files looked at for one pattern: some 50 ms of work, which can't be stopped.
pub const GLOB_ENTRIES_MAX: usize = 20_000;

/// Names in one answer: a queue folder that is worth an alarm has fewer.
pub const GLOB_PATHS_MAX: u32 = 10_000;

/// What is kept of each of a program's two outputs: a plugin of the Nagios kind
/// says a line, a tool with JSON some pages.
pub const COMMAND_OUTPUT_BYTES_MAX: usize = 64 * 1024;

/// For what is still in the pipes of a program that has ended.
pub const COMMAND_PIPES_GRACE: Duration = Duration::from_millis(100);

/// What a check may keep between runs: marks, counts and hashes, no archive. A
/// thousand checks at their limit are 64 MB on a disk.
pub const KV_KEYS_MAX: usize = 100;
pub const KV_KEY_BYTES_MAX: usize = 256;
pub const KV_VALUE_BYTES_MAX: usize = 16 * 1024;
pub const KV_BYTES_MAX: usize = 64 * 1024;

/// Values are text or hex, so a byte takes at most six.
pub const KV_FILE_BYTES_MAX: u64 = 1 << 20;

/// Checks whose state stays in memory; the others' is read again. At their
/// limits 16 MB, usually some kilobytes.
pub const KV_INSTANCES_LOADED_MAX: usize = 256;

/// What one receive gives: what a socket's buffer usually holds.
pub const TCP_RECEIVE_BYTES_MAX: u32 = 64 * 1024;

/// Until TLS begins: an SMTP server names some ten of its abilities, and a line
/// has at most 1000 characters.
pub const STARTTLS_LINES_MAX: usize = 100;
pub const STARTTLS_LINE_BYTES_MAX: usize = 1000;

/// Until a question to a name server is asked again, then twice as long: as
/// common resolvers do, well within a run's timeout.
pub const DNS_ASK_AGAIN: Duration = Duration::from_secs(1);

/// Pings of one call, the time between them, and how long the last is waited for:
/// loss of one in twenty is seen in four seconds, and nobody is flooded.
pub const PING_COUNT_MAX: u32 = 20;
pub const PING_INTERVAL: Duration = Duration::from_millis(200);
pub const PING_WAIT: Duration = Duration::from_secs(1);

/// Cursors of one run.
pub const CURSORS_MAX: usize = 20;

/// Lines of one call and their bytes: what a plugin asks for beyond that it gets
/// with the next call. Read in steps, as most calls want few lines.
pub const CURSOR_LINES_MAX: u32 = 10_000;
pub const CURSOR_BYTES_MAX: u32 = 1 << 20;
pub const CURSOR_CHUNK_BYTES: usize = 64 * 1024;

/// Processes in one answer: some 300 KB, and a check that wants more of them
/// wants their number only.
pub const PROCESSES_MAX: u32 = 1000;

/// What is read of one file about a process: a Java command line has some pages.
pub const PROCESS_FILE_BYTES_MAX: u64 = 16 * 1024;

/// Containers in one answer, each asked for by itself, and what the engine may
/// say at once: it lists some thousand in this.
pub const CONTAINERS_MAX: u32 = 200;
pub const CONTAINERS_BYTES_MAX: u32 = 8 << 20;

/// Units in one answer: a host has some hundreds of them, of all kinds.
pub const UNITS_MAX: u32 = 500;
