//! A field that is one of a few words.

use super::problem::nearest_word;
use super::shape::Reader;
use super::yaml::{Node, Value};

/// Defines a choice of words.
macro_rules! words {
    ($(#[doc = $doc:literal])* pub enum $name:ident { $($(#[doc = $word_doc:literal])* $variant:ident $word:literal,)* }) => {
        $(#[doc = $doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum $name { $($(#[doc = $word_doc])* $variant,)* }

        impl $name {
            pub const WORDS: &'static [$crate::spec::form::Word] = &[
                $($crate::spec::form::Word { word: $word, doc: concat!($($word_doc),*) },)*
            ];

            pub const fn word(self) -> &'static str {
                match self { $(Self::$variant => $word,)* }
            }

            pub fn from_word(word: &str) -> Option<Self> {
                match word { $($word => Some(Self::$variant),)* _ => None }
            }
        }

        impl $crate::spec::shape::Shape for $name {
            fn form() -> $crate::spec::form::Form {
                $crate::spec::form::Form::Words(Self::WORDS)
            }

            fn read(
                node: &$crate::spec::yaml::Node,
                reader: &mut $crate::spec::shape::Reader<'_>,
            ) -> Option<Self> {
                $crate::spec::words::read_word(node, Self::WORDS, reader).and_then(Self::from_word)
            }

            fn print(&self, _: bool) -> serde_json::Value {
                self.word().into()
            }
        }
    };
}

pub(in crate::spec) use words;

pub(super) fn read_word<'node>(
    node: &'node Node,
    words: &[super::form::Word],
    reader: &mut Reader<'_>,
) -> Option<&'node str> {
    let known = || words.iter().map(|word| word.word);
    let list = || known().collect::<Vec<_>>().join(", ");
    let Value::Text(text) = &node.value else {
        reader.wrong(node, &format!("one of {}", list()));
        return None;
    };
    if known().any(|word| word == text) {
        return Some(text);
    }
    let words: Vec<&str> = known().collect();
    let help = match nearest_word(text, words.iter().copied()) {
        Some(word) => Some(format!("did you mean {word}?")),
        None => reader.example(),
    };
    reader.fault(node.at, format!("is {text:?}, and should be one of {}", list()), help);
    None
}
