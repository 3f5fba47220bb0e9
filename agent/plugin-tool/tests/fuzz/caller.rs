//! Guests that ask the host for things, with arguments of which most make sense
//! one by one: text, handles, lists, and what is none of them.

use crate::interface::{CoreFunction, World, signature, word};
use crate::random::Rng;
use std::fmt::Write;
use wit_parser::abi::WasmType;

/// Each stands at the start of a block of its own, so that a pointer's low byte
/// is a sound discriminant.
const BLOCK: u32 = 256;
const TEXTS_AT: u32 = 0x1000;
/// Pairs of pointer and length, over and over.
const PAIRS_AT: u32 = 0x8000;
const PAIRS: u32 = 1024;
/// Where the host puts its answers.
const ANSWER_AT: u32 = 0xa000;
/// What the exports return.
const RESULTS_AT: u32 = 0xa800;
const HEAP_AT: u32 = 0x10000;
const HANDLES: usize = 4;

const EXTREMES: [u32; 12] = [0, 1, 2, 3, 7, 8, 255, 65_535, 65_536, 0x7fff_ffff, 0x8000_0000, 0xffff_ffff];

pub struct Texts(Vec<String>);

impl Texts {
    /// With what is in a folder that it is granted.
    pub fn new(files: &str) -> Texts {
        let mut all: Vec<String> = [
            "",
            "a",
            "b",
            "token",
            "GET",
            "POST",
            "Host",
            "Content-Length",
            "127.0.0.1",
            "localhost",
            "::1",
            "[::1]:9",
            "127.0.0.1:9",
            "http://127.0.0.1:9/",
            "https://127.0.0.1:9/x?y#z",
            "http://[::1]:9",
            "http://",
            "ftp://a/",
            "http://a:b@127.0.0.1:9/",
            "A",
            "SOA",
            "TYPE65535",
            "example.invalid",
            ".",
            "smtp",
            "postgres",
            "*",
            "**",
            "init",
            "a*b*c*d",
            "[",
            "\\00",
            "a\\00b",
            "\\ff\\fe",
            "\\ed\\a0\\80",
            "é",
            "😀",
            "requests_total",
            "up_seconds",
            "1e999",
            "{\\22a\\22:1}",
            "echo",
            "sleep",
            "-n",
            "/",
            "/etc/passwd",
            "/proc/self/mem",
            "/dev/zero",
        ]
        .map(str::to_owned)
        .into();
        all.extend(
            ["", "/log", "/none", "/*", "/**", "/../../../etc/passwd", "/a//./b", "/socket"]
                .map(|end| format!("{files}{end}")),
        );
        all.push("x".repeat(5000));
        all.push("ab/".repeat(300));
        Texts(all)
    }

    fn place(&self, rng: &mut Rng) -> (u32, u32) {
        let mut at = rng.below(self.0.len());
        if self.0[at].contains("\\e") || self.0[at].contains("\\f") {
            // No text at all ends most calls at once.
            at = rng.below(self.0.len());
        }
        (TEXTS_AT + at as u32 * BLOCK, self.length(at))
    }

    /// What is longer than its block goes on in others'; escapes are one byte.
    fn length(&self, at: usize) -> u32 {
        let text = &self.0[at];
        (text.len() - 2 * text.matches('\\').count()) as u32
    }
}

fn makes_handle(function: &CoreFunction) -> bool {
    ["[constructor]", "[static]", "get"].iter().any(|start| function.name.starts_with(start))
}

fn takes_handle(function: &CoreFunction) -> bool {
    ["[method]", "[resource-drop]", "reveal"].iter().any(|start| function.name.starts_with(start))
}

struct Guest<'a> {
    texts: &'a Texts,
    imports: Vec<&'a CoreFunction>,
    text: String,
}

/// In the text format.
pub fn core(world: &World, texts: &Texts, rng: &mut Rng) -> String {
    let count = 1 + rng.below(12);
    // Half of them have a kind of their own: resources want several functions.
    let module = rng.chance(50).then(|| rng.pick(&world.imports).module.clone());
    let near: Vec<&CoreFunction> =
        world.imports.iter().filter(|one| module.as_ref().is_none_or(|module| *module == one.module)).collect();
    // Those that make handles first: without one the others are soon said.
    let mut imports: Vec<&CoreFunction> = near.iter().copied().filter(|one| makes_handle(one)).collect();
    imports.extend((0..count).map(|_| *rng.pick(&near)));
    let mut guest = Guest { texts, imports, text: "(module\n".to_owned() };
    guest.write(world, rng);
    guest.text
}

