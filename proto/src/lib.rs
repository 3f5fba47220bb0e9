//! The wire: the protocol's messages, the only conversions between them and the
//! domain, and how a client reaches a server.
//!
//! Not here: the domain's own types and rules (`hostler-types`), and what a
//! server does with a request.

pub mod context;
pub mod convert;
pub mod pem;
pub mod seal;
pub mod transport;

/// Nested as the packages are, because the generated code names its neighbours
/// by that path.
#[allow(clippy::all, clippy::pedantic, missing_docs, unused_qualifications)]
mod hostler {
    pub mod agent {
        pub mod v1 {
            include!("generated/hostler.agent.v1.rs");
        }
    }
    pub mod admin {
        pub mod v1 {
            include!("generated/hostler.admin.v1.rs");
        }
    }
    pub mod store {
        pub mod v1 {
            include!("generated/hostler.store.v1.rs");
        }
    }
}

/// `hostler.agent.v1`: agents and the control plane.
pub mod agent {
    pub use crate::hostler::agent::v1::*;
}

/// `hostler.admin.v1`: operators and the control plane.
pub mod admin {
    pub use crate::hostler::admin::v1::*;
}

/// `hostler.store.v1`: what the control plane keeps on its disk.
pub mod store {
    pub use crate::hostler::store::v1::*;
}

/// All messages and services, as a `google.protobuf.FileDescriptorSet`: what there
/// is to be called, for tools and for tests.
pub const DESCRIPTORS: &[u8] = include_bytes!("generated/descriptors.bin");
