//! Real components in the real host: what an honest one gets, and what a
//! hostile one does not.

mod cost;
mod grants;
mod http;
mod limits;
mod loading;
mod support;
