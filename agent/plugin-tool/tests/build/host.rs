//! A host that knows the options and the memory of a test, the time and
//! randomness, and keeps the log: every other call ends the run.

use wasmtime::component::{Component, Func, Instance, Linker, Val};
use wasmtime::{Engine, Store, StoreContextMut};

/// What the host says to one instance.
#[derive(Clone)]
pub struct Answers {
    pub config: String,
    /// Total and used bytes; or `denied: GRANT`, `timeout`, or another error as
    /// key and value.
    pub memory: Result<(u64, u64), String>,
    /// At the clock, so far.
    pub looks: u64,
    /// What the random bytes begin with.
    pub random: u8,
    /// `warn: a line`, so far.
    pub log: Vec<String>,
}

pub struct Plugin {
    engine: Engine,
    component: Component,
    linker: Linker<Answers>,
}

/// One instance of it.
pub struct Running {
    store: Store<Answers>,
    instance: Instance,
}

impl Plugin {
    pub fn load(bytes: &[u8]) -> Plugin {
        let engine = Engine::new(&hostler_plugin_host::engine_config()).expect("engine");
        let component = Component::new(&engine, bytes).expect("compiles");
        let mut linker = Linker::new(&engine);
        linker.allow_shadowing(true);
        linker.define_unknown_imports_as_traps(&component).expect("traps");
        let mut define = |interface: &str, function: &str, answer: fn(StoreContextMut<'_, Answers>) -> Val| {
            let mut instance = linker.instance(&format!("hostler:host/{interface}@1.0.0")).expect("interface");
            instance
                .func_new(function, move |store, _, _, results| {
                    results[0] = answer(store);
                    Ok(())
                })
                .expect("function");
        };
        define("config", "json", |store| Val::String(store.data().config.clone()));
        define("system", "get-memory", |store| memory(&store.data().memory));
        // A millisecond passes between any two looks.
        define("clock", "monotonic", |mut store| {
            store.data_mut().looks += 1;
            Val::U64(store.data().looks * 1_000_000)
        });
        define("clock", "now", |_| record([("seconds", Val::U64(1_700_000_000)), ("nanoseconds", Val::U32(5))]));
        linker
            .instance("hostler:host/random@1.0.0")
            .expect("interface")
            .func_new("bytes", |store, _, arguments, results| {
                let Val::U32(count) = arguments[0] else { unreachable!("a count is a number") };
                let first = store.data().random;
                let bytes = (0..count.min(4096)).map(|byte| Val::U8(first.wrapping_add(byte as u8)));
                results[0] = Val::List(bytes.collect());
                Ok(())
            })
            .expect("function");
        linker
            .instance("hostler:host/log@1.0.0")
            .expect("interface")
            .func_new("write", |mut store, _, arguments, _| {
                let [Val::Enum(level), Val::String(message), Val::List(_)] = arguments else {
                    unreachable!("a line has a level, a message and fields")
                };
                store.data_mut().log.push(format!("{level}: {message}"));
                Ok(())
            })
            .expect("function");
        Plugin { engine, component, linker }
    }

    pub fn start(&self, answers: Answers) -> Running {
        let mut store = Store::new(&self.engine, answers);
        store.set_epoch_deadline(u64::MAX / 2);
        let instance = self.linker.instantiate(&mut store, &self.component).expect("starts");
        Running { store, instance }
    }
}

impl Running {
    /// The pointers of what is wrong with a configuration.
    pub fn configure(&mut self, config: &str) -> Vec<String> {
        match self.call("lifecycle", "configure", &[Val::String(config.into())]) {
            Val::Result(Ok(None)) => Vec::new(),
            Val::Result(Err(Some(errors))) => match *errors {
                Val::List(errors) => errors.iter().map(|error| text(field(error, "pointer"))).collect(),
                other => panic!("no list: {other:?}"),
            },
            other => panic!("no result: {other:?}"),
        }
    }

    /// `ok: 40 % of memory used [used_percent=40]`, or the error.
    pub fn run(&mut self) -> Result<String, String> {
        match self.call("check-api", "run", &[]) {
            Val::Result(Ok(Some(report))) => {
                let Val::Enum(status) = field(&report, "status") else { panic!("no status") };
                let Val::List(attrs) = field(&report, "attrs") else { panic!("no attrs") };
                let attrs: Vec<String> = attrs
                    .iter()
                    .map(|attr| format!("{}={}", text(field(attr, "key")), text(field(attr, "value"))))
                    .collect();
                assert_eq!(text(field(&report, "details")), "");
                Ok(format!("{status}: {} [{}]", text(field(&report, "summary")), attrs.join(" ")))
            }
            Val::Result(Err(Some(error))) => Err(text(&error)),
            other => panic!("no result: {other:?}"),
        }
    }

    /// A call that ends before its end.
    pub fn crashes(&mut self, interface: &str, function: &str, arguments: &[Val]) -> String {
        let function = self.function(interface, function);
        let crash = function.call(&mut self.store, arguments, &mut [Val::Bool(false)]).expect_err("ends early");
        format!("{:#}", crash.root_cause())
    }

    pub fn log(&self) -> &[String] {
        &self.store.data().log
    }

    fn call(&mut self, interface: &str, function: &str, arguments: &[Val]) -> Val {
        let function = self.function(interface, function);
        let mut results = [Val::Bool(false)];
        if let Err(error) = function.call(&mut self.store, arguments, &mut results) {
            panic!("does not run to its end: {error:#}: {:?}", self.log());
        }
        let [result] = results;
        result
    }

    fn function(&mut self, interface: &str, function: &str) -> Func {
        let interface = format!("hostler:plugin/{interface}@1.0.0");
        let interface = self.instance.get_export_index(&mut self.store, None, &interface).expect("the interface");
        let index = self.instance.get_export_index(&mut self.store, Some(&interface), function).expect("the function");
        self.instance.get_func(&mut self.store, index).expect("a function")
    }
}

fn memory(memory: &Result<(u64, u64), String>) -> Val {
    match memory {
        Ok((total, used)) => Val::Result(Ok(Some(Box::new(record([
            ("total", Val::U64(*total)),
            ("available", Val::U64(total - used)),
            ("used", Val::U64(*used)),
            ("swap-total", Val::U64(0)),
            ("swap-used", Val::U64(0)),
        ]))))),
        Err(error) => {
            let text = |text: &str| Val::String(text.into());
            let value = match error.split_once(": ") {
                None => None,
                Some(("denied", grant)) => Some(text(grant)),
                Some((key, value)) => Some(record([("key", text(key)), ("value", text(value))])),
            };
            let case = match &value {
                None => "timeout",
                Some(Val::String(_)) => "denied",
                Some(_) => "other",
            };
            Val::Result(Err(Some(Box::new(Val::Variant(case.into(), value.map(Box::new))))))
        }
    }
}

fn record<const N: usize>(fields: [(&str, Val); N]) -> Val {
    Val::Record(fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
}

fn field<'a>(record: &'a Val, name: &str) -> &'a Val {
    let Val::Record(fields) = record else { panic!("no record: {record:?}") };
    fields.iter().find(|(known, _)| known == name).map(|(_, value)| value).expect(name)
}

fn text(value: &Val) -> String {
    let Val::String(text) = value else { panic!("no text: {value:?}") };
    text.clone()
}
