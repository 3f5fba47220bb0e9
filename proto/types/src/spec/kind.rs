//! The kinds of objects that a spec can hold, each with one typed body.

use super::form::Record;
use super::kinds::{
    AlertSpec, BackupSpec, BudgetSpec, CheckSpec, NodeSpec, NotifierSpec, ObjectiveSpec, PluginSpec, ScheduleSpec,
    SecretSpec, ServiceSpec, SystemSpec, TaskSpec, WindowSpec,
};
use super::shape::{Reader, Shape};
use super::yaml::Node;
use std::fmt;

/// A body that objects can refer to by kind and name.
pub trait Noun {
    const KIND: Kind;
}

macro_rules! kinds {
    ($($(#[doc = $doc:literal])* $variant:ident $word:literal $spec:ident $works:literal,)*) => {
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Kind { $($(#[doc = $doc])* $variant,)* }

        impl Kind {
            /// In the order in which they are applied and listed.
            pub const ALL: &'static [Kind] = &[$(Kind::$variant,)*];

            pub const fn word(self) -> &'static str {
                match self { $(Kind::$variant => $word,)* }
            }

            /// Whether objects of the kind do something yet, or are only kept.
            pub const fn takes_effect(self) -> bool {
                match self { $(Kind::$variant => $works,)* }
            }

            pub fn record(self) -> &'static Record {
                match self { $(Kind::$variant => $spec::record(),)* }
            }
        }

        #[derive(Clone, Debug, PartialEq)]
        pub enum Body { $($variant(Box<$spec>),)* }

        impl Body {
            pub fn kind(&self) -> Kind {
                match self { $(Body::$variant(_) => Kind::$variant,)* }
            }

            pub(super) fn read(kind: Kind, node: &Node, reader: &mut Reader<'_>) -> Option<Body> {
                match kind { $(Kind::$variant => $spec::read(node, reader).map(|spec| Body::$variant(Box::new(spec))),)* }
            }

            /// The body as it would be written: what equals its default is left
            /// out, unless `full`.
            pub fn to_json(&self, full: bool) -> serde_json::Value {
                match self { $(Body::$variant(spec) => spec.print(full),)* }
            }
        }

        $(impl Noun for $spec {
            const KIND: Kind = Kind::$variant;
        })*
    };
}

kinds! {
    System "system" SystemSpec true,
    Node "node" NodeSpec true,
    Plugin "plugin" PluginSpec true,
    Secret "secret" SecretSpec true,
    Notifier "notifier" NotifierSpec true,
    Budget "budget" BudgetSpec true,
    Window "window" WindowSpec true,
    Service "service" ServiceSpec true,
    Check "check" CheckSpec true,
    Backup "backup" BackupSpec false,
    Task "task" TaskSpec true,
    Schedule "schedule" ScheduleSpec true,
    Objective "objective" ObjectiveSpec false,
    Alert "alert" AlertSpec true,
}

impl Kind {
    pub fn parse(word: &str) -> Option<Kind> {
        Kind::ALL.iter().copied().find(|kind| kind.word() == word)
    }

    pub fn words() -> Vec<&'static str> {
        Kind::ALL.iter().map(|kind| kind.word()).collect()
    }

    pub fn with_article(self) -> String {
        let article = if self.word().starts_with(['a', 'e', 'i', 'o']) { "an" } else { "a" };
        format!("{article} {self}")
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.word())
    }
}
