//! Whatever stands in a folder, it is read or refused: soon, in little memory,
//! without a panic.
//!
//! The inputs are mutations of good and wrong specs, the same for the same seed.
//! They are tried in a process of their own, whose memory is theirs alone. What
//! it trips over is kept in a file that the failure names.

use crate::folder;
use crate::random::Rng;
use hostler_types::Name;
use hostler_types::spec::{Detail, EnvSource, Source, SourceFile, compile, write_yaml};
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

const INPUT_BYTES_MAX: usize = 1024 * 1024;
const LONGEST: Duration = Duration::from_secs(2);
const MEMORY_KIB_MAX: u64 = 100 * 1024;
const SECONDS: &str = "HOSTLER_FUZZ_SECONDS";
const SEED: &str = "HOSTLER_FUZZ_SEED";

const WRONG: &[&str] = &[
    "",
    "check:\n\tdisk: {where: all}\n",
    "check: {disk: {where: all, plugin: disk, every: 10}}\n",
    "check:\n  disk:\n    where: all\n   plugin: disk\n",
    "check:\n  a: &x {where: all, plugin: a}\n  b: *x\n  c:\n    <<: *x\n",
    "a: &a [x]\nb: &b [*a, *a]\nc: &c [*b, *b]\nd: [*c, *c]\n",
    "service:\n  a: {where: role in (a, b), command: ${secret:x}, env: {A: no, B: 010, C: 12:30:45}}\n",
    "system: {name: shop}\nsystem: {name: shop}\nnode: []\nnodes: {a: {}}\n",
    "---\ncheck: {}\n---\ncheck: {}\n",
    "task: {a: {where: all, steps: [drain, {run: a, check: b}, 'x', \"\\u00zz\", !!int 5]}}\n",
    "alert:\n  a: {logs: b, above: 1e999, within: 99999999999999999999d}\n  ? [x, y]\n  : z\n",
    "window: {w: {cron: '* * 31 2 *', for: 4h, zone: Europa/Berlin}}\nobjective: {o: {check: c, metric: m, over: 1w}}\n",
    "backup:\n  b:\n    where: \"all\n    paths: [/a\n    cron: 0 2 * * *\n    to: |\n      a\n     b\n",
    "plugin: {p: {allow: {http: [ftp://x, 'https://*.*']}}}\nsecret:\n  s:\n  t: ~\n  U: {}\nversion: 2\n",
];

/// What means something to YAML, to JSON or to specs.
const PIECES: &[&str] = &[
    "[",
    "]",
    "{",
    "}",
    "- ",
    ": ",
    ":",
    "? ",
    ", ",
    "#",
    " #",
    "&a ",
    "*a",
    "!x ",
    "!!str ",
    "|",
    ">",
    "|+\n",
    ">-\n",
    "'",
    "\"",
    "\\",
    "\\x",
    "\\u",
    "%YAML 1.2\n",
    "---\n",
    "...\n",
    "<<: ",
    "~",
    "null",
    "no",
    "010",
    "0x1F",
    "1e999",
    "-",
    "\t",
    "\n",
    "\r",
    "\r\n",
    "\u{0}",
    "\u{7f}",
    "\u{85}",
    "\u{2028}",
    "\u{feff}",
    "\u{ffff}",
    "é",
    "日本",
    "😀",
    "\u{202e}",
    "${",
    "${env:A}",
    "${secret:a}",
    "$${",
    "${file}",
    "}",
    "system:",
    "version: 1\n",
    "check:\n",
    "all",
    "role in (",
    ")",
    "!",
    "=",
    "0 2 * * *",
    "*/0",
    "10s",
    "99999999999999999999",
    "18446744073709551616d",
    "1.5GiB",
    "100%",
    "files/",
    "../",
    "@sha256:",
];

fn seeds() -> Vec<String> {
    let mut seeds: Vec<String> = WRONG.iter().map(|text| text.to_string()).collect();
    let mut folders = vec![folder::example("revitron")];
    while let Some(folder) = folders.pop() {
        let mut paths: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
        paths.sort();
        for path in paths {
            if path.is_dir() {
                folders.push(path);
            } else {
                seeds.push(std::fs::read_to_string(path).unwrap());
            }
        }
    }
    seeds
}

