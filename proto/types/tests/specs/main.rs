//! The spec language, from text to objects and back.

mod examples;
mod folder;
