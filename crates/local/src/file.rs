//! Files that a program of secrets reads, executes and writes: opened without blocking, and checked for other users that could
//! have written them.

mod beneath;
mod directory;
mod lock;
mod open;
mod owners;
mod quote;
mod replace;
mod way;

pub use self::beneath::{OpenBeneathError, open_beneath};
pub use self::directory::{PrivateDirectoryError, create_private_directory};
pub use self::lock::lock_within;
pub use self::open::{
    FileKind, OpenError, open_regular, open_to_append, read_opened, read_regular,
};
pub use self::owners::{Offence, Offences, check_file, check_opened, check_owners};
pub use self::quote::shell_quote;
pub use self::replace::replace;
pub use self::way::deciding_entries;
