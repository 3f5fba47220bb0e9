//! Files that are part of this program, as pairs of path and text. `build.rs`
//! lists them.

include!(concat!(env!("OUT_DIR"), "/embedded.rs"));