/// One that is large and well formed.
fn large_and_good(rng: &mut Rng) -> String {
    let count = 1 << (4 + rng.below(13));
    let many = |item: &dyn Fn(usize) -> String| (0..count).map(item).collect::<String>();
    match rng.below(9) {
        0 => format!("node:\n{}", many(&|number| format!("  n{number}: {{labels: {{a: b}}}}\n"))),
        1 => format!("system: {{name: s}}\nsecret:\n{}", many(&|number| format!("  n{number}:\n"))),
        2 => format!(
            "service: {{a: {{where: all, command: a, env: {{{}}}}}}}",
            many(&|number| format!("k{number}: v, "))
        ),
        3 => format!("check: {{a: {{where: all, plugin: p, with: {{a: [{}]}}}}}}", many(&|_| "1, ".to_owned())),
        4 => format!(
            "check: {{a: {{where: all, plugin: p, with: {{a: [{}]}}}}}}",
            many(&|_| "\"${secret:a}\", ".to_owned())
        ),
        5 => format!("system: {{name: s}}\nalert:\n{}", many(&|number| format!("  n{number}: {{check: n{number}}}\n"))),
        6 => format!("task: {{a: {{where: all, steps: [{}]}}}}", many(&|_| "{run: a}, ".to_owned())),
        7 => format!("check: {{a: {{where: \"{}\", plugin: p}}}}", many(&|_| "a=b,".to_owned()).trim_end_matches(',')),
        _ => {
            format!("service: {{a: {{where: all, command: \"{}\"}}}}", many(&|_| "${env:A}$${${node.name}".to_owned()))
        }
    }
}

/// One that is large, in a way of its own.
fn large(rng: &mut Rng) -> String {
    if rng.chance(35) {
        return large_and_good(rng);
    }
    let count = 1 << (4 + rng.below(15));
    let head = *rng.pick(&[
        "",
        "check: ",
        "check:\n  a:\n    with: ",
        "check: {a: {where: all, plugin: p, with: {a: ",
        "service:\n",
    ]);
    let body = match rng.below(16) {
        0 => "[".repeat(count),
        1 => "{".repeat(count),
        2 => "- ".repeat(count),
        3 => "{a: ".repeat(count),
        4 => "? ".repeat(count),
        5 => format!("{}: 1\n", "k".repeat(count)),
        6 => format!("\"{}\": {{}}\n", "k\\u0000".repeat(count / 6)),
        7 => (0..count.min(40_000))
            .map(|level| format!("a{level}: &a{level} [*a{0}, *a{0}, *a{0}]\n", level.max(1) - 1))
            .collect(),
        8 => "a b c ".repeat(count),
        9 => " ".repeat(INPUT_BYTES_MAX),
        10 => "\n".repeat(count),
        11 => "a, ".repeat(count),
        12 => "x: 1\n".repeat(count),
        13 => (0..count.min(60_000))
            .map(|number| format!("  k{number}: {}\n", rng.pick(&["{}", "5", "{where: all}", "null", "&a b"])))
            .collect(),
        14 => (0..count.min(1_000)).map(|depth| format!("{}a:\n", " ".repeat(depth))).collect(),
        _ => format!("{{{}}}", (0..count.min(60_000)).map(|number| format!("k{number}: !x 1, ")).collect::<String>()),
    };
    head.to_owned() + &body
}

fn mutated(seeds: &[String], rng: &mut Rng) -> String {
    let mut bytes = match rng.below(100) {
        0 => large(rng).into_bytes(),
        _ => rng.pick(seeds).clone().into_bytes(),
    };
    // Some large ones stay as they are.
    let times = if bytes.len() > 50_000 { rng.below(3) } else { 1 + rng.below(6) };
    for _ in 0..times {
        let at = rng.below(bytes.len() + 1);
        let end = at + rng.below((bytes.len() - at).min(200) + 1);
        match rng.below(12) {
            0 | 1 if at < bytes.len() => bytes[at] ^= 1 << rng.below(8),
            2 => drop(bytes.splice(at..end, [])),
            3..=5 => drop(bytes.splice(at..at, rng.pick(PIECES).bytes())),
            6 => {
                let other = rng.pick(seeds).as_bytes();
                let from = rng.below(other.len() + 1);
                let to = from + rng.below(other.len() - from + 1);
                bytes.splice(at..end, other[from..to].iter().copied());
            }
            7 => {
                let mut lines: Vec<&[u8]> = bytes.split_inclusive(|byte| *byte == b'\n').collect();
                if !lines.is_empty() {
                    let line = lines[rng.below(lines.len())];
                    let place = rng.below(lines.len());
                    let times = if rng.chance(5) { 200.min(1 + INPUT_BYTES_MAX / line.len()) } else { 1 };
                    lines.splice(place..place, std::iter::repeat_n(line, times));
                    bytes = lines.concat();
                }
            }
            8 => {
                // Mixed indentation.
                let start = bytes[..at].iter().rposition(|byte| *byte == b'\n').map_or(0, |line| line + 1);
                let blanks = *rng.pick(&[" ", "  ", "\t", " \t", "      ", "\u{a0}"]);
                bytes.splice(start..start, blanks.bytes());
            }
            9 => {
                let piece = bytes[at..end].to_vec();
                bytes.splice(at..at, piece.repeat(1 + rng.below(20)));
            }
            10 if rng.chance(3) => drop(bytes.splice(at..at, large(rng).into_bytes())),
            11 => bytes.truncate(bytes.len().saturating_sub(rng.below(40))),
            _ => drop(bytes.splice(at..end, rng.pick(PIECES).bytes())),
        }
    }
    bytes.truncate(INPUT_BYTES_MAX);
    String::from_utf8_lossy(&bytes).into_owned()
}

