//! stub, being written
use serde::{Deserialize, Serialize};
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Grants { pub http: Vec<HttpPattern>, pub system: bool }
impl Grants { pub fn intersect(&self, o: &Grants) -> Grants { Grants { http: o.http.clone(), system: self.system && o.system } } }
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HttpPattern(String);
impl std::fmt::Display for HttpPattern { fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result { f.write_str(&self.0) } }
impl std::str::FromStr for HttpPattern { type Err = String; fn from_str(s: &str) -> Result<Self, String> { Ok(Self(s.to_owned())) } }
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Manifest { pub name: crate::Name, pub version: String, pub world: String, pub summary: String, pub grants: Grants }