impl Guest<'_> {
    fn write(&mut self, world: &World, rng: &mut Rng) {
        for (at, function) in self.imports.iter().enumerate() {
            let (module, name) = (&function.module, &function.name);
            writeln!(self.text, "(import {module:?} {name:?} (func $i{at}{}))", signature(function)).unwrap();
        }
        let most = if rng.chance(20) { "40" } else { "" };
        writeln!(self.text, "(memory (export \"memory\") 4 {most})\n(global $next (mut i32) (i32.const {HEAP_AT}))")
            .unwrap();
        self.data(rng);
        self.realloc(rng);
        writeln!(self.text, "(func $deep (param i32) (call $deep (local.get 0)) (drop (i32.load (local.get 0))))")
            .unwrap();
        if rng.chance(3) {
            self.function("(func $start", &[], 2, rng);
            self.text += ")\n(start $start)\n";
        }
        for function in &world.exports {
            let head = format!("(func (export {:?}){}", function.name, signature(function));
            let calls = match (function.name.as_str(), rng.chance(5)) {
                (name, rare) if name.starts_with("cabi_post") => usize::from(rare),
                (name, rare) if name.contains("configure") => usize::from(rare),
                _ => 1 + rng.below(10),
            };
            self.function(&head, &function.params, calls, rng);
            if !function.results.is_empty() {
                let at = if function.name.contains("configure") { RESULTS_AT } else { RESULTS_AT + 64 };
                let at = if rng.chance(95) { at } else { *rng.pick(&[1, at + 1, at + 2, 0xffff_fff0, 0x40000, 0]) };
                write!(self.text, "(i32.const {at})").unwrap();
            }
            self.text += ")\n";
        }
        self.text += ")\n";
    }

    fn data(&mut self, rng: &mut Rng) {
        for (at, text) in self.texts.0.iter().enumerate() {
            // Of the long ones, which have no escapes, as much as there is room for.
            let short: String =
                if text.len() > BLOCK as usize { text.chars().take(BLOCK as usize).collect() } else { text.clone() };
            writeln!(self.text, "(data (i32.const {}) \"{short}\")", TEXTS_AT + at as u32 * BLOCK).unwrap();
        }
        let mut pairs = Vec::new();
        for _ in 0..PAIRS {
            let (pointer, length) = if rng.chance(99) { self.texts.place(rng) } else { (rng.word(), rng.word()) };
            pairs.extend([pointer, length]);
        }
        self.words(PAIRS_AT, &pairs);
        let configured = if rng.chance(90) { vec![0] } else { self.result(rng) };
        self.words(RESULTS_AT, &configured);
        let result = self.result(rng);
        self.words(RESULTS_AT + 64, &result);
    }

    fn words(&mut self, at: u32, words: &[u32]) {
        let bytes: String =
            words.iter().flat_map(|word| word.to_le_bytes()).map(|byte| format!("\\{byte:02x}")).collect();
        writeln!(self.text, "(data (i32.const {at}) \"{bytes}\")").unwrap();
    }

    /// What an export returns, as it stands in memory.
    fn result(&self, rng: &mut Rng) -> Vec<u32> {
        let (a, b) = (self.texts.place(rng), self.texts.place(rng));
        let list = *rng.pick(&[0, 0, 1, 3, 100, 0xffff_ffff, 0x2000_0000]);
        match rng.below(6) {
            0 | 1 => vec![0, rng.below(5) as u32, a.0, a.1, b.0, b.1, PAIRS_AT, list],
            2 => vec![1, a.0, a.1],
            3 => vec![0, PAIRS_AT, list],
            4 => vec![*rng.pick(&[0, 1, 2, 3, 255]), rng.word(), rng.word(), rng.word(), rng.word()],
            _ => vec![0; 8],
        }
    }

    fn realloc(&mut self, rng: &mut Rng) {
        let bump = "(local $at i32)
  (local.set $at (i32.and (i32.add (global.get $next) (i32.const 15)) (i32.const -16)))
  (global.set $next (i32.add (local.get $at) (local.get 3)))
  (if (i32.gt_u (global.get $next) (i32.mul (memory.size) (i32.const 65536)))
    (then (drop (memory.grow (i32.add (i32.shr_u (local.get 3) (i32.const 16)) (i32.const 1))))))
  (local.get $at)"
            .to_owned();
        let body = match rng.below(100) {
            0..3 => "unreachable".to_owned(),
            3..6 => "(i32.const 0)".to_owned(),
            6..9 => format!("(i32.const {ANSWER_AT})"),
            9..12 => format!("(i32.const {})", HEAP_AT + 1 + rng.word() % 7),
            12..15 => format!("(i32.const {})", rng.pick(&EXTREMES)),
            15 => "(loop $l (br $l)) unreachable".to_owned(),
            16..19 => format!("(drop (memory.grow (i32.const 1))) (i32.const {HEAP_AT})"),
            19..21 => "(call $deep (i32.const 0)) (i32.const 0)".to_owned(),
            21..24 => format!("(call $again) (i32.const {HEAP_AT})"),
            _ => bump,
        };
        writeln!(self.text, "(func (export \"cabi_realloc\") (param i32 i32 i32 i32) (result i32) {body})").unwrap();
        // What a realloc must not do: ask the host.
        self.function("(func $again", &[], 1, rng);
        self.text += ")\n";
    }

    /// Without its end.
    fn function(&mut self, head: &str, params: &[WasmType], steps: usize, rng: &mut Rng) {
        self.text += head;
        for handle in 0..HANDLES {
            write!(self.text, " (local $h{handle} i32)").unwrap();
        }
        self.text += " (local $n i32) (local $made i32)\n";
        for step in 0..steps {
            // Made before anything else.
            let made =
                if step == 0 && rng.chance(80) { self.imports.iter().position(|one| makes_handle(one)) } else { None };
            if let Some(made) = made {
                self.call_one(made, params, rng);
            }
            match rng.below(100) {
                0 => self.text += "  (loop $l (br $l))\n",
                1 => self.text += "  unreachable\n",
                2 => self.text += "  (call $deep (i32.const 0))\n",
                3..6 => writeln!(self.text, "  (drop (memory.grow (i32.const {})))", rng.pick(&EXTREMES)).unwrap(),
                6..9 => {
                    let at = PAIRS_AT + rng.word() % (PAIRS * 8);
                    writeln!(self.text, "  (i32.store (i32.const {at}) (i32.const {}))", rng.pick(&EXTREMES)).unwrap();
                }
                9..13 => {
                    let times = rng.pick(&[3, 60, 300, 20_000]);
                    writeln!(self.text, "  (local.set $n (i32.const {times})) (loop $r{step}").unwrap();
                    self.call(params, rng);
                    writeln!(self.text, "  (br_if $r{step} (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))")
                        .unwrap();
                }
                _ => self.call(params, rng),
            }
        }
    }

    fn call(&mut self, own: &[WasmType], rng: &mut Rng) {
        let at = rng.below(self.imports.len());
        // What is given back is gone for the calls after it.
        let at = if self.imports[at].name.starts_with("[resource-drop]") { rng.below(self.imports.len()) } else { at };
        self.call_one(at, own, rng);
    }

    fn call_one(&mut self, at: usize, own: &[WasmType], rng: &mut Rng) {
        let function = self.imports[at];
        let mut arguments = Vec::new();
        let mut length = None;
        let wanted = function.params.len() - usize::from(function.answers_in_memory);
        for kind in &function.params[..wanted] {
            arguments.push(match kind {
                WasmType::Pointer => {
                    let (pointer, long) = match rng.below(100) {
                        0..80 => self.texts.place(rng),
                        80..93 => (PAIRS_AT, *rng.pick(&[0, 1, 2, 5, 64, 65, 1000])),
                        93..97 if own.len() > 1 => {
                            length = Some("(local.get 1)".to_owned());
                            arguments.push("(local.get 0)".to_owned());
                            continue;
                        }
                        _ => (*rng.pick(&EXTREMES), *rng.pick(&EXTREMES)),
                    };
                    length = Some(format!("(i32.const {long})"));
                    format!("(i32.const {pointer})")
                }
                WasmType::Length if length.is_some() => length.take().unwrap(),
                WasmType::I32 if arguments.is_empty() && takes_handle(function) && rng.chance(95) => {
                    // The newest is in all of them until another is made.
                    if rng.chance(80) {
                        format!("(local.get $h{})", rng.below(HANDLES))
                    } else {
                        "(i32.const 1)".to_owned()
                    }
                }
                WasmType::I32 | WasmType::Length => match rng.below(100) {
                    0..50 => format!("(i32.const {})", rng.below(2)),
                    50..60 => format!("(local.get $h{})", rng.below(HANDLES)),
                    60..92 => format!("(i32.const {})", rng.pick(&[0, 1, 2, 9, 10, 50, 100])),
                    _ => format!("(i32.const {})", rng.pick(&EXTREMES)),
                },
                WasmType::I64 | WasmType::PointerOrI64 => {
                    format!("(i64.const {})", rng.pick(&["0", "1", "-1", "4294967296", "0x7fffffffffffffff"]))
                }
                kind => format!("({}.const {})", word(kind), rng.pick(&["0", "nan", "inf", "-1.5"])),
            });
        }
        if function.answers_in_memory {
            let area = if rng.chance(97) { ANSWER_AT } else { *rng.pick(&[ANSWER_AT + 1, 0xffff_fffc, 0, 0x40000]) };
            arguments.push(format!("(i32.const {area})"));
        }
        let call = format!("(call $i{at} {})", arguments.join(" "));
        // The first one is in all of them, so that there is one.
        let all = makes_handle(function) && rng.chance(70);
        let kept = if all { 0..HANDLES } else { rng.below(HANDLES)..HANDLES };
        let keep: String = kept.map(|handle| format!(" (local.set $h{handle} (local.get $made))")).collect();
        match function.results.first().map(word) {
            Some("i32") if makes_handle(function) => writeln!(self.text, "  (local.set $made {call}){keep}"),
            Some(_) => writeln!(self.text, "  (drop {call})"),
            None if makes_handle(function) => {
                writeln!(self.text, "  {call} (local.set $made (i32.load (i32.const {}))){keep}", ANSWER_AT + 4)
            }
            None => writeln!(self.text, "  {call}"),
        }
        .unwrap();
    }
}