/// A folder of one file, or with another laid over it.
#[derive(Default)]
struct Input {
    base: String,
    over: Option<String>,
}

impl Input {
    fn random(seeds: &[String], rng: &mut Rng) -> Self {
        let base = mutated(seeds, rng);
        let over = rng.chance(25).then(|| if rng.chance(10) { base.clone() } else { mutated(seeds, rng) });
        Self { base, over }
    }

    fn keep(&self, why: &str) -> String {
        let path = std::env::temp_dir().join(format!("hostler-fuzz-{}-{why}.yaml", std::process::id()));
        let over = self.over.as_deref().map(|over| format!("\n##### laid over it #####\n{over}")).unwrap_or_default();
        std::fs::write(&path, format!("{}{over}", self.base)).unwrap();
        path.display().to_string()
    }

    fn run(&self) {
        let file = |path: &str, text: &String| SourceFile { path: path.to_owned(), text: text.clone() };
        let env = self
            .over
            .as_ref()
            .map(|over| EnvSource { name: Name::new("prod").unwrap(), files: vec![file("env/prod.yaml", over)] });
        let files = vec![file("a.yaml", &self.base)];
        let source = Source { files, env, envs: Some(vec!["prod".to_owned()]), ..Source::default() };
        match compile(&source) {
            // What is large would be in memory several times.
            Ok(compiled) if self.base.len() > 128 * 1024 => drop(compiled),
            Ok(compiled) => {
                let printed = [Detail::Short, Detail::Full].map(|detail| write_yaml(&compiled.objects, detail));
                for text in printed {
                    let files = vec![file("printed.yaml", &text)];
                    let again =
                        compile(&Source { files, ..Source::default() }).unwrap_or_else(|error| panic!("{error}"));
                    let bodies = |objects: &[hostler_types::spec::Object]| {
                        objects.iter().map(|one| (one.name.clone(), one.body.clone())).collect::<Vec<_>>()
                    };
                    assert!(bodies(&again.objects) == bodies(&compiled.objects), "printed and read is another: {text}");
                }
            }
            Err(problems) => {
                assert!(!problems.0.is_empty(), "refused, and nothing said");
                drop(problems.to_string());
            }
        }
    }
}

/// The processor's time of this thread, whatever else the machine does.
fn busy() -> Duration {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    Duration::from_nanos(stat.split_whitespace().next().unwrap().parse().unwrap())
}

fn peak_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

type Running = Arc<Mutex<(Instant, Arc<Input>)>>;

/// Says of an input that does not end which one it is.
fn watch(running: &Running) {
    let running = Arc::clone(running);
    std::thread::spawn(move || {
        loop {
            std::thread::sleep(Duration::from_millis(500));
            let (since, input) = running.lock().unwrap().clone();
            if since.elapsed() > LONGEST * 10 {
                println!("fuzz failed: given up after {:?}: {}", since.elapsed(), input.keep("endless"));
                std::process::exit(3);
            }
        }
    });
}

