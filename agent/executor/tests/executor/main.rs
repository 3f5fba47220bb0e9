//! The program itself, as root, as the parent of services' processes.

mod half;
mod refusals;
mod rights;
mod services;
