//! What runs beside a workload, so that it never thinks about leases: it exchanges the workload's token for a lease,
//! renews it in time, and hands it out as each tool wants it (a loopback endpoint, files, a child's environment, a
//! process's output). It speaks to the service over HTTP only and knows none of its rooms.

mod address;
mod back_off;
mod cache;
mod client_credentials;
mod credential_process;
mod directory;
mod door;
mod emergency;
mod endpoint;
mod endpoint_fault;
mod endpoint_token;
mod exec;
mod fault;
mod files;
mod forms;
mod hook;
mod imds;
mod lease;
mod lock;
pub mod login;
mod private_file;
mod renewer;
mod service;
mod token_file;
mod token_source;
mod transport;
mod variables;

pub use address::{Address, AddressFault};
pub use cache::{Cache, CacheKey};
pub use client_credentials::{ClientCredentials, Provider};
pub use credential_process::credential_process;
pub use directory::{Directory, DirectoryFault, Permissions};
pub use door::{Door, serve};
pub use emergency::EmergencyService;
pub use endpoint::{Endpoint, Imds, router};
pub use endpoint_token::{EndpointToken, TokenFileOnDisk};
pub use exec::{ExecFault, run as exec, run_with as exec_with};
pub use fault::{Answered, Fault};
pub use files::{Files, keep};
pub use forms::Form;
pub use hook::Hook;
pub use lease::{Lease, Moment};
pub use lock::{Lock, LockFault};
pub use private_file::write as write_private;
pub use renewer::{Leases, Lessor, Renewer};
pub use service::{Fresh, Service, Wish};
pub use token_file::TokenFile;
pub use token_source::{TokenSource, WorkloadToken};
pub use transport::Transport;
pub use variables::Variables;