/// Only for the tests below, in a process of its own.
#[test]
#[ignore = "the tests below run it"]
fn child() {
    let Ok(seconds) = std::env::var(SECONDS) else { return };
    let seed: u64 = std::env::var(SEED).map_or(1, |seed| seed.parse().unwrap());
    let budget = Duration::from_secs(seconds.parse().unwrap());
    let began = Instant::now();
    let (seeds, mut rng) = (seeds(), Rng(seed));
    let running = Arc::new(Mutex::new((Instant::now(), Arc::new(Input::default()))));
    watch(&running);
    let (mut count, mut taken, mut slowest, mut failed) = (0u64, 0u64, Duration::ZERO, 0);
    while began.elapsed() < budget && failed < 10 {
        let input = Arc::new(Input::random(&seeds, &mut rng));
        *running.lock().unwrap() = (Instant::now(), Arc::clone(&input));
        let started = busy();
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| input.run()));
        let took = busy() - started;
        let peak = peak_kib();
        count += 1;
        taken += u64::from(outcome.is_ok());
        if took > slowest {
            slowest = took;
            println!("fuzz slowest: {took:?}, {} KiB: {:.80?}", input.base.len() / 1024, input.base);
        }
        if outcome.is_err() {
            println!("fuzz failed: panic at {count}: {}", input.keep(&format!("panic{count}")));
            failed += 1;
        }
        if took > LONGEST {
            println!("fuzz failed: {took:?} at {count}: {}", input.keep(&format!("slow{count}")));
            failed += 1;
        }
        if peak > MEMORY_KIB_MAX {
            println!("fuzz failed: {peak} KiB at {count}: {}", input.keep(&format!("memory{count}")));
            break;
        }
    }
    let peak = peak_kib();
    println!(
        "fuzz done: {count} executions, {taken} without a panic, seed {seed}, slowest {slowest:?}, peak {peak} KiB"
    );
}

fn fuzz(seconds_default: u64, seed: u64) {
    let seconds = std::env::var(SECONDS).unwrap_or_else(|_| seconds_default.to_string());
    let seed = std::env::var(SEED).unwrap_or_else(|_| seed.to_string());
    let outcome = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "fuzz::child", "--ignored", "--nocapture", "--test-threads=1"])
        .env(SECONDS, seconds)
        .env(SEED, seed)
        // As of a release.
        .env("RUST_BACKTRACE", "0")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&outcome.stdout);
    let lines: Vec<&str> = said.lines().filter(|line| line.contains("fuzz ")).collect();
    let told = lines.join("\n");
    println!("{told}");
    let errors = String::from_utf8_lossy(&outcome.stderr);
    assert!(outcome.status.success(), "the child ended with {}\n{told}\n{errors:.3000}", outcome.status);
    assert!(!told.contains("fuzz failed"), "{told}\n{errors:.3000}");
    let done =
        lines.iter().find(|line| line.contains("fuzz done")).unwrap_or_else(|| panic!("it ended early:\n{said}"));
    let number = |before: &str| -> u64 {
        let words: Vec<&str> = done.split([' ', ',']).collect();
        let at = words.iter().position(|word| *word == before).unwrap();
        words[at - 1].parse().unwrap()
    };
    assert!(number("executions") > 100, "{done}");
    assert!(number("KiB") < MEMORY_KIB_MAX, "{done}");
}

#[test]
fn fuzzing_finds_nothing() {
    fuzz(15, 1);
}

#[test]
fn slow_fuzzing_finds_nothing() {
    fuzz(60, 2);
}

/// Most took minutes, or hundreds of megabytes, before this was looked for.
#[test]
fn what_was_slow_is_soon() {
    let many = |count: usize, item: &dyn Fn(usize) -> String| (0..count).map(item).collect::<String>();
    let nodes = format!("node:\n{}", many(15_000, &|number| format!("  n{number}: {{labels: {{a: b}}}}\n")));
    let inputs = [
        ("brackets", "[".repeat(INPUT_BYTES_MAX), None),
        ("an open bracket in a long line", format!("a: [{}", "[], ".repeat(INPUT_BYTES_MAX / 4)), None),
        ("mistakes in one line", format!("{{{}}}", many(60_000, &|number| format!("k{number}: !x 1, "))), None),
        ("keys that stand twice", format!("{{{}}}", "a: 1, ".repeat(100_000)), None),
        ("a long field", format!("check: {{a: {{? {} : 1}}}}", "k".repeat(500_000)), None),
        (
            "missing references",
            format!("system: {{name: s}}\nalert:\n{}", many(20_000, &|n| format!("  n{n}: {{check: n{n}}}\n"))),
            None,
        ),
        ("a large overlay", nodes.clone(), Some(nodes)),
        (
            "a long map laid over another",
            format!(
                "service: {{a: {{where: all, command: a, env: {{{}}}}}}}",
                many(40_000, &|number| format!("k{number}: v, "))
            ),
            Some(format!("service: {{a: {{env: {{{}}}}}}}", many(40_000, &|number| format!("k{number}: w, ")))),
        ),
    ];
    for (what, base, over) in inputs {
        let began = busy();
        Input { base, over }.run();
        let took = busy() - began;
        println!("{what}: {took:?}");
        assert!(took < LONGEST, "{what}: {took:?}");
    }
}
